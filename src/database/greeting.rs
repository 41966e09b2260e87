//! What a server says when it is greeted.

use crate::resp::reply::Value;

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// `redis` or `valkey`.
    pub product: String,
    /// Major, minor, patch.
    pub version: (u32, u32, u32),
    /// The id of this run of the process.
    pub run_id: String,
}

/// Why a server cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GreetingError {
    /// It wants a password.
    #[error("the database wants a password and none is configured: {0}")]
    NoPassword(String),
    /// It does not take ours.
    #[error("the database refuses the user or the password: {0}")]
    WrongPassword(String),
    /// The user may not do this.
    #[error("the database's user may not run {command}: {text}; README.md lists what it needs")]
    NotPermitted {
        /// The command.
        command: &'static str,
        /// What the server said.
        text: String,
    },
    /// It is loading its data, or the like.
    #[error("the database is not ready: {0}")]
    NotReady(String),
    /// It answers something else.
    #[error("the database answers {command} with {found}; is it a Redis or Valkey server?")]
    Unexpected {
        /// The command.
        command: &'static str,
        /// The answer, shortened.
        found: String,
    },
}

impl GreetingError {
    /// Sorts an answer that is not the one hoped for.
    pub(super) fn of(command: &'static str, answer: &Value) -> GreetingError {
        let Value::Error(text) = answer else {
            let found = format!("{answer:?}").chars().take(80).collect();
            return GreetingError::Unexpected { command, found };
        };
        let text = text.to_string();
        match text.split(' ').next().unwrap_or_default() {
            "NOAUTH" => GreetingError::NoPassword(text),
            "WRONGPASS" => GreetingError::WrongPassword(text),
            // Redis 6 without a password for `default`.
            "ERR" if text.contains("invalid password") || text.contains("without any password") => {
                GreetingError::WrongPassword(text)
            }
            "NOPERM" => GreetingError::NotPermitted { command, text },
            "LOADING" | "MASTERDOWN" | "BUSY" => GreetingError::NotReady(text),
            _ => GreetingError::Unexpected { command, found: text },
        }
    }
}

/// A history that the database's own goes on from: it was a replica of it, or was started from a file of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage {
    /// The replication id of its own history, 40 hexadecimal digits (`master_replid`).
    pub id: String,
    /// The one before (`master_replid2`).
    pub before: String,
    /// The last offset that both have (`second_repl_offset`, which names the first that the one before does not have).
    pub end: u64,
}

impl Lineage {
    /// Reads `INFO replication`; `None` for a replica, and where there was no history before.
    pub fn parse(info: &str) -> Option<Lineage> {
        let field = |name| field(info, name);
        field("role").filter(|role| *role == "master")?;
        let first_without: u64 = field("second_repl_offset")?.parse().ok()?;
        Some(Lineage {
            id: field("master_replid")?.to_owned(),
            before: field("master_replid2")?.to_owned(),
            end: first_without.checked_sub(1)?,
        })
    }
}

/// A line of INFO.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = info.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
}

impl ServerInfo {
    /// Reads `INFO server`.
    pub(super) fn parse(info: &str) -> Option<ServerInfo> {
        let field = |name| field(info, name);
        let (product, version) = match field("valkey_version") {
            Some(version) => ("valkey", version),
            None => ("redis", field("redis_version")?),
        };
        let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        let mut number = || numbers.next().unwrap_or(0);
        Some(ServerInfo {
            product: product.to_owned(),
            version: (number(), number(), number()),
            run_id: field("run_id").unwrap_or_default().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_both_products() {
        let redis = ServerInfo::parse("# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n").unwrap();
        assert_eq!((redis.product.as_str(), redis.version), ("redis", (7, 0, 15)));
        assert_eq!(redis.run_id, "abc");
        let valkey = "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.0\r\n";
        let valkey = ServerInfo::parse(valkey).unwrap();
        assert_eq!((valkey.product.as_str(), valkey.version), ("valkey", (8, 1, 0)));
        assert!(ServerInfo::parse("hello").is_none());
    }

    #[test]
    fn reads_the_history_before() {
        let (id, before) = ("a".repeat(40), "b".repeat(40));
        let info = |role, end| {
            format!(
                "# Replication\r\nrole:{role}\r\nmaster_replid:{id}\r\nmaster_replid2:{before}\r\n\
                 master_repl_offset:900\r\nsecond_repl_offset:{end}\r\n"
            )
        };
        let lineage = Lineage::parse(&info("master", "101")).unwrap();
        assert_eq!(
            (lineage.id, lineage.before, lineage.end),
            (id.clone(), before.clone(), 100)
        );
        assert_eq!(Lineage::parse(&info("master", "-1")), None);
        assert_eq!(Lineage::parse(&info("slave", "101")), None);
        assert_eq!(Lineage::parse("# Replication\r\nrole:master\r\n"), None);
    }

    #[test]
    fn sorts_refusals() {
        let error = |text: &str| GreetingError::of("AUTH", &Value::Error(text.to_owned().into()));
        assert!(matches!(
            error("NOAUTH Authentication required."),
            GreetingError::NoPassword(_)
        ));
        assert!(matches!(
            error("WRONGPASS invalid"),
            GreetingError::WrongPassword(_)
        ));
        assert!(matches!(error("NOPERM no"), GreetingError::NotPermitted { .. }));
        assert!(matches!(error("LOADING"), GreetingError::NotReady(_)));
        assert!(matches!(
            GreetingError::of("AUTH", &Value::Null),
            GreetingError::Unexpected { .. }
        ));
    }
}

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

impl ServerInfo {
    /// Reads `INFO server`.
    pub(super) fn parse(info: &str) -> Option<ServerInfo> {
        let field = |name: &str| {
            info.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
        };
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

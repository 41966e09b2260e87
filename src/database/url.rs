//! The address of a database.

use std::fmt;

use super::Secret;

/// The port of a database that names none.
const PORT: u16 = 6379;

/// Where a database is, and as whom to log in.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    /// A name or an address; an IPv6 address without brackets.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// `rediss://`.
    pub tls: bool,
    /// The ACL user; without one the password is that of `default`.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
}

/// Why a text is no address of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// No scheme.
    #[error("not a URL; write one such as \"redis://user:password@127.0.0.1:6379\"")]
    Form,
    /// Sentinel.
    #[error("Sentinel URLs are not supported yet; name the primary: redis://host:port")]
    Sentinel,
    /// Another scheme.
    #[error("the scheme is neither redis:// nor rediss:// (TLS)")]
    Scheme,
    /// Query or fragment.
    #[error("'?' and '#' mean nothing here; write them as %3F and %23 in a password")]
    Query,
    /// A slash before the at sign.
    #[error("a '/' in a user name or password is written as %2F")]
    Slash,
    /// A database number.
    #[error("a syncer replicates every numbered database; leave the number out")]
    Number,
    /// Host or port.
    #[error("the host or the port is not valid; redis://host:port")]
    Place,
    /// Percent encoding.
    #[error("a '%' in a user name or password is written as %25")]
    Percent,
}

impl Url {
    /// Takes an address apart: `redis://[user[:password]@]host[:port]`, `rediss://` for TLS. User and password
    /// may be percent-encoded.
    ///
    /// # Errors
    /// What is wrong with it; the text itself is not in the error.
    pub fn parse(text: &str) -> Result<Url, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Form)?;
        let tls = match scheme {
            "redis" => false,
            "rediss" => true,
            "redis+sentinel" | "rediss+sentinel" => return Err(UrlError::Sentinel),
            _ => return Err(UrlError::Scheme),
        };
        if rest.contains(['?', '#']) {
            return Err(UrlError::Query);
        }
        let (login, place) = rest.rsplit_once('@').unwrap_or(("", rest));
        if login.contains('/') {
            return Err(UrlError::Slash);
        }
        let (place, number) = place.split_once('/').unwrap_or((place, ""));
        if !matches!(number, "" | "0") {
            return Err(UrlError::Number);
        }
        let (host, port) = split_place(place)?;
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let given = |text: &str| (!text.is_empty()).then(|| decoded(text)).transpose();
        Ok(Url {
            host,
            port,
            tls,
            user: given(user)?,
            password: given(password)?.map(Secret::new),
        })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "rediss" } else { "redis" };
        let (open, close) = if self.host.contains(':') {
            ("[", "]")
        } else {
            ("", "")
        };
        write!(f, "{scheme}://{open}{}{close}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn split_place(place: &str) -> Result<(String, u16), UrlError> {
    let (host, port) = if let Some(rest) = place.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(UrlError::Place)?;
        host.parse::<core::net::Ipv6Addr>().map_err(|_| UrlError::Place)?;
        match rest {
            "" => (host, None),
            rest => (host, Some(rest.strip_prefix(':').ok_or(UrlError::Place)?)),
        }
    } else {
        place
            .split_once(':')
            .map_or((place, None), |(host, port)| (host, Some(port)))
    };
    let is_host = |c: char| !c.is_whitespace() && !c.is_control() && c != '[' && c != ']';
    if host.is_empty() || !host.chars().all(is_host) {
        return Err(UrlError::Place);
    }
    let port = match port {
        None => PORT,
        Some(port) => port.parse().map_err(|_| UrlError::Place)?,
    };
    if port == 0 {
        return Err(UrlError::Place);
    }
    Ok((host.to_owned(), port))
}

/// RFC 3986, section 2.1.
fn decoded(text: &str) -> Result<String, UrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let hex = |byte: u8| char::from(byte).to_digit(16);
        let (Some(high), Some(low)) = (
            tail.first().and_then(|&b| hex(b)),
            tail.get(1).and_then(|&b| hex(b)),
        ) else {
            return Err(UrlError::Percent);
        };
        bytes.push((high * 16 + low) as u8);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).map_err(|_| UrlError::Percent)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn takes_addresses_apart() {
        let url = Url::parse("redis://127.0.0.1").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.tls), ("127.0.0.1", 6379, false));
        assert_eq!((url.user, url.password), (None, None));
        let url = Url::parse("rediss://app:p%40ss%3aw:ord@[::1]:7000/0").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.tls), ("::1", 7000, true));
        assert_eq!(url.user.as_deref(), Some("app"));
        assert_eq!(url.password.as_ref().unwrap().expose(), "p@ss:w:ord");
        assert_eq!(
            format!("{url} {url:?}"),
            "rediss://[::1]:7000 rediss://[::1]:7000"
        );
        let url = Url::parse("redis://:secret@cache.example").unwrap();
        assert_eq!((url.user, url.password.unwrap().expose()), (None, "secret"));
    }

    #[test]
    fn names_what_is_wrong() {
        for (text, error) in [
            ("127.0.0.1:6379", UrlError::Form),
            ("http://h", UrlError::Scheme),
            ("redis+sentinel://h", UrlError::Sentinel),
            ("redis://h?db=1", UrlError::Query),
            ("redis://a/b@h", UrlError::Slash),
            ("redis://h/3", UrlError::Number),
            ("redis://", UrlError::Place),
            ("redis://h:0", UrlError::Place),
            ("redis://h:x", UrlError::Place),
            ("redis://[::1", UrlError::Place),
            ("redis://::1:1", UrlError::Place),
            ("redis://:a%zz@h", UrlError::Percent),
            ("redis://:a%4@h", UrlError::Percent),
        ] {
            assert_eq!(Url::parse(text).unwrap_err(), error, "{text}");
        }
    }
}

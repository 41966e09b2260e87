//! The administrator's grammar: words to requests.

use super::Request;

/// Every form, for help and errors.
pub const FORMS: &str = "  conflicts overrule site <name>   keys that wait for the value of a site that is gone for good get this site's";

/// Words that are no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{said:?} is not understood; what is understood:\n{FORMS}")]
pub struct WordsError {
    /// What was said.
    pub said: String,
}

/// The request that these words make.
///
/// # Errors
/// They make none.
pub fn parse(words: &[String]) -> Result<Request, WordsError> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["conflicts", "overrule", "site", site] => Ok(Request::Overrule {
            site: site.to_owned(),
        }),
        _ => Err(WordsError {
            said: words.join(" "),
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn words_make_requests_or_are_named() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let request = parse(&words("conflicts overrule site b")).unwrap();
        assert_eq!(request, Request::Overrule { site: "b".to_owned() });
        let error = parse(&words("conflicts overrule")).unwrap_err().to_string();
        assert!(
            error.contains("\"conflicts overrule\"") && error.contains("site <name>"),
            "{error}"
        );
    }
}

//! What a running syncer is asked, and what it answers: one JSON object on one line each.

use super::view::StatusView;
use serde::{Deserialize, Serialize};

/// Longest request line, its newline included.
pub const REQUEST_BYTES_MAX: usize = 64 << 10;
/// Longest response line, its newline included.
pub const RESPONSE_BYTES_MAX: usize = 4 << 20;

/// A request: `{"request":"status"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// The status of this syncer.
    Status,
    /// A site is gone for good: keys that wait for its value get this site's.
    Overrule {
        /// The site's name.
        site: String,
    },
}

/// A response: `{"status":{...}}`, `{"done":"..."}` or `{"error":"..."}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// The status of this syncer.
    Status(Box<StatusView>),
    /// It was done: what, for a human.
    Done(String),
    /// Why the request was not served.
    Error(String),
}

//! Database: how to reach and greet the site's own Redis or Valkey.
//!
//! Owns the database's address ([`Url`]), the [`Secret`] type, what a server's greeting tells
//! ([`ServerInfo`]), and in `io` the connections: plain or TLS, logged in and named. Depends on `resp`.
//! Everything but `io` is pure.
//!
//! Invariants: a password is shown by no `Debug`, `Display` or error; a refusal names what the operator can
//! do about it.

#[cfg(feature = "io")]
mod greeting;
#[cfg(feature = "io")]
pub mod io;
mod secret;
mod url;

#[cfg(feature = "io")]
pub use greeting::{GreetingError, Lineage, ServerInfo};
pub use secret::Secret;
pub use url::{Url, UrlError};

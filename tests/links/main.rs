//! The links of running syncers: certificates that are replaced under load, and peers that mean harm.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod hostile;
mod joining;
mod moving;
mod openssl;
mod peer;
mod secrets;
mod trust;

//! The `certs` room.

#[cfg(feature = "io")]
pub mod io;

//! The `certs` room.

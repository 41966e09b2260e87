//! The `apply` room.

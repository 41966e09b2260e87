//! The `echo` room.

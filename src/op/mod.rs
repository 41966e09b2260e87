//! The `op` room.

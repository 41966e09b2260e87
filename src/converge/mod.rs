//! The `converge` room.

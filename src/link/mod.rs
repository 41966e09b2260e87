//! The `link` room.

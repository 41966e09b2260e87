//! Reading replies.
//!
//! - [`token`]: the next element, flat and borrowed; an aggregate gives its header only.
//! - [`Extent`]: how far a whole reply reaches, resumable and without recursion.
//! - [`value`]: a whole RESP2 reply, owned.

mod extent;
mod token;
mod value;

pub use extent::{Extent, Span};
pub use token::{Next, Token, token};
pub use value::{Value, value};

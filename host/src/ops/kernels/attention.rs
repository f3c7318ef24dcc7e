//! Attention: blocks of queries against the keys they see, forward and backward.
//!
//! `packed` goes through the blocks, `tiles` multiplies them as products with weights do, `decode` has the block of one
//! query. The backward pass computes scores again from the stored log-sum-exp of each row.

mod decode;
mod packed;
mod tiles;

pub use packed::{backward, forward};

//! What a transformer computes, each operation a pair of functions: forward, and backward from the gradient of its
//! result.
//!
//! [`Compute`] is the seam: a value, made once where a model is loaded, that says the device, the type of activations,
//! the type of products' operands and the [`Backend`](backend::Backend) that serves. There are two backends: `kernels`,
//! our own for the CPU, and `plain`, compositions of candle's operations, which serve other devices and are the tests'
//! reference. They know nothing of each other. [`Weight`] is the seam for frozen weights: a matrix in the form that
//! products read; [`Stored`] is how numbers are kept, [`Blocks`] one of the ways.

mod adamw;
mod attention;
mod backend;
mod blocks;
mod compute;
mod head;
mod kernels;
mod plain;
mod rope;
mod stored;
mod weight;

pub use adamw::AdamStep;
pub use attention::{Attention, LogSums, Span};
pub use backend::{Activation, Precision, Rows};
pub use blocks::{BlockKind, Blocks};
pub use compute::Compute;
pub use head::{Scores, Wanted, logit_rows, score, score_backward};
pub use kernels::{exp, max};
pub use rope::Angles;
pub use stored::Stored;
pub use weight::Weight;

#[cfg(test)]
mod tests;

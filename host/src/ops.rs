//! What a transformer computes, each operation a pair of functions: forward, and backward from the gradient of its result.
//!
//! Every function has two implementations: kernels of our own for the CPU, and `plain`, a composition of candle's operations,
//! which serves other devices and is the reference in the tests. Nothing here records a graph. Activations are f32,
//! [tokens, features]; products may round their operands to bf16 ([`Precision`]).

mod attention;
mod buffer;
mod head;
mod linear;
mod product;
mod rms_norm;
mod rope;
mod simd;
mod swiglu;

pub use attention::{Attention, LogSums, Span};
pub use buffer::{add, add_rows, add_vector, column_sums, read, scale, set_rows};
pub use head::{Scores, Wanted, exp, logit_rows, max, score, score_backward};
pub use linear::{Rows, Weight, rounded};
pub use product::Precision;
pub use rms_norm::{rms_norm, rms_norm_backward};
pub use rope::{Angles, rope, rope_backward};
pub use swiglu::{swiglu, swiglu_backward};

use candle_core::Tensor;

/// Whether our kernels serve this tensor; where not, `plain` does.
pub(crate) fn has_kernels(x: &Tensor) -> bool {
    #[cfg(test)]
    if plain_only::is_set() {
        return false;
    }
    x.device().is_cpu()
}

/// Lets tests send a whole model through the plain operations on the CPU.
#[cfg(test)]
pub mod plain_only {
    use std::cell::Cell;

    thread_local!(static PLAIN: Cell<bool> = const { Cell::new(false) });

    /// Whether the caller is inside [`run`].
    pub fn is_set() -> bool {
        PLAIN.get()
    }

    /// Runs `f` as on a device that has no kernels of ours.
    pub fn run<R>(f: impl FnOnce() -> R) -> R {
        PLAIN.set(true);
        let result = f();
        PLAIN.set(false);
        result
    }
}

#[cfg(test)]
mod tests;

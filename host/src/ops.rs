//! Tensor operations with hand-written backward passes, where candle's own are slow or cut the graph.
//!
//! Every operation has two implementations with one signature: a fast one for the CPU, and `plain`, a composition of
//! candle's differentiable operations, which serves other devices and is the reference in the tests.
//! All tensors are f32.

mod attention;
mod buffer;
mod head;
mod linear;
pub mod product;
mod rms_norm;
mod rope;
mod simd;
mod swiglu;

pub use attention::{Attention, Span};
pub use buffer::{add_rows, set_rows};
pub use head::{Scores, score, score_backward};
pub use linear::{MAX_INVARIANT_ROWS, linear};
pub use rms_norm::rms_norm;
pub use rope::rope;
pub use swiglu::swiglu;

/// Tells malloc to keep freed memory: every result is a fresh buffer, and mapping each anew doubled the time of a step.
///
/// Call it first in `main`; memory grows to the peak and stays there.
pub fn configure_allocator() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes plain numbers and only changes malloc's own policy.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TOP_PAD, 64 << 20);
    }
}

#[cfg(test)]
mod tests;

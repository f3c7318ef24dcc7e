//! The arithmetic kernels: one generic definition each, compiled for AVX-512, for AVX2 with FMA, and portably.
//!
//! The order of every sum depends on the lengths alone, so results repeat to the bit on one processor; between
//! levels they differ in rounding.

mod elements;

use elements::*;
use std::sync::OnceLock;

/// An instruction set this processor has. Only [`Level::best`] and [`Level::available`] make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level(pub(super) Set);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Set {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// With products of bf16 pairs.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
}

impl Level {
    /// The levels this processor has, best last.
    pub fn available() -> Vec<Self> {
        let mut levels = vec![Self(Set::Portable)];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            levels.push(Self(Set::Avx2));
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
            {
                levels.push(Self(Set::Avx512));
                if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512bf16") {
                    levels.push(Self(Set::Avx512Bf16));
                }
            }
        }
        levels
    }
    /// The best level, detected once.
    pub fn best() -> Self {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(|| *Self::available().last().expect("the portable level is always there"))
    }
}

/// Softmax of `x * scale` in its place; returns the log of the sum of exponentials.
pub fn softmax(level: Level, x: &mut [f32], scale: f32) -> f32 {
    let max = scale_max(level, x, scale);
    let sum = max + exp_sum(level, x, max).ln();
    exp_scale(level, x, 1.0, sum, 1.0);
    sum
}

/// Compiles a body once for each level, and picks by the level at run time.
macro_rules! kernels {
    ($($(#[$doc:meta])* fn $name:ident $(<$g:ident: $bound:path>)? ($($arg:ident: $t:ty),*) $(-> $ret:ty)?
        { $avx512:expr, $avx2:expr, $portable:expr })*) => {$(
        $(#[$doc])*
        pub fn $name$(<$g: $bound>)?(level: Level, $($arg: $t),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx2,fma")]
                fn avx512$(<$g: $bound>)?($($arg: $t),*) $(-> $ret)? { $avx512($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                fn avx2$(<$g: $bound>)?($($arg: $t),*) $(-> $ret)? { $avx2($($arg),*) }
                match level.0 {
                    // SAFETY: a level exists only where the processor has its instructions.
                    Set::Avx512 | Set::Avx512Bf16 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    Set::Avx2 => return unsafe { avx2($($arg),*) },
                    Set::Portable => {}
                }
            }
            let _ = level;
            $portable($($arg),*)
        }
    )*};
}

kernels! {
    /// `a . b`
    fn dot(a: &[f32], b: &[f32]) -> f32 { dot_body::<true>, dot_body::<true>, dot_body::<false> }
    /// `sum a * b * c`
    fn dot3(a: &[f32], b: &[f32], c: &[f32]) -> f32 { dot3_body::<true>, dot3_body::<true>, dot3_body::<false> }
    /// `y += a * x`
    fn axpy(a: f32, x: &[f32], y: &mut [f32]) { axpy_body::<true>, axpy_body::<true>, axpy_body::<false> }
    /// `x *= s`, and the largest result.
    fn scale_max(x: &mut [f32], s: f32) -> f32 { scale_max_body, scale_max_body, scale_max_body }
    /// The largest.
    fn max(x: &[f32]) -> f32 { max_body, max_body, max_body }
    /// `sum exp(x - shift)`
    fn exp_sum(x: &[f32], shift: f32) -> f32 { exp_sum_body::<true>, exp_sum_body::<true>, exp_sum_body::<false> }
    /// `x = exp(x * scale - shift) * factor`
    fn exp_scale(x: &mut [f32], scale: f32, shift: f32, factor: f32)
        { exp_scale_body::<true>, exp_scale_body::<true>, exp_scale_body::<false> }
    /// The largest of each column of rows as long as `out`, and of what is in `out`.
    fn column_max(x: &[f32], out: &mut [f32]) { column_max_body, column_max_body, column_max_body }
    /// `x = exp(x * scale - shift)` of rows as long as `shift`, and `sums +=` each column.
    fn column_exp(x: &mut [f32], scale: f32, shift: &[f32], sums: &mut [f32])
        { column_exp_body::<true>, column_exp_body::<true>, column_exp_body::<false> }
    /// `p *= (dp - d) * scale` of rows as long as `d`: the backward pass of softmax from its result.
    fn softmax_backward(p: &mut [f32], dp: &[f32], d: &[f32], scale: f32)
        { softmax_backward_body, softmax_backward_body, softmax_backward_body }
    /// `out = silu(gate) * up`
    fn swiglu(gate: &[f32], up: &[f32], out: &mut [f32])
        { gated_body::<true, false>, gated_body::<true, false>, gated_body::<false, false> }
    /// Gradients of [`swiglu`] in place of gate and up.
    fn swiglu_backward(gate: &mut [f32], up: &mut [f32], d: &[f32])
        { gated_backward_body::<true, false>, gated_backward_body::<true, false>, gated_backward_body::<false, false> }
    /// `out = gelu(gate) * up`, gelu in its approximation by tanh
    fn geglu(gate: &[f32], up: &[f32], out: &mut [f32])
        { gated_body::<true, true>, gated_body::<true, true>, gated_body::<false, true> }
    /// Gradients of [`geglu`] in place of gate and up.
    fn geglu_backward(gate: &mut [f32], up: &mut [f32], d: &[f32])
        { gated_backward_body::<true, true>, gated_backward_body::<true, true>, gated_backward_body::<false, true> }
    /// `out = x * r * w`
    fn norm(x: &[f32], w: &[f32], r: f32, out: &mut [f32]) { norm_body, norm_body, norm_body }
    /// `dx += r * (g * w - x * c)`
    fn norm_backward(x: &[f32], w: &[f32], g: &[f32], r: f32, c: f32, dx: &mut [f32])
        { norm_backward_body, norm_backward_body, norm_backward_body }
    /// `dw += g * x * r`
    fn norm_weight(x: &[f32], g: &[f32], r: f32, dw: &mut [f32]) { norm_weight_body, norm_weight_body, norm_weight_body }
    /// Rotates the pairs (x[i], x[i + half]) by angles given as cosines and sines, backwards for `sign` -1.
    fn rotate(x: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) { rotate_body, rotate_body, rotate_body }
}

#[cfg(test)]
mod tests;

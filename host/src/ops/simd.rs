//! The arithmetic kernels: one generic definition each, compiled for AVX-512, for AVX2 with FMA, and portably.
//!
//! The order of every sum depends on the lengths alone, so results repeat to the bit on one processor; between
//! levels they differ in rounding.

// Loops over indices of several arrays are what the compiler vectorises.
#![allow(clippy::needless_range_loop)]

use std::sync::OnceLock;

/// An instruction set this processor has. Only [`Level::best`] and [`Level::available`] make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level(Set);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
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

/// A vector register of f32.
trait Lanes: Copy {
    const N: usize;
    /// # Safety
    /// The processor has the instructions.
    unsafe fn zero() -> Self;
    /// # Safety
    /// As [`zero`](Self::zero), and `p` is readable for `N` numbers.
    unsafe fn load(p: *const f32) -> Self;
    /// `self + a * b`.
    ///
    /// # Safety
    /// As [`zero`](Self::zero).
    unsafe fn add_product(self, a: Self, b: Self) -> Self;
    /// # Safety
    /// As [`zero`](Self::zero).
    unsafe fn sum(self) -> f32;
}

impl Lanes for [f32; 8] {
    const N: usize = 8;
    #[inline(always)]
    unsafe fn zero() -> Self {
        [0.0; 8]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller's promise; an array of f32 needs no more alignment than f32.
        unsafe { *p.cast() }
    }
    #[inline(always)]
    unsafe fn add_product(mut self, a: Self, b: Self) -> Self {
        for i in 0..8 {
            self[i] += a[i] * b[i];
        }
        self
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        self.iter().sum()
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Lanes;
    use std::arch::x86_64::*;

    macro_rules! lanes {
        ($t:ty, $n:literal, $zero:ident, $load:ident, $fma:ident) => {
            impl Lanes for $t {
                const N: usize = $n;
                #[inline(always)]
                unsafe fn zero() -> Self {
                    // SAFETY: the caller's promise.
                    unsafe { $zero() }
                }
                #[inline(always)]
                unsafe fn load(p: *const f32) -> Self {
                    // SAFETY: the caller's promise; unaligned load.
                    unsafe { $load(p) }
                }
                #[inline(always)]
                unsafe fn add_product(self, a: Self, b: Self) -> Self {
                    // SAFETY: the caller's promise.
                    unsafe { $fma(a, b, self) }
                }
                #[inline(always)]
                unsafe fn sum(self) -> f32 {
                    // SAFETY: same size, and any bits are valid f32.
                    let mut v: [f32; $n] = unsafe { std::mem::transmute(self) };
                    let mut half = $n / 2;
                    while half > 0 {
                        for i in 0..half {
                            v[i] += v[i + half];
                        }
                        half /= 2;
                    }
                    v[0]
                }
            }
        };
    }
    lanes!(__m256, 8, _mm256_setzero_ps, _mm256_loadu_ps, _mm256_fmadd_ps);
    lanes!(__m512, 16, _mm512_setzero_ps, _mm512_loadu_ps, _mm512_fmadd_ps);
}
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m256, __m512};

/// Where [`outer`] puts the product of a row and a column.
pub trait Sink {
    /// Takes the dot product of row `row` of `x` and row `col` of `w`.
    fn put(&mut self, row: usize, col: usize, value: f32);
}

/// `R` x `C` dot products over `k`, each summed in the same order whatever `R` and `C` are.
///
/// # Safety
/// As for [`Lanes`]; `x` and `w` are readable for `R * k` and `C * k` numbers.
#[inline(always)]
unsafe fn tile<V: Lanes, const FUSED: bool, const R: usize, const C: usize>(
    x: *const f32,
    w: *const f32,
    k: usize,
) -> [[f32; C]; R] {
    // SAFETY: the caller's promises; every offset is below R * k or C * k.
    unsafe {
        let mut acc = [[V::zero(); C]; R];
        let whole = k - k % V::N;
        let mut i = 0;
        while i < whole {
            let mut xs = [V::zero(); R];
            for r in 0..R {
                xs[r] = V::load(x.add(r * k + i));
            }
            for c in 0..C {
                let wc = V::load(w.add(c * k + i));
                for r in 0..R {
                    acc[r][c] = acc[r][c].add_product(xs[r], wc);
                }
            }
            i += V::N;
        }
        let mut out = [[0.0; C]; R];
        for r in 0..R {
            for c in 0..C {
                let mut sum = acc[r][c].sum();
                for i in whole..k {
                    sum = fma::<FUSED>(*x.add(r * k + i), *w.add(c * k + i), sum);
                }
                out[r][c] = sum;
            }
        }
        out
    }
}

#[inline(always)]
fn outer_body<V: Lanes, const FUSED: bool, const R: usize, const C: usize>(
    x: &[f32],
    w: &[f32],
    k: usize,
    out: &mut impl Sink,
) {
    let (rows, cols) = (x.len() / k, w.len() / k);
    let mut c = 0;
    // Columns outside: each piece of the weights is read from memory once and stays in the cache for all rows.
    while c < cols {
        let wide = cols - c >= C;
        let mut r = 0;
        while r < rows {
            let tall = rows - r >= R;
            // SAFETY: this body is only instantiated where the level's instructions are enabled; the rows and
            // columns of each tile lie inside `x` and `w`.
            unsafe {
                let (xp, wp) = (x.as_ptr().add(r * k), w.as_ptr().add(c * k));
                match (tall, wide) {
                    (true, true) => put(out, r, c, tile::<V, FUSED, R, C>(xp, wp, k)),
                    (true, false) => put(out, r, c, tile::<V, FUSED, R, 1>(xp, wp, k)),
                    (false, true) => put(out, r, c, tile::<V, FUSED, 1, C>(xp, wp, k)),
                    (false, false) => put(out, r, c, tile::<V, FUSED, 1, 1>(xp, wp, k)),
                }
            }
            r += if tall { R } else { 1 };
        }
        c += if wide { C } else { 1 };
    }
}

#[inline(always)]
fn put<const R: usize, const C: usize>(out: &mut impl Sink, r0: usize, c0: usize, tile: [[f32; C]; R]) {
    for (r, row) in tile.into_iter().enumerate() {
        for (c, v) in row.into_iter().enumerate() {
            out.put(r0 + r, c0 + c, v);
        }
    }
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
                    Set::Avx512 => return unsafe { avx512($($arg),*) },
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
    /// All dot products of the rows of `x` [rows, k] with the rows of `w` [cols, k].
    fn outer<S: Sink>(x: &[f32], w: &[f32], k: usize, out: &mut S)
        { outer_body::<__m512, true, 4, 4>, outer_body::<__m256, true, 2, 4>, outer_body::<[f32; 8], false, 1, 2> }
    /// `a . b`
    fn dot(a: &[f32], b: &[f32]) -> f32
        { dot_body::<__m512, true>, dot_body::<__m256, true>, dot_body::<[f32; 8], false> }
    /// `sum a * b * c`
    fn dot3(a: &[f32], b: &[f32], c: &[f32]) -> f32 { dot3_body::<true>, dot3_body::<true>, dot3_body::<false> }
    /// `y += a * x`
    fn axpy(a: f32, x: &[f32], y: &mut [f32]) { axpy_body::<true>, axpy_body::<true>, axpy_body::<false> }
    /// `x *= s`, and the largest result.
    fn scale_max(x: &mut [f32], s: f32) -> f32 { scale_max_body, scale_max_body, scale_max_body }
    /// `sum exp(x - shift)`
    fn exp_sum(x: &[f32], shift: f32) -> f32 { exp_sum_body::<true>, exp_sum_body::<true>, exp_sum_body::<false> }
    /// `x = exp(x * scale - shift) * factor`
    fn exp_scale(x: &mut [f32], scale: f32, shift: f32, factor: f32)
        { exp_scale_body::<true>, exp_scale_body::<true>, exp_scale_body::<false> }
    /// `p *= (dp - d) * scale`: the backward pass of softmax from its result.
    fn softmax_backward(p: &mut [f32], dp: &[f32], d: f32, scale: f32)
        { softmax_backward_body, softmax_backward_body, softmax_backward_body }
    /// `out = silu(gate) * up`
    fn swiglu(gate: &[f32], up: &[f32], out: &mut [f32])
        { swiglu_body::<true>, swiglu_body::<true>, swiglu_body::<false> }
    /// Gradients of [`swiglu`] by gate and up.
    fn swiglu_backward(gate: &[f32], up: &[f32], d: &[f32], dgate: &mut [f32], dup: &mut [f32])
        { swiglu_backward_body::<true>, swiglu_backward_body::<true>, swiglu_backward_body::<false> }
    /// `out = x * r * w`
    fn norm(x: &[f32], w: &[f32], r: f32, out: &mut [f32]) { norm_body, norm_body, norm_body }
    /// `dx = r * (g * w - x * c)`
    fn norm_backward(x: &[f32], w: &[f32], g: &[f32], r: f32, c: f32, dx: &mut [f32])
        { norm_backward_body, norm_backward_body, norm_backward_body }
    /// `dw += g * x * r`
    fn norm_weight(x: &[f32], g: &[f32], r: f32, dw: &mut [f32]) { norm_weight_body, norm_weight_body, norm_weight_body }
    /// Rotates the pairs (x[i], x[i + half]) by angles given as cosines and sines, backwards for `sign` -1.
    fn rotate(x: &[f32], cos: &[f32], sin: &[f32], sign: f32, out: &mut [f32]) { rotate_body, rotate_body, rotate_body }
}

#[inline(always)]
fn fma<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    // Without the instruction, mul_add is a slow library call.
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// exp within about 1e-7 relative, without branches so that it vectorises (polynomial of Cephes' expf).
#[inline(always)]
fn exp<const FUSED: bool>(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    // Adding 1.5 * 2^23 rounds to the nearest whole number n, and leaves it in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let rounded = fma::<FUSED>(x, std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = fma::<FUSED>(n, 2.121_944_4e-4, fma::<FUSED>(n, -0.693_359_4, x));
    let mut p = 1.987_569_1e-4;
    p = fma::<FUSED>(p, r, 1.398_199_9e-3);
    p = fma::<FUSED>(p, r, 8.333_452e-3);
    p = fma::<FUSED>(p, r, 4.166_579_6e-2);
    p = fma::<FUSED>(p, r, 1.666_666_5e-1);
    p = fma::<FUSED>(p, r, 0.5);
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    (fma::<FUSED>(p, r * r, r) + 1.0) * power
}

/// Independent partial sums, so that additions overlap; added up in order at the end.
const PARTS: usize = 32;

#[inline(always)]
fn dot_body<V: Lanes, const FUSED: bool>(a: &[f32], b: &[f32]) -> f32 {
    let b = &b[..a.len()];
    // SAFETY: this body is only instantiated where the level's instructions are enabled; both have the length given.
    unsafe { tile::<V, FUSED, 1, 1>(a.as_ptr(), b.as_ptr(), a.len())[0][0] }
}

#[inline(always)]
fn dot3_body<const FUSED: bool>(a: &[f32], b: &[f32], c: &[f32]) -> f32 {
    let mut parts = [0.0; PARTS];
    let ((a, ra), (b, rb), (c, rc)) = (a.as_chunks::<PARTS>(), b.as_chunks::<PARTS>(), c.as_chunks::<PARTS>());
    for ((a, b), c) in a.iter().zip(b).zip(c) {
        for i in 0..PARTS {
            parts[i] = fma::<FUSED>(a[i] * b[i], c[i], parts[i]);
        }
    }
    let mut total = 0.0;
    for part in parts {
        total += part;
    }
    for ((a, b), c) in ra.iter().zip(rb).zip(rc) {
        total = fma::<FUSED>(a * b, *c, total);
    }
    total
}

#[inline(always)]
fn axpy_body<const FUSED: bool>(a: f32, x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = fma::<FUSED>(a, *x, *y);
    }
}

#[inline(always)]
fn scale_max_body(x: &mut [f32], s: f32) -> f32 {
    let mut parts = [f32::NEG_INFINITY; PARTS];
    let mut chunks = x.chunks_exact_mut(PARTS);
    for chunk in &mut chunks {
        for (v, part) in chunk.iter_mut().zip(&mut parts) {
            *v *= s;
            *part = if *v > *part { *v } else { *part };
        }
    }
    let mut max = parts.into_iter().fold(f32::NEG_INFINITY, f32::max);
    for v in chunks.into_remainder() {
        *v *= s;
        max = max.max(*v);
    }
    max
}

#[inline(always)]
fn exp_sum_body<const FUSED: bool>(x: &[f32], shift: f32) -> f32 {
    let mut parts = [0.0; PARTS];
    let (chunks, rest) = x.as_chunks::<PARTS>();
    for chunk in chunks {
        for i in 0..PARTS {
            parts[i] += exp::<FUSED>(chunk[i] - shift);
        }
    }
    let mut total = 0.0;
    for part in parts {
        total += part;
    }
    for x in rest {
        total += exp::<FUSED>(*x - shift);
    }
    total
}

#[inline(always)]
fn exp_scale_body<const FUSED: bool>(x: &mut [f32], scale: f32, shift: f32, factor: f32) {
    for v in x {
        *v = exp::<FUSED>(*v * scale - shift) * factor;
    }
}

#[inline(always)]
fn softmax_backward_body(p: &mut [f32], dp: &[f32], d: f32, scale: f32) {
    for (p, dp) in p.iter_mut().zip(dp) {
        *p *= (*dp - d) * scale;
    }
}

#[inline(always)]
fn swiglu_body<const FUSED: bool>(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((o, g), u) in out.iter_mut().zip(gate).zip(up) {
        *o = *g / (1.0 + exp::<FUSED>(-*g)) * *u;
    }
}

#[inline(always)]
fn swiglu_backward_body<const FUSED: bool>(gate: &[f32], up: &[f32], d: &[f32], dgate: &mut [f32], dup: &mut [f32]) {
    for ((((dg, du), g), u), d) in dgate.iter_mut().zip(dup).zip(gate).zip(up).zip(d) {
        let sigmoid = 1.0 / (1.0 + exp::<FUSED>(-*g));
        let silu = *g * sigmoid;
        *du = *d * silu;
        *dg = *d * *u * (sigmoid + silu * (1.0 - sigmoid));
    }
}

#[inline(always)]
fn norm_body(x: &[f32], w: &[f32], r: f32, out: &mut [f32]) {
    for ((o, x), w) in out.iter_mut().zip(x).zip(w) {
        *o = *x * r * *w;
    }
}

#[inline(always)]
fn norm_backward_body(x: &[f32], w: &[f32], g: &[f32], r: f32, c: f32, dx: &mut [f32]) {
    for (((dx, x), w), g) in dx.iter_mut().zip(x).zip(w).zip(g) {
        *dx = r * (*g * *w - *x * c);
    }
}

#[inline(always)]
fn norm_weight_body(x: &[f32], g: &[f32], r: f32, dw: &mut [f32]) {
    for ((dw, x), g) in dw.iter_mut().zip(x).zip(g) {
        *dw += *g * *x * r;
    }
}

#[inline(always)]
fn rotate_body(x: &[f32], cos: &[f32], sin: &[f32], sign: f32, out: &mut [f32]) {
    let (x0, x1) = x.split_at(x.len() / 2);
    let (o0, o1) = out.split_at_mut(x.len() / 2);
    for ((((o0, o1), x0), x1), (cos, sin)) in o0.iter_mut().zip(o1).zip(x0).zip(x1).zip(cos.iter().zip(sin)) {
        let sin = *sin * sign;
        *o0 = *x0 * *cos - *x1 * sin;
        *o1 = *x0 * sin + *x1 * *cos;
    }
}

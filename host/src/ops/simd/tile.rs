//! Dot products in tiles of vector registers: the products of few rows, where order of summation matters.

// Loops over indices of several arrays are what the compiler vectorises.
#![allow(clippy::needless_range_loop)]

/// A vector register of f32.
pub trait Lanes: Copy {
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
pub fn outer_body<V: Lanes, const FUSED: bool, const R: usize, const C: usize>(
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

#[inline(always)]
pub fn dot_body<V: Lanes, const FUSED: bool>(a: &[f32], b: &[f32]) -> f32 {
    let b = &b[..a.len()];
    // SAFETY: this body is only instantiated where the level's instructions are enabled; both have the length given.
    unsafe { tile::<V, FUSED, 1, 1>(a.as_ptr(), b.as_ptr(), a.len())[0][0] }
}

#[inline(always)]
pub fn fma<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    // Without the instruction, mul_add is a slow library call.
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

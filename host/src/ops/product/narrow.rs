//! Rounding to bf16.

// Loops over indices of several arrays of registers are what the compiler unrolls.
#![allow(clippy::needless_range_loop)]

use super::{
    Precision,
    pack::transpose,
    vector::{Job, MAX_LANES, Vectors},
};
use crate::ops::simd::Level;
use half::bf16;
use rayon::prelude::*;

/// Numbers that one task rounds.
const CHUNK: usize = 1 << 15;

/// Rounds to bf16, to nearest even.
pub fn to_bf16(x: &[f32]) -> Vec<bf16> {
    to_bf16_at(Level::best(), x)
}

pub(super) fn to_bf16_at(level: Level, x: &[f32]) -> Vec<bf16> {
    let mut out = uninit(x.len());
    out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(to, from)| level.run(Narrow { from, to }));
    out
}

/// The transpose [cols, rows] of a row-major matrix [rows, cols], rounded to bf16.
///
/// # Panics
/// If the length does not fit.
pub fn to_bf16_transposed(x: &[f32], rows: usize, cols: usize) -> Vec<bf16> {
    to_bf16_transposed_at(Level::best(), x, rows, cols)
}

pub(super) fn to_bf16_transposed_at(level: Level, x: &[f32], rows: usize, cols: usize) -> Vec<bf16> {
    assert_eq!(x.len(), rows * cols, "the matrix is [rows, cols]");
    let mut out = uninit(x.len());
    if !out.is_empty() {
        // A column is a row of the result; a task's columns fill whole lines of the source.
        let columns = 4 * MAX_LANES;
        out.par_chunks_mut(columns * rows).enumerate().for_each(|(i, to)| {
            level.run(NarrowColumns { from: x, first: i * columns, rows, cols, to });
        });
    }
    out
}

/// The words of a few rows of `k` numbers.
pub(super) fn words(level: Level, x: &[f32], k: usize, precision: Precision) -> Vec<f32> {
    match precision {
        Precision::F32 => x.to_vec(),
        Precision::Bf16 => {
            let steps = k.div_ceil(2);
            let mut words = vec![0.0f32; x.len().checked_div(k).unwrap_or(0) * steps];
            let halves: &mut [bf16] = bytemuck::cast_slice_mut(&mut words);
            for (to, from) in halves.chunks_mut(2 * steps).zip(x.chunks(k)) {
                level.run(Narrow { from, to: &mut to[..k] });
            }
            words
        }
    }
}

/// Memory that the caller fills.
#[allow(clippy::uninit_vec)]
fn uninit(n: usize) -> Vec<bf16> {
    let mut v = Vec::with_capacity(n);
    // SAFETY: the capacity is there, any bits are a valid bf16, and both callers write all of it before reading.
    unsafe { v.set_len(n) };
    v
}

/// Rounds one after the other.
struct Narrow<'a> {
    from: &'a [f32],
    to: &'a mut [bf16],
}

impl Job for Narrow<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Vectors>(self) {
        let n = S::LANES;
        assert_eq!(self.from.len(), self.to.len());
        let (mut from, mut to) = (self.from.chunks_exact(n), self.to.chunks_exact_mut(n));
        for (from, to) in from.by_ref().zip(to.by_ref()) {
            // SAFETY: the caller's promise; chunks of a vector's length.
            unsafe { S::store_bf16(to.as_mut_ptr().cast(), S::load(from.as_ptr())) };
        }
        // SAFETY: the caller's promise.
        unsafe { narrow_rest::<S>(from.remainder(), to.into_remainder()) };
    }
}

/// Rounds fewer numbers than a vector has, by the same instruction.
///
/// # Safety
/// As for [`Vectors`].
#[inline(always)]
unsafe fn narrow_rest<S: Vectors>(from: &[f32], to: &mut [bf16]) {
    let (mut wide, mut narrow) = ([0.0; MAX_LANES], [bf16::ZERO; MAX_LANES]);
    wide[..from.len()].copy_from_slice(from);
    // SAFETY: the caller's promise; both have room for a vector.
    unsafe { S::store_bf16(narrow.as_mut_ptr().cast(), S::load(wide.as_ptr())) };
    to.copy_from_slice(&narrow[..to.len()]);
}

/// Rounds columns into rows.
struct NarrowColumns<'a> {
    from: &'a [f32],
    first: usize,
    rows: usize,
    cols: usize,
    to: &'a mut [bf16],
}

impl Job for NarrowColumns<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Vectors>(self) {
        let Self { from, first, rows, cols, to } = self;
        let n = S::LANES;
        let columns = to.len() / rows;
        for row in (0..rows).step_by(n) {
            for column in (0..columns).step_by(n) {
                let (height, width) = (n.min(rows - row), n.min(columns - column));
                // SAFETY: the caller's promise; lines have room for a vector.
                unsafe {
                    let mut m = [S::zero(); MAX_LANES];
                    for r in 0..n {
                        if r < height {
                            let line = &from[(row + r) * cols + first + column..][..width];
                            m[r] = if width == n {
                                S::load(line.as_ptr())
                            } else {
                                let mut wide = [0.0; MAX_LANES];
                                wide[..width].copy_from_slice(line);
                                S::load(wide.as_ptr())
                            };
                        }
                    }
                    transpose::<S>(&mut m);
                    for (c, v) in m.into_iter().enumerate().take(width) {
                        let to = &mut to[(column + c) * rows + row..][..height];
                        if height == n {
                            S::store_bf16(to.as_mut_ptr().cast(), v);
                        } else {
                            let mut narrow = [bf16::ZERO; MAX_LANES];
                            S::store_bf16(narrow.as_mut_ptr().cast(), v);
                            to.copy_from_slice(&narrow[..height]);
                        }
                    }
                }
            }
        }
    }
}

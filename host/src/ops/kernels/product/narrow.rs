//! Rounding to bf16.

// Loops over indices of several arrays of registers are what the compiler unrolls.
#![allow(clippy::needless_range_loop)]

use super::{
    super::simd::Level,
    Precision,
    registers::{part, transpose},
    vector::{Job, MAX_LANES, Shape, Vectors},
};
use half::bf16;
use rayon::prelude::*;

/// How many rows ahead of use a matrix to transpose is asked for.
const ROWS_AHEAD: usize = 64;
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
        Precision::Bf16 if Shape::of(level).widens() => x.iter().map(|x| bf16::from_f32(*x).to_f32()).collect(),
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
        let (from, to) = (from.remainder(), to.into_remainder());
        // SAFETY: the caller's promise; the part has the length given.
        unsafe { store_part::<S>(to, part::<S>(from.as_ptr(), from.len())) };
    }
}

/// Stores the first lanes of a vector, rounded.
///
/// # Safety
/// As for [`Vectors`].
#[inline(always)]
unsafe fn store_part<S: Vectors>(to: &mut [bf16], v: S::V) {
    // SAFETY: the caller's promise; both have room for a vector.
    unsafe {
        if to.len() == S::LANES {
            return S::store_bf16(to.as_mut_ptr().cast(), v);
        }
        let mut all = [bf16::ZERO; MAX_LANES];
        S::store_bf16(all.as_mut_ptr().cast(), v);
        to.copy_from_slice(&all[..to.len()]);
    }
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
    unsafe fn run<S: Vectors>(mut self) {
        let columns = self.to.len() / self.rows;
        // Two squares fill lines of the result.
        for pair in (0..self.rows).step_by(2 * S::LANES) {
            for column in (0..columns).step_by(S::LANES) {
                for row in (pair..self.rows.min(pair + 2 * S::LANES)).step_by(S::LANES) {
                    // SAFETY: the caller's promise.
                    unsafe { self.square::<S>(row, column, S::LANES.min(columns - column)) };
                }
            }
        }
    }
}

impl NarrowColumns<'_> {
    /// # Safety
    /// As for [`Job::run`].
    #[inline(always)]
    unsafe fn square<S: Vectors>(&mut self, row: usize, column: usize, width: usize) {
        let Self { from, first, rows, cols, .. } = *self;
        let height = S::LANES.min(rows - row);
        // SAFETY: the caller's promise; the slices have the lengths given.
        unsafe {
            let mut m = [S::zero(); MAX_LANES];
            for r in 0..S::LANES {
                if r < height {
                    let line = &from[(row + r) * cols + first + column..][..width];
                    S::prefetch_far(line.as_ptr().wrapping_add(ROWS_AHEAD * cols));
                    m[r] = part::<S>(line.as_ptr(), width);
                }
            }
            transpose::<S>(&mut m);
            for c in 0..S::LANES {
                if c < width {
                    store_part::<S>(&mut self.to[(column + c) * rows + row..][..height], m[c]);
                }
            }
        }
    }
}

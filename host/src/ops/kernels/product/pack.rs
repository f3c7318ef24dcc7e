//! Operands packed so that each step of a product reads adjacent vectors.

// Loops over indices of several arrays of registers are what the compiler unrolls.
#![allow(clippy::needless_range_loop)]

use super::{
    super::simd::Level,
    Precision,
    registers::{part, part_of_bytes, transpose},
    vector::{F32, Format, Job, MAX_LANES, Shape, Vectors},
};
use half::bf16;
use rayon::prelude::*;

/// How many rows ahead of use columns are asked for.
const ROWS_AHEAD: usize = 8;
/// How many numbers ahead of use rows are asked for.
const NUMBERS_AHEAD: usize = 64;

/// Where the lanes of a packed operand lie in a row-major matrix.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lanes {
    /// A lane is a row, its steps go along the columns.
    Rows,
    /// A lane is a column, its steps go down the rows.
    Columns,
}

/// A line of the cache.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code)] [f32; 16]);

/// Memory that starts at a line of the cache, so that no vector of a panel lies across two.
pub struct Aligned(Vec<Line>, usize);

impl Aligned {
    /// Room for `len` numbers that are not set yet.
    ///
    /// # Safety
    /// Every number is written before it is read.
    #[allow(clippy::uninit_vec)]
    pub unsafe fn uninit(len: usize) -> Self {
        let lines = len.div_ceil(16);
        let mut v = Vec::with_capacity(lines);
        // SAFETY: the capacity is there; any bits are a valid f32, and the caller writes before reading.
        unsafe { v.set_len(lines) };
        Self(v, len)
    }
    /// The numbers.
    pub fn get(&self) -> &[f32] {
        // SAFETY: lines are 16 f32 without gaps, and there are enough of them for the length.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.1) }
    }
    /// As [`get`](Self::get).
    pub fn get_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.1) }
    }
}

/// A row-major matrix [rows, cols] of f32.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    pub numbers: &'a [f32],
    pub rows: usize,
    pub cols: usize,
}

/// Panels [step][lane] of a matrix, one after the other.
pub struct Packed {
    pub level: Level,
    pub precision: Precision,
    /// Words of each lane.
    pub steps: usize,
    /// Lanes in all.
    pub lanes: usize,
    /// Sizes of the level.
    pub shape: Shape,
    words: Aligned,
}

impl Packed {
    /// Packs a matrix.
    pub fn new(level: Level, precision: Precision, x: Matrix, lanes_are: Lanes) -> Self {
        let (lanes, length) = match lanes_are {
            Lanes::Rows => (x.rows, x.cols),
            Lanes::Columns => (x.cols, x.rows),
        };
        let shape = Shape::of(level);
        let steps = shape.words(length, precision);
        // SAFETY: packing writes every number of every panel.
        let mut words = unsafe { Aligned::uninit(lanes.next_multiple_of(shape.lanes) * steps) };
        let width = shape.panel;
        if steps > 0 {
            words.get_mut().par_chunks_mut(width * steps).enumerate().for_each(|(panel, to)| {
                let first = panel * width;
                let lanes = (first, width.min(lanes - first));
                level.run(PackPanel { x, lanes_are, lanes, precision, to });
            });
        }
        Self { level, precision, steps, lanes, shape, words }
    }
    /// Number of panels.
    pub fn panels(&self) -> usize {
        self.lanes.div_ceil(self.shape.panel)
    }
    /// A panel's words, its vectors at each step, its first lane and how many lanes hold something.
    #[inline(always)]
    pub fn panel(&self, i: usize) -> (&[f32], usize, usize, usize) {
        let Shape { lanes: vector, panel, .. } = self.shape;
        let first = i * panel;
        let lanes = panel.min(self.lanes - first);
        let vectors = lanes.div_ceil(vector);
        let words = &self.words.get()[first * self.steps..][..vectors * vector * self.steps];
        (words, vectors, first, lanes)
    }
}

/// Packs one panel of a matrix.
struct PackPanel<'a> {
    x: Matrix<'a>,
    lanes_are: Lanes,
    /// First lane and number of lanes.
    lanes: (usize, usize),
    precision: Precision,
    to: &'a mut [f32],
}

impl Job for PackPanel<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Vectors>(self) {
        let Matrix { numbers, rows, cols } = self.x;
        let (first, lanes) = self.lanes;
        let length = if self.lanes_are == Lanes::Rows { cols } else { rows };
        let vectors = lanes.div_ceil(S::LANES);
        let steps = self.to.len() / (vectors * S::LANES);
        assert!(
            numbers.len() == rows * cols
                && self.to.len() == steps * vectors * S::LANES
                && length <= steps * S::Bf16::DEPTH,
            "the panel fits"
        );
        let to = self.to.as_mut_ptr();
        // SAFETY: the caller's promise; the lanes lie inside the matrix, and the panel inside `to` by the assertion.
        unsafe {
            let from = numbers.as_ptr();
            let step = vectors * S::LANES;
            match (self.lanes_are, self.precision) {
                (Lanes::Rows, Precision::F32) => {
                    rows_panel::<S, F32>(from.add(first * cols), cols, lanes, cols, to, NUMBERS_AHEAD)
                }
                (Lanes::Rows, Precision::Bf16) => {
                    rows_panel::<S, S::Bf16>(from.add(first * cols), cols, lanes, cols, to, NUMBERS_AHEAD)
                }
                (Lanes::Columns, Precision::F32) => {
                    columns_panel::<S, F32>(from.add(first), cols, lanes, rows, to, step, |v| v * S::LANES)
                }
                (Lanes::Columns, Precision::Bf16) => {
                    columns_panel::<S, S::Bf16>(from.add(first), cols, lanes, rows, to, step, |v| v * S::LANES)
                }
            }
        }
    }
}

/// Packs `lanes` rows of `length` numbers that lie `stride` apart. Missing numbers are zero. Asks for memory `ahead`
/// numbers before it is needed.
///
/// # Safety
/// As for [`Vectors`]; the rows are readable, without any alignment, and `to` writable for a whole number of vectors
/// for each step.
#[inline(always)]
pub unsafe fn rows_panel<S: Vectors, F: Format<S>>(
    from: *const f32,
    stride: usize,
    lanes: usize,
    length: usize,
    to: *mut f32,
    ahead: usize,
) {
    let n = S::LANES;
    let width = lanes.next_multiple_of(n);
    let steps = length.div_ceil(F::DEPTH);
    for lane in (0..lanes).step_by(n) {
        for column in (0..length).step_by(n) {
            let columns = n.min(length - column);
            let first = column / F::DEPTH;
            // SAFETY: the caller's promises; rows and columns are inside by the minima taken.
            unsafe {
                let mut m = [S::zero(); MAX_LANES];
                for r in 0..n {
                    if lane + r < lanes {
                        let row = from.add((lane + r) * stride + column);
                        S::prefetch_far(row.wrapping_add(ahead));
                        m[r] = part::<S>(row, columns);
                    }
                }
                transpose::<S>(&mut m);
                for s in 0..n / F::DEPTH {
                    if first + s < steps {
                        let word = F::word(m[s * F::DEPTH], m[s * F::DEPTH + F::DEPTH - 1]);
                        S::store(to.add((first + s) * width + lane), word);
                    }
                }
            }
        }
    }
}

/// Packs `lanes` columns of `length` numbers; rows lie `stride` apart. Missing numbers are zero. The words of one step
/// lie `step` after those of the step before, those of the v-th vector `place(v)` after the first.
///
/// # Safety
/// As for [`rows_panel`].
#[inline(always)]
pub unsafe fn columns_panel<S: Vectors, F: Format<S>>(
    from: *const f32,
    stride: usize,
    lanes: usize,
    length: usize,
    to: *mut f32,
    step: usize,
    place: impl Fn(usize) -> usize,
) {
    let n = S::LANES;
    for (s, row) in (0..length).step_by(F::DEPTH).enumerate() {
        for (v, lane) in (0..lanes).step_by(n).enumerate() {
            let columns = n.min(lanes - lane);
            // SAFETY: the caller's promises; rows and columns are inside by the minima taken.
            unsafe {
                S::prefetch(from.wrapping_add((row + ROWS_AHEAD) * stride + lane));
                let first = part::<S>(from.add(row * stride + lane), columns);
                let last = row + F::DEPTH - 1;
                let second = if last < length { part::<S>(from.add(last * stride + lane), columns) } else { S::zero() };
                S::store(to.add(s * step + place(v)), F::word(first, second));
            }
        }
    }
}

/// As [`rows_panel`] of rows of bf16, widened to f32.
///
/// # Safety
/// As for [`rows_panel`].
#[inline(always)]
pub unsafe fn narrow_rows_panel<S: Vectors>(
    from: *const bf16,
    stride: usize,
    lanes: usize,
    length: usize,
    to: *mut f32,
    ahead: usize,
) {
    let n = S::LANES;
    let width = lanes.next_multiple_of(n);
    for lane in (0..lanes).step_by(n) {
        // Pairs are transposed as one, and then parted.
        for column in (0..length).step_by(2 * n) {
            let columns = (2 * n).min(length - column);
            // SAFETY: the caller's promises; rows and columns are inside by the minima taken.
            unsafe {
                let mut m = [S::zero(); MAX_LANES];
                for r in 0..n {
                    if lane + r < lanes {
                        let row = from.add((lane + r) * stride + column);
                        S::prefetch_far(row.wrapping_add(ahead).cast());
                        m[r] = part_of_bytes::<S>(row.cast(), 2 * columns);
                    }
                }
                transpose::<S>(&mut m);
                for s in 0..n {
                    let (even, odd) = S::halves(m[s]);
                    for (step, half) in [(2 * s, even), (2 * s + 1, odd)] {
                        if step < columns {
                            S::store(to.add((column + step) * width + lane), half);
                        }
                    }
                }
            }
        }
    }
}

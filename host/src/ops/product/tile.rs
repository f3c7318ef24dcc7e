//! The innermost loops: a tile of sums in registers, and its way to the result.

// Loops over indices of several arrays of registers are what the compiler unrolls.
#![allow(clippy::needless_range_loop)]

use super::{
    super::buffer::Shared,
    pack::{WIDTH, transpose},
    vector::{MAX_LANES, Vectors},
};

/// What a word of the operands is.
pub trait Format {
    /// Numbers in a word.
    const DEPTH: usize;
    /// `sum` and the products of words `a` and `b`.
    ///
    /// # Safety
    /// As for [`Vectors`].
    unsafe fn add<S: Vectors>(sum: S::V, a: S::V, b: S::V) -> S::V;
    /// Words of the numbers `first` and, if a word has two, `second`.
    ///
    /// # Safety
    /// As for [`Vectors`].
    unsafe fn word<S: Vectors>(first: S::V, second: S::V) -> S::V;
}

/// One f32.
pub struct F32;
/// Two bf16.
pub struct Bf16;

impl Format for F32 {
    const DEPTH: usize = 1;
    #[inline(always)]
    unsafe fn add<S: Vectors>(sum: S::V, a: S::V, b: S::V) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { S::add_product(sum, a, b) }
    }
    #[inline(always)]
    unsafe fn word<S: Vectors>(first: S::V, _: S::V) -> S::V {
        first
    }
}

impl Format for Bf16 {
    const DEPTH: usize = 2;
    #[inline(always)]
    unsafe fn add<S: Vectors>(sum: S::V, a: S::V, b: S::V) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { S::add_pairs(sum, a, b) }
    }
    #[inline(always)]
    unsafe fn word<S: Vectors>(first: S::V, second: S::V) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { S::pair(first, second) }
    }
}

/// Sums of one block: a vector's number of rows, each as wide as a panel.
#[repr(align(64))]
pub struct Sums([f32; MAX_LANES * WIDTH * MAX_LANES]);

impl Sums {
    /// All zero.
    pub fn new() -> Self {
        Self([0.0; _])
    }
}

/// How many rows ahead of use the memory of rows is asked for: they follow each other, so it is read in one stream.
const ROWS_AHEAD: usize = 16;

/// Rows of words that are broadcast, one word at a time, to the lanes of a panel.
#[derive(Clone, Copy)]
pub struct Rows {
    /// Where the first row starts; words need no alignment.
    pub start: *const f32,
    /// Words from one row to the next.
    pub stride: usize,
    /// Words from one step to the next.
    pub step: usize,
}

/// `sums = rows * panel` over `steps` words, or `sums +=` unless `fresh`.
///
/// # Safety
/// As for [`Vectors`]; `panel` holds `vectors` vectors for each step, `rows` has `count` rows, at most as many as a vector
/// has lanes.
#[inline(always)]
pub unsafe fn block<S: Vectors, F: Format>(
    panel: *const f32,
    vectors: usize,
    rows: Rows,
    count: usize,
    steps: usize,
    sums: &mut Sums,
    fresh: bool,
) {
    // SAFETY: the caller's promises.
    unsafe {
        match vectors {
            1 => tall::<S, F, 1>(panel, rows, count, steps, sums, fresh),
            2 => tall::<S, F, 2>(panel, rows, count, steps, sums, fresh),
            _ => tall::<S, F, WIDTH>(panel, rows, count, steps, sums, fresh),
        }
    }
}

/// # Safety
/// As for [`block`].
#[inline(always)]
unsafe fn tall<S: Vectors, F: Format, const V: usize>(
    panel: *const f32,
    rows: Rows,
    count: usize,
    steps: usize,
    sums: &mut Sums,
    fresh: bool,
) {
    let mut row = 0;
    while row < count {
        // SAFETY: the caller's promises; the tile's rows are below `count`.
        unsafe {
            let rows = Rows { start: rows.start.add(row * rows.stride), ..rows };
            let sums = sums.0.as_mut_ptr().add(row * V * S::LANES);
            row += match count - row {
                16.. if S::ROWS == 8 && V == 1 => tile::<S, F, 16, V>(panel, rows, steps, sums, fresh),
                8.. if S::ROWS == 8 => tile::<S, F, 8, V>(panel, rows, steps, sums, fresh),
                4.. => tile::<S, F, 4, V>(panel, rows, steps, sums, fresh),
                2.. => tile::<S, F, 2, V>(panel, rows, steps, sums, fresh),
                _ => tile::<S, F, 1, V>(panel, rows, steps, sums, fresh),
            };
        }
    }
}

/// Each sum is one chain of fused products in the order of the steps, whatever `R` and `V` are. Returns `R`.
///
/// # Safety
/// As for [`block`]; `sums` has room for `R` rows of `V` vectors.
#[inline(always)]
unsafe fn tile<S: Vectors, F: Format, const R: usize, const V: usize>(
    panel: *const f32,
    rows: Rows,
    steps: usize,
    sums: *mut f32,
    fresh: bool,
) -> usize {
    // Steps between requests for memory ahead: a line of each row.
    const LINE: usize = 16;
    // SAFETY: the caller's promises; `panel` advances over the steps it holds, and prefetching reads nothing.
    unsafe {
        let row = |r: usize| rows.start.add(r * rows.stride);
        let mut acc = [[S::zero(); V]; R];
        if !fresh {
            for r in 0..R {
                for v in 0..V {
                    acc[r][v] = S::load(sums.add((r * V + v) * S::LANES));
                }
            }
        }
        let mut s = 0;
        while s < steps {
            // A constant length lets the compiler count down one register.
            let line = LINE.min(steps - s);
            if rows.step == 1 {
                for r in 0..R {
                    S::prefetch_far(row(r).wrapping_add(ROWS_AHEAD * rows.stride + s));
                }
            }
            for _ in 0..line {
                let panel = panel.add(s * V * S::LANES);
                let mut a = [S::zero(); V];
                for v in 0..V {
                    a[v] = S::load(panel.add(v * S::LANES));
                }
                for r in 0..R {
                    let b = S::splat(row(r).add(s * rows.step).read_unaligned());
                    for v in 0..V {
                        acc[r][v] = F::add::<S>(acc[r][v], a[v], b);
                    }
                }
                s += 1;
            }
        }
        for r in 0..R {
            for v in 0..V {
                S::store(sums.add((r * V + v) * S::LANES), acc[r][v]);
            }
        }
    }
    R
}

/// Where the sums of a block belong.
#[derive(Clone, Copy)]
pub struct Place {
    pub row: usize,
    pub rows: usize,
    pub lane: usize,
    pub lanes: usize,
}

/// A row-major matrix that takes results.
#[derive(Clone, Copy)]
pub struct Output<'a> {
    /// All of it; tasks write disjoint parts.
    pub to: Shared<'a>,
    /// Numbers in a row.
    pub width: usize,
    /// Whether the lanes of a panel are rows of it, not columns.
    pub lanes_are_rows: bool,
}

impl Output<'_> {
    /// Asks for the memory of a block before it is needed.
    ///
    /// # Safety
    /// As for [`put`](Self::put).
    #[inline(always)]
    pub unsafe fn prefetch<S: Vectors>(self, at: Place) {
        let (rows, columns) = if self.lanes_are_rows { (at.lanes, at.rows) } else { (at.rows, at.lanes) };
        let (row, column) = if self.lanes_are_rows { (at.lane, at.row) } else { (at.row, at.lane) };
        for r in row..row + rows {
            let start = r * self.width + column;
            // SAFETY: the caller's promise.
            unsafe {
                let line = self.to.part(start..start + columns);
                for i in (0..columns).step_by(16) {
                    S::prefetch(line.as_ptr().wrapping_add(i));
                }
            }
        }
    }

    /// Moves the sums of a block there, or adds them.
    ///
    /// # Safety
    /// As for [`Vectors`]; no other task writes this part.
    #[inline(always)]
    pub unsafe fn put<S: Vectors>(self, sums: &Sums, vectors: usize, at: Place, add: bool) {
        let n = S::LANES;
        // SAFETY: the caller's promises; a block has at most `n` rows of `vectors` vectors, which `Sums` has room for.
        unsafe {
            if !self.lanes_are_rows {
                for r in 0..at.rows {
                    self.row::<S>(at.row + r, at.lane, &sums.0[r * vectors * n..][..at.lanes], add);
                }
            } else {
                for first in (0..at.lanes).step_by(n) {
                    let mut m = [S::zero(); MAX_LANES];
                    for r in 0..n {
                        m[r] = S::load(sums.0.as_ptr().add(r * vectors * n + first));
                    }
                    transpose::<S>(&mut m);
                    for l in 0..n {
                        if first + l < at.lanes {
                            let mut line = [0.0; MAX_LANES];
                            S::store(line.as_mut_ptr(), m[l]);
                            self.row::<S>(at.lane + first + l, at.row, &line[..at.rows], add);
                        }
                    }
                }
            }
        }
    }

    /// # Safety
    /// As for [`put`](Self::put).
    #[inline(always)]
    unsafe fn row<S: Vectors>(self, row: usize, column: usize, from: &[f32], add: bool) {
        let start = row * self.width + column;
        // SAFETY: the caller's promises; the loop handles whole vectors inside both slices.
        unsafe {
            let to = self.to.part(start..start + from.len());
            let whole = from.len() - from.len() % S::LANES;
            for i in (0..whole).step_by(S::LANES) {
                let (to, mut v) = (to.as_mut_ptr().add(i), S::load(from.as_ptr().add(i)));
                if add {
                    v = S::add(S::load(to), v);
                }
                S::store(to, v);
            }
            for (to, from) in to[whole..].iter_mut().zip(&from[whole..]) {
                *to = if add { *to + *from } else { *from };
            }
        }
    }
}

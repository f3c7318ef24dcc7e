//! The innermost loops: a tile of sums in registers, and its way to the result.

// Loops over indices of several arrays of registers are what the compiler unrolls.
#![allow(clippy::needless_range_loop)]

use super::{
    super::buffer::Shared,
    registers::transpose,
    vector::{Format, MAX_LANES, MAX_WIDTH, Vectors, Work},
};
use std::marker::PhantomData;

/// Sums of one block: [`Vectors::BLOCK`] rows, each as wide as a panel.
#[repr(align(64))]
pub struct Sums([f32; MAX_LANES * MAX_WIDTH * MAX_LANES]);

impl Sums {
    /// All zero.
    pub fn new() -> Self {
        Self([0.0; _])
    }
}

/// Rows of words that are broadcast, one word at a time, to the lanes of a panel.
#[derive(Clone, Copy)]
pub struct Rows {
    /// Where the first row starts; words need no alignment.
    pub start: *const f32,
    /// Words from one row to the next.
    pub stride: usize,
    /// Words from one step to the next.
    pub step: usize,
    /// What is asked for meanwhile.
    pub ahead: Option<Ahead>,
}

impl Rows {
    /// Rows of adjacent words that lie at `start`, with others of the kind behind them.
    pub fn in_place(start: *const f32, stride: usize) -> Self {
        // They follow each other, so that memory is read in one stream.
        const ROWS_AHEAD: usize = 16;
        let ahead = start.wrapping_add(ROWS_AHEAD * stride).cast();
        Self { start, stride, step: 1, ahead: Some(Ahead { start: ahead, stride: 4 * stride, step: 4 }) }
    }
}

/// Memory that will be needed when the rows at hand are done; it need not be readable.
#[derive(Clone, Copy)]
pub struct Ahead {
    pub start: *const u8,
    /// Bytes for each row, and for each of its steps.
    pub stride: usize,
    pub step: usize,
}

/// `sums = rows * panel` over `steps` words, or `sums +=` unless `fresh`.
///
/// # Safety
/// As for [`Vectors`]; `panel` holds `vectors` vectors for each step, `rows` has `count` rows, at most
/// [`Vectors::BLOCK`].
#[inline(always)]
pub unsafe fn block<S: Vectors, F: Format<S>>(
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
            _ => tall::<S, F, MAX_WIDTH>(panel, rows, count, steps, sums, fresh),
        }
    }
}

/// # Safety
/// As for [`block`].
#[inline(always)]
unsafe fn tall<S: Vectors, F: Format<S>, const V: usize>(
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
            let ahead = rows.ahead.map(|a| Ahead { start: a.start.wrapping_add(row * a.stride), ..a });
            let rows = Rows { start: rows.start.add(row * rows.stride), ahead, ..rows };
            let tile = Tile { panel, rows, steps, sums: sums.0.as_mut_ptr().add(row * V * S::LANES), fresh };
            row += match count - row {
                16.. if S::ROWS == 8 && V == 1 => tile.sum::<S, F, 16, V>(),
                12.. if S::ROWS == 6 && V == 1 => tile.sum::<S, F, 12, V>(),
                8.. if S::ROWS == 8 => tile.sum::<S, F, 8, V>(),
                6.. if S::ROWS == 6 => tile.sum::<S, F, 6, V>(),
                4.. => tile.sum::<S, F, 4, V>(),
                2.. => tile.sum::<S, F, 2, V>(),
                _ => tile.sum::<S, F, 1, V>(),
            };
        }
    }
}

/// Rows whose sums are in registers together.
struct Tile {
    panel: *const f32,
    rows: Rows,
    steps: usize,
    sums: *mut f32,
    fresh: bool,
}

impl Tile {
    /// Sums up `R` rows of `V` vectors. Each sum is one chain of fused products in the order of the steps, whatever `R`
    /// and `V` are. Returns `R`.
    ///
    /// # Safety
    /// As for [`block`]; `sums` has room for `R` rows of `V` vectors.
    #[inline(always)]
    unsafe fn sum<S: Vectors, F: Format<S>, const R: usize, const V: usize>(self) -> usize {
        // SAFETY: the caller's promise.
        unsafe { S::apart(Sum::<F, R, V>(self, PhantomData)) };
        R
    }
}

/// [`Tile::sum`]
struct Sum<F, const R: usize, const V: usize>(Tile, PhantomData<F>);

impl<S: Vectors, F: Format<S>, const R: usize, const V: usize> Work<S> for Sum<F, R, V> {
    #[inline(always)]
    unsafe fn run(self) {
        // Steps between requests for memory ahead: a line of each row.
        const LINE: usize = 16;
        let Tile { panel, rows, steps, sums, fresh } = self.0;
        // SAFETY: the promises of [`Tile::sum`]; `panel` advances over the steps it holds, and prefetching reads
        // nothing.
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
            for line in (0..steps).step_by(LINE) {
                if let Some(ahead) = rows.ahead {
                    for r in 0..R {
                        S::prefetch_far(ahead.start.wrapping_add(r * ahead.stride + line * ahead.step).cast());
                    }
                }
                for s in line..steps.min(line + LINE) {
                    let panel = panel.add(s * V * S::LANES);
                    let mut a = [S::zero(); V];
                    for v in 0..V {
                        a[v] = S::load(panel.add(v * S::LANES));
                    }
                    for r in 0..R {
                        let b = S::splat(row(r).add(s * rows.step).read_unaligned());
                        for v in 0..V {
                            acc[r][v] = F::add(acc[r][v], a[v], b);
                        }
                    }
                }
            }
            for r in 0..R {
                for v in 0..V {
                    S::store(sums.add((r * V + v) * S::LANES), acc[r][v]);
                }
            }
        }
    }
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
        // SAFETY: the caller's promises; a block has at most `BLOCK` rows of `vectors` vectors, which `Sums` has room
        // for.
        unsafe {
            if !self.lanes_are_rows {
                for r in 0..at.rows {
                    self.row::<S>(at.row + r, at.lane, &sums.0[r * vectors * n..][..at.lanes], add);
                }
            } else {
                for (first, row) in
                    (0..at.lanes).step_by(n).flat_map(|lane| (0..at.rows).step_by(n).map(move |r| (lane, r)))
                {
                    let (rows, mut m) = (n.min(at.rows - row), [S::zero(); MAX_LANES]);
                    for r in 0..n {
                        m[r] = S::load(sums.0.as_ptr().add((row + r) * vectors * n + first));
                    }
                    transpose::<S>(&mut m);
                    for l in 0..n {
                        if first + l < at.lanes {
                            let mut line = [0.0; MAX_LANES];
                            S::store(line.as_mut_ptr(), m[l]);
                            self.row::<S>(at.lane + first + l, at.row + row, &line[..rows], add);
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

//! Products of attention's blocks, by the tiles that products with weights use: queries are lanes, keys or numbers of a
//! head are rows.

use crate::ops::{
    attention::blocks::{Block, Sizes},
    kernels::{
        buffer::Shared,
        product::{
            pack::{Aligned, columns_panel, rows_panel},
            tile::{Output, Place, Rows, Sums, block},
            vector::{F32, Job, Shape, Vectors},
        },
        simd::Level,
    },
};
use std::ops::Range;

/// Queries of a block: as many as a tile is wide.
pub fn queries(level: Level) -> usize {
    Shape::of(level).panel
}

/// A matrix [steps, lanes], its lanes padded to whole vectors.
pub struct Panel {
    words: Aligned,
    vectors: usize,
}

impl Panel {
    /// One that is not filled yet.
    ///
    /// # Safety
    /// Every number is written before it is read.
    pub unsafe fn uninit(level: Level, steps: usize, lanes: usize) -> Self {
        let n = Shape::of(level).lanes;
        let vectors = lanes.div_ceil(n);
        // SAFETY: the caller's promise.
        Self { words: unsafe { Aligned::uninit(steps * vectors * n) }, vectors }
    }

    /// The transpose of `lanes` rows of `steps` numbers that lie `stride` apart.
    pub fn of_rows(level: Level, x: &[f32], stride: usize, lanes: usize, steps: usize) -> Self {
        // SAFETY: packing writes all of it.
        let mut panel = unsafe { Self::uninit(level, steps, lanes) };
        level.run(PackPanel { x, stride, lanes, steps, transposed: true, to: &mut panel });
        panel
    }

    /// `lanes` numbers of each of `steps` rows that lie `stride` apart.
    pub fn of_columns(level: Level, x: &[f32], stride: usize, lanes: usize, steps: usize) -> Self {
        // SAFETY: packing writes all of it.
        let mut panel = unsafe { Self::uninit(level, steps, lanes) };
        level.run(PackPanel { x, stride, lanes, steps, transposed: false, to: &mut panel });
        panel
    }

    /// Lanes with their padding.
    pub fn width(&self, level: Level) -> usize {
        self.vectors * Shape::of(level).lanes
    }
    /// The numbers, [steps, width].
    pub fn numbers(&self) -> &[f32] {
        self.words.get()
    }
    /// As [`numbers`](Self::numbers).
    pub fn numbers_mut(&mut self) -> &mut [f32] {
        self.words.get_mut()
    }
}

struct PackPanel<'a> {
    x: &'a [f32],
    stride: usize,
    lanes: usize,
    steps: usize,
    transposed: bool,
    to: &'a mut Panel,
}

impl Job for PackPanel<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Vectors>(self) {
        let Self { x, stride, lanes, steps, transposed, to } = self;
        let (rows, columns) = if transposed { (lanes, steps) } else { (steps, lanes) };
        assert!(rows > 0 && (rows - 1) * stride + columns <= x.len(), "the rows are there");
        let width = to.vectors * S::LANES;
        assert!(to.words.get().len() >= steps * width);
        let (from, to) = (x.as_ptr(), to.words.get_mut().as_mut_ptr());
        // SAFETY: the caller's promise; both sides have the room asserted.
        unsafe {
            if transposed {
                rows_panel::<S, F32>(from, stride, lanes, steps, to, 0);
            } else {
                columns_panel::<S, F32>(from, stride, lanes, steps, to, width, |v| v * S::LANES);
            }
        }
    }
}

/// Rows that are multiplied with some steps of a panel.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// From the first number on.
    pub x: &'a [f32],
    /// Numbers from one row to the next.
    pub stride: usize,
    /// Numbers from one step to the next.
    pub step: usize,
    /// How many steps.
    pub steps: usize,
}

/// `rows` rows times a panel, whose steps the parts take one after the other.
pub struct Product<'a> {
    pub panel: &'a Panel,
    pub parts: &'a [Part<'a>],
    pub rows: usize,
    pub out: Output<'a>,
    /// Where the first row belongs, and the first lane with how many more.
    pub row: usize,
    pub lanes: Range<usize>,
    pub add: bool,
}

impl Job for Product<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Vectors>(self) {
        let Self { panel: Panel { words, vectors }, parts, out, .. } = self;
        let width = vectors * S::LANES;
        let steps: usize = parts.iter().map(|p| p.steps).sum();
        assert!(words.get().len() == steps * width, "the parts take all steps");
        for p in parts {
            let last = self.rows.saturating_sub(1) * p.stride + p.steps.saturating_sub(1) * p.step;
            assert!(last < p.x.len(), "the rows are there");
        }
        let mut sums = Sums::new();
        for row in (0..self.rows).step_by(S::BLOCK) {
            let rows = S::BLOCK.min(self.rows - row);
            let mut words = words.get().as_ptr();
            for (i, p) in parts.iter().enumerate() {
                // SAFETY: the caller's promise; panel and rows have the lengths asserted.
                unsafe {
                    let start = p.x.as_ptr().add(row * p.stride);
                    let from = match p.step {
                        1 => Rows::in_place(start, p.stride),
                        step => Rows { start, stride: p.stride, step, ahead: None },
                    };
                    block::<S, F32>(words, *vectors, from, rows, p.steps, &mut sums, i == 0);
                    words = words.add(p.steps * width);
                }
            }
            let place = Place { row: self.row + row, rows, lane: self.lanes.start, lanes: self.lanes.len() };
            // SAFETY: the one who asks for the product alone writes its place.
            unsafe { out.put::<S>(&sums, *vectors, place, self.add) };
        }
    }
}

impl Block {
    /// What `x` [queries, width] has of a head for this block's queries, as lanes: [dim, queries].
    pub fn lanes(&self, level: Level, x: &[f32], head: usize, s: &Sizes) -> Panel {
        Panel::of_rows(level, &x[self.rows.start * s.width + head * s.dim..], s.width, self.rows.len(), s.dim)
    }

    /// The head's part of each run of keys in `x`, keys or values (rows have `dim` numbers); with their number and
    /// first place.
    fn keys<'a>(&self, x: &'a [f32], head: usize, s: &Sizes) -> impl Iterator<Item = (&'a [f32], usize, usize)> {
        let (offset, width) = (head / s.group * s.dim, s.kv_width);
        self.runs().map(move |(rows, first)| (&x[rows.start * width + offset..], rows.len(), first))
    }

    /// Scores [seen, queries] of lanes with the head's keys in `x`.
    pub fn scores(&self, level: Level, lanes: &Panel, x: &[f32], head: usize, s: &Sizes) -> Panel {
        // SAFETY: the products write all of it, padding too.
        let mut p = unsafe { Panel::uninit(level, self.seen.len(), self.rows.len()) };
        let width = p.width(level);
        let out = Output { to: Shared::new(p.numbers_mut()), width, lanes_are_rows: false };
        for (x, rows, row) in self.keys(x, head, s) {
            let parts = &[Part { x, stride: s.kv_width, step: 1, steps: s.dim }];
            level.run(Product { panel: lanes, parts, rows, out, row, lanes: 0..width, add: false });
        }
        p
    }

    /// Rows of `out` [queries, width], of this head: p [seen, queries] transposed times the head's keys in `x`.
    ///
    /// # Safety
    /// No other part of `out` that overlaps these rows of this head is alive.
    pub unsafe fn mix(&self, level: Level, p: &Panel, x: &[f32], head: usize, s: &Sizes, out: Shared) {
        let part = |(x, steps, _)| Part { x, stride: 1, step: s.kv_width, steps };
        let parts: Vec<Part> = self.keys(x, head, s).map(part).collect();
        let out = Output { to: out, width: s.width, lanes_are_rows: true };
        let (row, lanes) = (head * s.dim, self.rows.clone());
        level.run(Product { panel: p, parts: &parts, rows: s.dim, out, row, lanes, add: false });
    }

    /// Adds p [seen, queries] times what `x` [queries, width] has of the head to the keys' rows of `out` [keys, dim].
    ///
    /// # Safety
    /// No other part of `out` that overlaps the keys' rows is alive.
    pub unsafe fn add_to_keys(&self, level: Level, p: &Panel, x: &[f32], head: usize, s: &Sizes, out: Shared) {
        let (rows, width) = (self.rows.len(), p.width(level));
        let pieces = s.dim.div_ceil(queries(level));
        let out = Output { to: out, width: s.dim, lanes_are_rows: false };
        for piece in 0..pieces {
            let lanes = s.dim * piece / pieces..s.dim * (piece + 1) / pieces;
            let x = &x[self.rows.start * s.width + head * s.dim + lanes.start..];
            let panel = &Panel::of_columns(level, x, s.width, lanes.len(), rows);
            for (keys, first) in self.runs() {
                let parts = &[Part { x: &p.numbers()[first * width..], stride: width, step: 1, steps: rows }];
                let (rows, row) = (keys.len(), keys.start);
                level.run(Product { panel, parts, rows, out, row, lanes: lanes.clone(), add: true });
            }
        }
    }
}

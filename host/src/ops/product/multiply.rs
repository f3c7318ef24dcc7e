//! A product cut into tasks: blocks of the cache, and the threads.

use super::{
    Precision,
    pack::{Aligned, Packed, WIDTH, columns_panel, rows_panel},
    tile::{Bf16, F32, Format, Output, Rows, Sums, block},
    vector::{Job, MAX_LANES, Vectors},
};
use crate::ops::simd::Level;
use rayon::prelude::*;
use std::ops::Range;

/// Most words of a chain of products; longer sums are cut into equal chains and those added up, in order.
/// A part of a result's definition: changing it changes bits.
const CHAIN: usize = 1024;
/// Bytes of packed panels that a task keeps in the second-level cache while the other operand passes.
const CACHE: usize = 512 << 10;
/// Words of weights packed at a time, for the first-level cache.
const STRIP: usize = 128;
/// Products of this many words or fewer are not worth another thread.
const SERIAL: usize = 1 << 18;

/// Words of each chain but the last.
fn chain(steps: usize) -> usize {
    steps.div_ceil(steps.div_ceil(CHAIN).max(1)).max(1)
}

/// A row-major matrix of words.
#[derive(Clone, Copy)]
pub enum Operand<'a> {
    /// [n, steps], as bytes: words need no alignment.
    Rows(&'a [u8]),
    /// Numbers [steps * depth, n], to be packed in passing; with their number of rows.
    Columns(&'a [f32], usize),
}

/// Products of `n` rows of `b` with all lanes of packed panels.
pub fn multiply(a: &Packed, b: Operand, n: usize, out: Output, add: bool) {
    let (panels, steps) = (a.panels(), a.steps);
    let panel = chain(steps) * WIDTH * a.vector * size_of::<f32>();
    let groups = panels.div_ceil((CACHE / panel).max(1));
    let units = n.div_ceil(a.vector);
    let threads = rayon::current_num_threads();
    let serial = a.lanes * n * steps <= SERIAL;
    let parts = if serial { 1 } else { (8 * threads).div_ceil(groups).next_multiple_of(threads).min(units) };
    let split = |i: usize, of: usize, total: usize| total * i / of..total * (i + 1) / of;
    let work = |scratch: &mut Aligned, task: usize| {
        let rows = split(task % parts, parts, units);
        a.level.run(Blocks {
            a,
            b,
            panels: split(task / parts, groups, panels),
            rows: rows.start * a.vector..n.min(rows.end * a.vector),
            n,
            out,
            add,
            scratch: scratch.get_mut(),
        });
    };
    // SAFETY: packing writes what the tiles read.
    let scratch = || unsafe { Aligned::uninit(MAX_LANES * chain(steps)) };
    let tasks = groups * parts;
    if serial {
        (0..tasks).for_each(|task| work(&mut scratch(), task));
    } else {
        (0..tasks).into_par_iter().with_max_len(1).for_each_init(scratch, work);
    }
}

/// A task of [`multiply`].
struct Blocks<'a> {
    a: &'a Packed,
    b: Operand<'a>,
    panels: Range<usize>,
    rows: Range<usize>,
    n: usize,
    out: Output<'a>,
    add: bool,
    scratch: &'a mut [f32],
}

impl Job for Blocks<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Vectors>(self) {
        // SAFETY: the caller's promise.
        unsafe {
            match self.a.precision {
                Precision::F32 => self.go::<S, F32>(),
                Precision::Bf16 => self.go::<S, Bf16>(),
            }
        }
    }
}

impl Blocks<'_> {
    /// # Safety
    /// As for [`Job::run`].
    #[inline(always)]
    unsafe fn go<S: Vectors, F: Format>(self) {
        let steps = self.a.steps;
        let mut sums = Sums::new();
        for start in (0..steps).step_by(chain(steps)) {
            let length = chain(steps).min(steps - start);
            for row in self.rows.clone().step_by(S::LANES) {
                let count = S::LANES.min(self.rows.end - row);
                match self.b {
                    Operand::Rows(words) => {
                        assert!(words.len() == 4 * self.n * steps);
                        let start_of = words.as_ptr().cast::<f32>();
                        // SAFETY: row + count <= n rows of `steps` words.
                        unsafe {
                            let rows = Rows { start: start_of.add(row * steps + start), stride: steps, step: 1 };
                            self.panels::<S, F>(rows, (start, length), (row, count), &mut sums);
                        }
                    }
                    Operand::Columns(numbers, height) => {
                        assert!(numbers.len() == height * self.n && self.scratch.len() >= S::LANES * length);
                        let first = start * F::DEPTH;
                        let height = (length * F::DEPTH).min(height - first);
                        let scratch = self.scratch.as_ptr().cast_mut();
                        // SAFETY: the columns and rows lie inside the matrix, the result inside the scratch memory.
                        unsafe {
                            let from = numbers.as_ptr().add(first * self.n + row);
                            columns_panel::<S, F>(from, self.n, count, height, scratch);
                            let rows = Rows { start: scratch, stride: 1, step: S::LANES };
                            self.panels::<S, F>(rows, (start, length), (row, count), &mut sums);
                        }
                    }
                }
            }
        }
    }

    /// One block of rows against all panels of the task.
    ///
    /// # Safety
    /// As for [`Job::run`]; the rows are readable for the length.
    #[inline(always)]
    unsafe fn panels<S: Vectors, F: Format>(
        &self,
        rows: Rows,
        (start, length): (usize, usize),
        (row, count): (usize, usize),
        sums: &mut Sums,
    ) {
        for panel in self.panels.clone() {
            let (words, vectors, lane, lanes) = self.a.panel(panel);
            let words = &words[start * vectors * S::LANES..][..length * vectors * S::LANES];
            // SAFETY: the caller's promise; the panel's words are sliced for the length; tasks own disjoint parts.
            unsafe {
                block::<S, F>(words.as_ptr(), vectors, rows, count, length, sums);
                self.out.put::<S>(sums, vectors, (row, count), (lane, lanes), self.add || start > 0);
            }
        }
    }
}

/// Products of a few rows of words `x` [m, steps] with weights that are packed in passing: bound by reading the weights.
#[derive(Clone, Copy)]
pub struct FewRows<'a> {
    pub level: Level,
    pub precision: Precision,
    pub x: &'a [f32],
    pub steps: usize,
}

impl FewRows<'_> {
    pub fn multiply(self, b: Operand, n: usize, out: Output, add: bool) {
        let m = self.x.len() / self.steps;
        let threads = rayon::current_num_threads();
        let serial = m * n * self.steps <= SERIAL / 4;
        // SAFETY: packing writes what the tiles read.
        let scratch = || unsafe { Aligned::uninit(WIDTH * MAX_LANES * STRIP) };
        let work = |scratch: &mut Aligned, start: usize, end: usize| {
            self.level.run(Strips { of: self, m, b, n, columns: start..end, out, add, scratch: scratch.get_mut() });
        };
        if serial {
            return work(&mut scratch(), 0, n);
        }
        let part = n.div_ceil(8 * threads).next_multiple_of(WIDTH * MAX_LANES);
        (0..n.div_ceil(part)).into_par_iter().with_max_len(1).for_each_init(scratch, |scratch, i| {
            work(scratch, i * part, n.min((i + 1) * part));
        });
    }
}

/// A task of [`FewRows`].
struct Strips<'a> {
    of: FewRows<'a>,
    m: usize,
    b: Operand<'a>,
    n: usize,
    columns: Range<usize>,
    out: Output<'a>,
    add: bool,
    scratch: &'a mut [f32],
}

impl Job for Strips<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Vectors>(self) {
        // SAFETY: the caller's promise.
        unsafe {
            match self.of.precision {
                Precision::F32 => self.go::<S, F32>(),
                Precision::Bf16 => self.go::<S, Bf16>(),
            }
        }
    }
}

impl Strips<'_> {
    /// # Safety
    /// As for [`Job::run`].
    #[inline(always)]
    unsafe fn go<S: Vectors, F: Format>(self) {
        let FewRows { x, steps, .. } = self.of;
        let mut sums = Sums::new();
        let panel = self.scratch.as_mut_ptr();
        assert!(self.m * steps == x.len() && self.m <= S::LANES && self.scratch.len() >= WIDTH * S::LANES * STRIP);
        for column in self.columns.clone().step_by(WIDTH * S::LANES) {
            let lanes = (WIDTH * S::LANES).min(self.columns.end - column);
            let vectors = lanes.div_ceil(S::LANES);
            for start in (0..steps).step_by(chain(steps)) {
                let end = steps.min(start + chain(steps));
                for strip in (start..end).step_by(STRIP) {
                    let length = STRIP.min(end - strip);
                    // SAFETY: columns below n and words below `steps` lie inside the weights, as asserted; the panel has
                    // room for a strip, and x has m rows.
                    unsafe {
                        match self.b {
                            Operand::Rows(words) => {
                                assert!(words.len() == 4 * self.n * steps);
                                let from = words.as_ptr().cast::<f32>().add(column * steps + strip);
                                rows_panel::<S, F32>(from, steps, lanes, length, panel);
                            }
                            Operand::Columns(numbers, height) => {
                                assert!(numbers.len() == height * self.n);
                                let first = strip * F::DEPTH;
                                let height = (length * F::DEPTH).min(height - first);
                                let from = numbers.as_ptr().add(first * self.n + column);
                                columns_panel::<S, F>(from, self.n, lanes, height, panel);
                            }
                        }
                        let rows = Rows { start: x.as_ptr().add(strip), stride: steps, step: 1 };
                        block::<S, F>(panel, vectors, rows, self.m, length, &mut sums);
                    }
                }
                // SAFETY: tasks own disjoint columns.
                unsafe { self.out.put::<S>(&mut sums, vectors, (0, self.m), (column, lanes), self.add || start > 0) };
            }
        }
    }
}

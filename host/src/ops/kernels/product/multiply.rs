//! A product cut into tasks: blocks of the cache, and the threads.

use super::{
    Precision,
    lines::{Lines, widen},
    pack::{Aligned, Packed},
    tile::{Ahead, Output, Place, Rows, Sums, block},
    vector::{F32, Format, Job, Vectors},
};
use half::bf16;
use rayon::prelude::*;
use std::ops::Range;

/// Most words of a chain of products; longer sums are cut into equal chains and those added up, in order.
/// A part of a result's definition: changing it changes bits.
const CHAIN: usize = 1024;
/// Bytes of rows that a task keeps in the second-level cache while the panels pass.
const CACHE: usize = 256 << 10;
/// Bytes of both operands that all tasks read at about the same time, for the last-level cache.
const SHARED_CACHE: usize = 8 << 20;
/// Tasks per thread, so that all end at about the same time.
const TASKS: usize = 4;
/// Products of this many words or fewer are not worth another thread.
pub const SERIAL: usize = 1 << 18;

/// Words of each chain but the last.
pub fn chain(steps: usize) -> usize {
    steps.div_ceil(steps.div_ceil(CHAIN).max(1)).max(1)
}

/// A row-major matrix of words.
#[derive(Clone, Copy)]
pub enum Operand<'a> {
    /// Words [n, steps], as bytes since they need no alignment.
    Words(&'a [u8]),
    /// [n, steps], to be widened to words in passing.
    Narrow(&'a [bf16]),
    /// Numbers [n, steps * depth], to be made words in passing.
    Lines(Lines<'a>),
    /// Numbers [steps * depth, n], to be packed in passing; with their number of rows.
    Columns(Lines<'a>, usize),
}

/// Products of `n` rows of `b` with all lanes of packed panels.
pub fn multiply(a: &Packed, b: Operand, n: usize, out: Output, add: bool) {
    let (panels, steps, threads) = (a.panels(), a.steps, rayon::current_num_threads());
    let length = chain(steps);
    let unit = a.shape.block;
    let units = n.div_ceil(unit);
    let serial = a.lanes * n * steps <= SERIAL;
    let wanted = if serial { 1 } else { TASKS * threads };
    let parts = (units * unit * length * size_of::<f32>()).div_ceil(CACHE);
    let parts = parts.max(wanted.min(units.div_ceil(2))).next_multiple_of(threads).min(units);
    let groups = wanted.div_ceil(parts).min(panels);
    let split = |i: usize, of: usize, total: usize| total * i / of..total * (i + 1) / of;
    let work = |scratch: &mut Aligned, chains: &Range<usize>, task: usize| {
        let rows = split(task % parts, parts, units);
        a.level.run(Blocks {
            a,
            b,
            chains: chains.clone(),
            panels: split(task / parts, groups, panels),
            rows: rows.start * unit..n.min(rows.end * unit),
            n,
            out,
            add,
            scratch: scratch.get_mut(),
        });
    };
    let room = match b {
        Operand::Words(_) => 0,
        Operand::Narrow(_) | Operand::Lines(_) => unit * padded(length),
        Operand::Columns(..) => units.div_ceil(parts) * unit * length,
    };
    // SAFETY: packing writes what the tiles read.
    let scratch = || unsafe { Aligned::uninit(room) };
    // Tasks go through long sums together, so that what they read of both operands is in the shared cache.
    let together = (SHARED_CACHE / ((a.lanes + n) * length * size_of::<f32>())).max(1) * length;
    for start in (0..steps).step_by(together) {
        let chains = start..steps.min(start + together);
        if serial {
            let mut scratch = scratch();
            (0..groups * parts).for_each(|task| work(&mut scratch, &chains, task));
        } else {
            let tasks = (0..groups * parts).into_par_iter().with_max_len(1);
            tasks.for_each_init(scratch, |scratch, task| work(scratch, &chains, task));
        }
    }
}

/// A task of [`multiply`]: a block of rows that stays in the cache while the panels pass.
struct Blocks<'a> {
    a: &'a Packed,
    b: Operand<'a>,
    /// Words of the sums, a whole number of chains.
    chains: Range<usize>,
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
                Precision::Bf16 => self.go::<S, S::Bf16>(),
            }
        }
    }
}

impl Blocks<'_> {
    /// # Safety
    /// As for [`Job::run`].
    #[inline(always)]
    unsafe fn go<S: Vectors, F: Format<S>>(self) {
        let (steps, first) = (self.a.steps, self.rows.start);
        for start in self.chains.clone().step_by(chain(steps)) {
            let length = chain(steps).min(steps - start);
            match self.b {
                Operand::Words(words) => {
                    assert!(words.len() == 4 * self.n * steps);
                    let from = words.as_ptr().cast::<f32>();
                    // SAFETY: rows below n lie inside the operand.
                    unsafe {
                        let at = |row| Rows::in_place(from.add(row * steps + start), steps);
                        self.panels::<S, F>(start, length, self.rows.clone(), at);
                    }
                }
                Operand::Narrow(numbers) => {
                    let stride = padded(length);
                    assert!(numbers.len() == self.n * steps && self.scratch.len() >= S::BLOCK * stride);
                    let wide = self.scratch.as_ptr().cast_mut();
                    // A block's words stay in the first-level or second-level cache while all panels pass.
                    for first in self.rows.clone().step_by(S::BLOCK) {
                        let rows = first..self.rows.end.min(first + S::BLOCK);
                        // SAFETY: rows below n lie inside the operand, a block's words inside the scratch memory.
                        unsafe {
                            for row in rows.clone() {
                                let from = numbers.as_ptr().add(row * steps + start);
                                widen::<S>(from, length, wide.add((row - first) * stride));
                            }
                            let next = numbers.as_ptr().wrapping_add((first + S::BLOCK) * steps + start).cast();
                            self.panels::<S, F>(start, length, rows, |row| Rows {
                                start: wide.add((row - first) * stride),
                                stride,
                                step: 1,
                                ahead: Some(Ahead { start: next, stride: 2 * steps, step: 2 }),
                            });
                        }
                    }
                }
                Operand::Lines(lines) => {
                    let (stride, count) = (padded(length), (length * F::DEPTH).min(lines.width - start * F::DEPTH));
                    assert!(lines.numbers.len() == self.n * lines.width && self.scratch.len() >= S::BLOCK * stride);
                    let words = self.scratch.as_ptr().cast_mut();
                    for first in self.rows.clone().step_by(S::BLOCK) {
                        let rows = first..self.rows.end.min(first + S::BLOCK);
                        // SAFETY: as above.
                        unsafe {
                            for row in rows.clone() {
                                let to = words.add((row - first) * stride);
                                lines.words::<S, F>(row, start * F::DEPTH, count, to);
                            }
                            let at = |row| words.add((row - first) * stride);
                            self.panels::<S, F>(start, length, rows, |row| Rows {
                                start: at(row),
                                stride,
                                step: 1,
                                ahead: None,
                            });
                        }
                    }
                }
                Operand::Columns(lines, height) => {
                    let room = self.rows.len().next_multiple_of(S::BLOCK) * length;
                    assert!(lines.numbers.len() == height * self.n && self.scratch.len() >= room);
                    let top = start * F::DEPTH;
                    let height = (length * F::DEPTH).min(height - top);
                    let packed = self.scratch.as_ptr().cast_mut();
                    // SAFETY: the columns and rows lie inside the matrix, the result inside the scratch memory.
                    unsafe {
                        let of_block = S::BLOCK / S::LANES;
                        let place = |v| v / of_block * S::BLOCK * length + v % of_block * S::LANES;
                        let (from, lanes) = ((top, first), self.rows.len());
                        lines.columns_panel::<S, F>(from, lanes, height, packed, S::BLOCK, place);
                        self.panels::<S, F>(start, length, self.rows.clone(), |row| Rows {
                            start: packed.add((row - first) * length),
                            stride: 1,
                            step: S::BLOCK,
                            ahead: None,
                        });
                    }
                }
            }
        }
    }

    /// One chain of rows against all panels of the task; `at` says where a row's words are.
    ///
    /// # Safety
    /// As for [`Job::run`]; the rows are readable for the length.
    #[inline(always)]
    unsafe fn panels<S: Vectors, F: Format<S>>(
        &self,
        start: usize,
        length: usize,
        rows: Range<usize>,
        at: impl Fn(usize) -> Rows,
    ) {
        let mut sums = Sums::new();
        let add = self.add || start > 0;
        for panel in self.panels.clone() {
            let (words, vectors, lane, lanes) = self.a.panel(panel);
            let words = &words[start * vectors * S::LANES..][..length * vectors * S::LANES];
            for row in rows.clone().step_by(S::BLOCK) {
                let count = S::BLOCK.min(rows.end - row);
                let place = Place { row, rows: count, lane, lanes };
                // SAFETY: the caller's promise; the panel's words are sliced for the length; tasks own disjoint parts.
                unsafe {
                    self.out.prefetch::<S>(place);
                    block::<S, F>(words.as_ptr(), vectors, at(row), count, length, &mut sums, true);
                    self.out.put::<S>(&sums, vectors, place, add);
                }
            }
        }
    }
}

/// Words from one row of widened ones to the next: rows that lie a power of two apart would push each other out of the
/// cache.
fn padded(length: usize) -> usize {
    length.next_multiple_of(16) + 16
}

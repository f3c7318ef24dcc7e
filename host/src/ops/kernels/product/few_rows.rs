//! Products of very few tokens, where weights take the lanes.

use super::{
    super::simd::Level,
    Precision,
    multiply::{Operand, SERIAL, chain},
    pack::{Aligned, narrow_rows_panel, rows_panel},
    tile::{Output, Place, Rows, Sums, block},
    vector::{F32, Format, Job, MAX_LANES, MAX_WIDTH, Vectors},
};
use rayon::prelude::*;
use std::ops::Range;

/// Words of weights packed at a time, for the first-level cache.
const STRIP: usize = 128;
/// Numbers from one row of a strip that is unpacked to the next: two for each word, and no power of two.
const UNPACKED: usize = 2 * STRIP + 16;

/// Products of a few rows of words `x` [m, steps] with weights that are packed in passing: bound by reading these.
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
        let room = if matches!(b, Operand::Lines(_)) { STRIP + UNPACKED } else { STRIP };
        // SAFETY: packing writes what the tiles read.
        let scratch = || unsafe { Aligned::uninit(MAX_WIDTH * MAX_LANES * room) };
        let work = |scratch: &mut Aligned, start: usize, end: usize| {
            self.level.run(Strips { of: self, m, b, n, columns: start..end, out, add, scratch: scratch.get_mut() });
        };
        if serial {
            return work(&mut scratch(), 0, n);
        }
        let part = n.div_ceil(8 * threads).next_multiple_of(MAX_WIDTH * MAX_LANES);
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
                Precision::Bf16 => self.go::<S, S::Bf16>(),
            }
        }
    }
}

impl Strips<'_> {
    /// # Safety
    /// As for [`Job::run`].
    #[inline(always)]
    unsafe fn go<S: Vectors, F: Format<S>>(self) {
        let FewRows { x, steps, .. } = self.of;
        let mut sums = Sums::new();
        assert!(self.m * steps == x.len() && self.m <= S::LANES && self.scratch.len() >= S::WIDTH * S::LANES * STRIP);
        let (panel, unpacked) = self.scratch.split_at_mut(S::WIDTH * S::LANES * STRIP);
        let panel = panel.as_mut_ptr();
        for column in self.columns.clone().step_by(S::WIDTH * S::LANES) {
            let lanes = (S::WIDTH * S::LANES).min(self.columns.end - column);
            let vectors = lanes.div_ceil(S::LANES);
            for start in (0..steps).step_by(chain(steps)) {
                let end = steps.min(start + chain(steps));
                for strip in (start..end).step_by(STRIP) {
                    let length = STRIP.min(end - strip);
                    // SAFETY: columns below n and words below `steps` lie inside the weights, as asserted; the panel
                    // has room for a strip, and x has m rows.
                    unsafe {
                        match self.b {
                            Operand::Words(words) => {
                                assert!(words.len() == 4 * self.n * steps);
                                let from = words.as_ptr().cast::<f32>().add(column * steps + strip);
                                rows_panel::<S, F32>(from, steps, lanes, length, panel, lanes * steps);
                            }
                            Operand::Narrow(numbers) => {
                                assert!(numbers.len() == self.n * steps);
                                let from = numbers.as_ptr().add(column * steps + strip);
                                narrow_rows_panel::<S>(from, steps, lanes, length, panel, lanes * steps);
                            }
                            Operand::Lines(lines) => {
                                assert!(lines.numbers.len() == self.n * lines.width);
                                let first = strip * F::DEPTH;
                                let count = (length * F::DEPTH).min(lines.width - first);
                                for (lane, to) in unpacked.chunks_exact_mut(UNPACKED).take(lanes).enumerate() {
                                    lines.copy::<S>(column + lane, first, &mut to[..count]);
                                }
                                rows_panel::<S, F>(unpacked.as_ptr(), UNPACKED, lanes, count, panel, 0);
                            }
                            Operand::Columns(lines, height) => {
                                assert!(lines.numbers.len() == height * self.n);
                                let first = strip * F::DEPTH;
                                let height = (length * F::DEPTH).min(height - first);
                                let (from, step) = ((first, column), vectors * S::LANES);
                                lines.columns_panel::<S, F>(from, lanes, height, panel, step, |v| v * S::LANES);
                            }
                        }
                        let rows = Rows { start: x.as_ptr().add(strip), stride: steps, step: 1, ahead: None };
                        block::<S, F>(panel, vectors, rows, self.m, length, &mut sums, strip == start);
                    }
                }
                let place = Place { row: 0, rows: self.m, lane: column, lanes };
                // SAFETY: tasks own disjoint columns.
                unsafe { self.out.put::<S>(&sums, vectors, place, self.add || start > 0) };
            }
        }
    }
}

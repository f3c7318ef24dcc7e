//! Rows of a matrix of weights as f32, whatever they are kept as: widened or unpacked in passing, a part at a time.

use super::{
    super::simd::Level,
    pack::columns_panel,
    registers::part,
    vector::{Format, Job, Vectors},
};
use crate::ops::blocks::{Blocks, LookUp};
use half::bf16;
use std::marker::PhantomData;

/// Numbers of a row that are widened or unpacked at a time.
const PART: usize = 256;

/// The numbers of a matrix, row by row.
#[derive(Clone, Copy)]
pub enum Numbers<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
    Blocks(&'a Blocks),
}

impl Numbers<'_> {
    pub fn len(self) -> usize {
        match self {
            Self::F32(x) => x.len(),
            Self::Bf16(x) => x.len(),
            Self::Blocks(x) => x.dims().0 * x.dims().1,
        }
    }
}

/// A matrix with its width, as it is read at a level.
#[derive(Clone, Copy)]
pub struct Lines<'a> {
    pub numbers: Numbers<'a>,
    pub width: usize,
    pub level: Level,
}

impl Lines<'_> {
    /// The numbers of a row from column `start` on, as many as there is room in `buffer`: where they lie, or there.
    /// f32 always stay where they lie.
    ///
    /// # Safety
    /// As for [`Vectors`]; they lie in the row, and the row in the matrix.
    #[inline(always)]
    pub unsafe fn read<S: Vectors>(self, row: usize, start: usize, buffer: &mut [f32]) -> *const f32 {
        // SAFETY: the caller's promise.
        unsafe {
            if let Numbers::F32(x) = self.numbers {
                return x.as_ptr().add(row * self.width + start);
            }
            self.copy::<S>(row, start, buffer);
        }
        buffer.as_ptr()
    }

    /// As [`read`](Self::read), always there.
    ///
    /// # Safety
    /// As for [`read`](Self::read).
    #[inline(always)]
    pub unsafe fn copy<S: Vectors>(self, row: usize, start: usize, to: &mut [f32]) {
        let at = row * self.width + start;
        match self.numbers {
            Numbers::F32(x) => to.copy_from_slice(&x[at..at + to.len()]),
            // SAFETY: the caller's promise.
            Numbers::Bf16(x) => unsafe { widen::<S>(x.as_ptr().add(at), to.len(), to.as_mut_ptr()) },
            Numbers::Blocks(blocks) => self.level.run(Unpack { blocks, row, start, out: to }),
        }
    }

    /// [`columns_panel`] from a row and a column on.
    ///
    /// # Safety
    /// As for [`columns_panel`]; the rows and columns lie in the matrix.
    #[inline(always)]
    pub unsafe fn columns_panel<S: Vectors, F: Format<S>>(
        self,
        (row, column): (usize, usize),
        lanes: usize,
        length: usize,
        to: *mut f32,
        step: usize,
        place: impl Fn(usize) -> usize,
    ) {
        // SAFETY: the caller's promise; a buffer has the rows of one step, and as many columns as are read of it.
        unsafe {
            if let Numbers::F32(x) = self.numbers {
                let from = x.as_ptr().add(row * self.width + column);
                return columns_panel::<S, F>(from, self.width, lanes, length, to, step, place);
            }
            let mut buffer = [[0.0; PART]; 2];
            for start in (0..lanes).step_by(PART) {
                let here = PART.min(lanes - start);
                for first in (0..length).step_by(F::DEPTH) {
                    let rows = F::DEPTH.min(length - first);
                    for (r, to) in buffer.iter_mut().enumerate().take(rows) {
                        self.copy::<S>(row + first + r, column + start, &mut to[..here]);
                    }
                    let (from, to) = (buffer.as_ptr().cast(), to.add(first / F::DEPTH * step));
                    columns_panel::<S, F>(from, PART, here, rows, to, step, |v| place(start / S::LANES + v));
                }
            }
        }
    }

    /// As words of a format: `count` numbers of a row, the last word filled up with zero.
    ///
    /// # Safety
    /// As for [`read`](Self::read); `to` is writable for whole vectors of as many words.
    #[inline(always)]
    pub unsafe fn words<S: Vectors, F: Format<S>>(self, row: usize, start: usize, count: usize, to: *mut f32) {
        let mut buffer = [0.0; PART];
        for at in (0..count).step_by(PART) {
            let here = PART.min(count - at);
            // SAFETY: the caller's promise; a buffer's part is as long as what is read of it.
            unsafe {
                let from = self.read::<S>(row, start + at, &mut buffer[..here]);
                for i in (0..here).step_by(S::LANES) {
                    let v = part::<S>(from.add(i), S::LANES.min(here - i));
                    let to = to.add((at + i) / F::DEPTH);
                    if F::DEPTH == 1 { S::store(to, F::word(v, v)) } else { S::store_bf16(to.cast(), v) }
                }
            }
        }
    }
}

/// [`Blocks::unpack`] for a level.
struct Unpack<'a> {
    blocks: &'a Blocks,
    row: usize,
    start: usize,
    out: &'a mut [f32],
}

impl Job for Unpack<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Vectors>(self) {
        self.blocks.unpack_by::<By<S>>(self.row, self.start, self.out);
    }
}

/// A look-up by the instructions of a level; only [`Unpack`] names it.
struct By<S>(PhantomData<S>);

impl<S: Vectors> LookUp for By<S> {
    #[inline(always)]
    fn look_up(table: &[f32; 16], halves: &[u8; 16], out: &mut [f32; 32]) {
        for lane in (0..out.len()).step_by(S::LANES) {
            // SAFETY: `Unpack` runs where the processor has the instructions; `out` has whole vectors, and `halves`
            // half as many bytes.
            unsafe { S::store(out.as_mut_ptr().add(lane), S::look_up(table.as_ptr(), halves.as_ptr().add(lane / 2))) };
        }
    }
}

/// Widens bf16 to f32.
///
/// # Safety
/// As for [`Vectors`]; `from` is readable and `to` writable for `length` numbers.
#[inline(always)]
pub unsafe fn widen<S: Vectors>(from: *const bf16, length: usize, to: *mut f32) {
    let whole = length - length % S::LANES;
    // SAFETY: the caller's promise.
    unsafe {
        for i in (0..whole).step_by(S::LANES) {
            S::store(to.add(i), S::load_bf16(from.add(i).cast()));
        }
        for i in whole..length {
            *to.add(i) = from.add(i).read().to_f32();
        }
    }
}

//! Attention of one query, which is bound by reading its keys and values: each is read once, in the order of memory,
//! for all heads.

// Loops over indices of several arrays of registers are what the compiler unrolls.
#![allow(clippy::needless_range_loop)]

use crate::ops::{
    attention::blocks::{Block, Sizes},
    kernels::{
        buffer::uninit,
        product::{
            registers::{part, transpose},
            vector::{Job, MAX_LANES, Vectors},
        },
        simd::{self, Level},
    },
};
use std::ops::Range;

/// Attention of a block of one query, for the query heads that share some key heads: `q` and `out` are [heads, dim].
/// Gives each head's log-sum-exp.
pub fn attend(
    block: &Block,
    s: &Sizes,
    scale: f32,
    kv_heads: Range<usize>,
    [q, k, v]: [&[f32]; 3],
    out: &mut [f32],
) -> Vec<f32> {
    let (level, seen) = (Level::best(), block.seen.len());
    // SAFETY: the scores of all keys of all heads are written before they are read.
    let mut p = unsafe { uninit(kv_heads.len() * s.group * seen) };
    for (rows, first) in block.runs() {
        level.run(Scores { q, k, rows, s, kv_heads: kv_heads.clone(), p: &mut p, seen, first });
    }
    let sums = p.chunks_exact_mut(seen).map(|p| simd::softmax(level, p, scale)).collect();
    out.fill(0.0);
    for (rows, first) in block.runs() {
        level.run(Mix { p: &p, seen, first, v, rows, s, kv_heads: kv_heads.clone(), out });
    }
    sums
}

/// Asks for the memory of one head of the rows that lie ahead of some, as far as they are in `all`.
#[inline(always)]
fn ask<S: Vectors>(x: &[f32], all: &Range<usize>, rows: Range<usize>, offset: usize, s: &Sizes) {
    for row in rows.start + AHEAD..all.end.min(rows.end + AHEAD) {
        for line in x[row * s.kv_width + offset..][..s.dim].chunks(16) {
            // SAFETY: the caller runs at a level that has the instruction, which reads nothing.
            unsafe { S::prefetch_far(line.as_ptr()) };
        }
    }
}

/// p[head, first + i] = q[head] . k[rows[i]] of its key head
struct Scores<'a> {
    q: &'a [f32],
    k: &'a [f32],
    rows: Range<usize>,
    s: &'a Sizes,
    kv_heads: Range<usize>,
    p: &'a mut [f32],
    /// Length of a row of p.
    seen: usize,
    first: usize,
}

impl Job for Scores<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Vectors>(self) {
        let (n, dim, group) = (S::LANES, self.s.dim, self.s.group);
        for start in self.rows.clone().step_by(n) {
            let count = n.min(self.rows.end - start);
            let first = self.first + start - self.rows.start;
            for (i, kv_head) in self.kv_heads.clone().enumerate() {
                // Where there are fewer keys than lanes the last one takes the place of those missing.
                let row = |i: usize| (start + i.min(count - 1)) * self.s.kv_width + kv_head * dim;
                let keys: [&[f32]; MAX_LANES] = std::array::from_fn(|i| &self.k[row(i)..][..dim]);
                ask::<S>(self.k, &self.rows, start..start + n, kv_head * dim, self.s);
                for head in i * group..(i + 1) * group {
                    let q = &self.q[head * dim..][..dim];
                    let mut lanes = [0.0; MAX_LANES];
                    // SAFETY: the caller runs this at a level that has the instructions; offsets are below `dim`, the
                    // length of query and keys, and the array has room for any vector.
                    unsafe {
                        let mut sums = [S::zero(); MAX_LANES];
                        for at in (0..dim).step_by(n) {
                            let width = n.min(dim - at);
                            let q = part::<S>(q.as_ptr().add(at), width);
                            for i in 0..n {
                                let key = part::<S>(keys[i].as_ptr().add(at), width);
                                sums[i] = S::add_product(sums[i], q, key);
                            }
                        }
                        transpose::<S>(&mut sums);
                        let mut sum = sums[0];
                        for l in 1..n {
                            sum = S::add(sum, sums[l]);
                        }
                        S::store(lanes.as_mut_ptr(), sum);
                    }
                    self.p[head * self.seen + first..][..count].copy_from_slice(&lanes[..count]);
                }
            }
        }
    }
}

/// Rows of values that stay in the cache while all heads read them.
const ROWS: usize = 16;
/// Vectors of the result that stay in registers.
const WIDTH: usize = 4;
/// How many rows ahead of use memory is asked for.
const AHEAD: usize = 48;

/// out[head] += sum p[head, first + i] v[rows[i]] of its key head
struct Mix<'a> {
    p: &'a [f32],
    seen: usize,
    first: usize,
    v: &'a [f32],
    rows: Range<usize>,
    s: &'a Sizes,
    kv_heads: Range<usize>,
    out: &'a mut [f32],
}

impl Job for Mix<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Vectors>(self) {
        let Sizes { dim, group, kv_width, .. } = *self.s;
        let (step, whole) = (WIDTH * S::LANES, dim - dim % (WIDTH * S::LANES));
        for start in self.rows.clone().step_by(ROWS) {
            let count = ROWS.min(self.rows.end - start);
            let first = self.first + start - self.rows.start;
            for (head, out) in self.out.chunks_exact_mut(dim).enumerate() {
                let p = &self.p[head * self.seen + first..][..count];
                let offset = start * kv_width + (self.kv_heads.start + head / group) * dim;
                let v = &self.v[offset..][..(count - 1) * kv_width + dim];
                if head % group == 0 {
                    ask::<S>(self.v, &self.rows, start..start + ROWS, offset % kv_width, self.s);
                }
                for at in (0..whole).step_by(step) {
                    // SAFETY: as above; rows of values have `dim` numbers, and so has the result.
                    unsafe {
                        let out = out.as_mut_ptr().add(at);
                        let mut sums: [S::V; WIDTH] = std::array::from_fn(|v| S::load(out.add(v * S::LANES)));
                        for (i, p) in p.iter().enumerate() {
                            let row = v.as_ptr().add(i * kv_width + at);
                            let p = S::splat(*p);
                            for (v, sum) in sums.iter_mut().enumerate() {
                                *sum = S::add_product(*sum, p, S::load(row.add(v * S::LANES)));
                            }
                        }
                        for (v, sum) in sums.into_iter().enumerate() {
                            S::store(out.add(v * S::LANES), sum);
                        }
                    }
                }
                for (i, p) in p.iter().enumerate() {
                    let row = &v[i * kv_width..][whole..dim];
                    out[whole..].iter_mut().zip(row).for_each(|(o, v)| *o += p * v);
                }
            }
        }
    }
}

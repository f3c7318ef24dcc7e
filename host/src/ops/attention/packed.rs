//! Attention on the CPU: blocks of queries against the keys they see, forward and backward.

use super::{
    Attention, LogSums,
    blocks::{Block, Sizes},
    decode,
};
use crate::ops::{
    buffer::{Matrix, Shared, gemm, uninit, with},
    simd::{self, Level},
};
use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// Queries of one block: scores of a block stay in the cache.
const BLOCK: usize = 64;

impl Block {
    /// out [rows, seen] = a [rows, dim] times the transpose of the keys' rows of one head.
    fn scores(&self, a: Matrix, keys: &[f32], s: &Sizes, offset: usize, out: &mut [f32]) {
        let mut col = 0;
        for range in self.keys.iter().filter(|r| !r.is_empty()) {
            let k = Matrix::new(&keys[range.start * s.kv_width + offset..], range.len(), s.dim, s.kv_width);
            gemm(&mut out[col..], self.seen.len(), a, k.t(), false, false);
            col += range.len();
        }
    }
    /// out [rows, dim] = p [rows, seen] times the rows of one head of v (or k).
    fn product(&self, p: &[f32], v: &[f32], s: &Sizes, offset: usize, out: &mut [f32]) {
        let mut col = 0;
        for range in self.keys.iter().filter(|r| !r.is_empty()) {
            let v = Matrix::new(&v[range.start * s.kv_width + offset..], range.len(), s.dim, s.kv_width);
            gemm(out, s.dim, Matrix::new(&p[col..], self.rows.len(), range.len(), self.seen.len()), v, col > 0, false);
            col += range.len();
        }
    }
    /// Adds p [rows, seen] transposed times a [rows, dim] to the keys' rows of `out` [keys, dim].
    fn add_to_keys(&self, p: &[f32], a: Matrix, dim: usize, out: Shared) {
        let mut col = 0;
        for range in self.keys.iter().filter(|r| !r.is_empty()) {
            // SAFETY: the caller is the only task that writes the keys of this block's group and head.
            let out = unsafe { out.part(range.start * dim..range.end * dim) };
            gemm(out, dim, Matrix::new(&p[col..], self.rows.len(), range.len(), self.seen.len()).t(), a, true, false);
            col += range.len();
        }
    }
}

/// See [`Attention::forward`].
pub fn forward(
    spec: &Attention,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    window: Option<usize>,
) -> Result<(Tensor, LogSums)> {
    let s = Sizes::new(spec, [q, k, v], window)?;
    let (dim, level, scale) = (s.dim, Level::best(), spec.scale());
    // SAFETY: every row of every head belongs to one block, whose task writes it.
    let (mut out, mut lse) = unsafe { (uninit(s.queries * s.width), uninit(s.heads * s.queries)) };
    with([&q.contiguous()?, &k.contiguous()?, &v.contiguous()?], |[q, k, v]| {
        let (shared, shared_lse) = (Shared::new(&mut out), Shared::new(&mut lse));
        let blocks: Vec<Block> = spec.spans.iter().flat_map(|span| s.blocks(span, BLOCK)).collect();
        // Where there are enough blocks for all threads, a task reads whole rows of keys.
        let parts = if blocks.len() < 4 * rayon::current_num_threads() { s.kv_heads() } else { 1 };
        (0..blocks.len() * parts).into_par_iter().for_each(|task| {
            let (block, each) = (&blocks[task / parts], s.kv_heads() / parts);
            let kv_heads = task % parts * each..(task % parts + 1) * each;
            let heads = kv_heads.start * s.group..kv_heads.end * s.group;
            // SAFETY: this task alone writes these rows of these heads.
            let lse = |head: usize| unsafe {
                let at = head * s.queries;
                shared_lse.part(at + block.rows.start..at + block.rows.end)
            };
            if block.rows.len() == 1 {
                let here = block.rows.start * s.width + heads.start * dim..block.rows.start * s.width + heads.end * dim;
                // SAFETY: as above.
                let out = unsafe { shared.part(here.clone()) };
                let sums = decode::attend(block, &s, scale, kv_heads, [&q[here], k, v], out);
                return heads.zip(sums).for_each(|(head, sum)| lse(head)[0] = sum);
            }
            for head in heads {
                let (rows, seen, offset) = (block.rows.len(), block.seen.len(), head / s.group * dim);
                // SAFETY: both are written by the products below before they are read.
                let (mut p, mut o) = unsafe { (uninit(rows * seen), uninit(rows * dim)) };
                let q = &q[block.rows.start * s.width + head * dim..];
                block.scores(Matrix::new(q, rows, dim, s.width), k, &s, offset, &mut p);
                for (i, (p, lse)) in p.chunks_exact_mut(seen).zip(lse(head)).enumerate() {
                    let visible = s.visible(block, i);
                    p[..visible.start].fill(0.0);
                    p[visible.end..].fill(0.0);
                    *lse = simd::softmax(level, &mut p[visible], scale);
                }
                block.product(&p, v, &s, offset, &mut o);
                scatter(&o, shared, block.rows.start, s.width, head * dim, dim);
            }
        });
        Ok(())
    })?;
    Ok((Tensor::from_vec(out, q.shape(), q.device())?, LogSums(lse)))
}

/// See [`Attention::backward`].
pub fn backward(
    spec: &Attention,
    inputs: [&Tensor; 3],
    window: Option<usize>,
    (out, LogSums(lse)): (&Tensor, &LogSums),
    dout: &Tensor,
) -> Result<[Tensor; 3]> {
    let s = Sizes::new(spec, inputs, window)?;
    let (dim, keys, level, scale) = (s.dim, s.keys, Level::best(), spec.scale());
    // SAFETY: every row of every head belongs to one block, whose task writes it.
    let mut dq = unsafe { uninit(s.queries * s.width) };
    // Query head by query head, so that a task's keys lie together and no other task adds to them.
    let (mut dk, mut dv) = (vec![0.0; keys * s.width], vec![0.0; keys * s.width]);
    let groups = spec.groups();
    let [q, k, v] = inputs;
    with([q, k, v, out, &dout.contiguous()?], |[q, k, v, out, g]| {
        let shared = Shared::new(&mut dq);
        let (dks, dvs): (Vec<_>, Vec<_>) = dk
            .chunks_mut(keys * dim)
            .zip(dv.chunks_mut(keys * dim))
            .map(|(dk, dv)| (Shared::new(dk), Shared::new(dv)))
            .unzip();
        // One task for a head and the keys that belong together: it alone adds to their gradients, in a fixed order.
        (0..groups.len() * s.heads).into_par_iter().for_each(|task| {
            let (spans, head) = (&groups[task / s.heads], task % s.heads);
            let offset = head / s.group * dim;
            for block in spans.iter().flat_map(|span| s.blocks(span, BLOCK)) {
                let (rows, seen) = (block.rows.len(), block.seen.len());
                let start = block.rows.start * s.width + head * dim;
                // SAFETY: the products below write all three before they are read.
                let (mut p, mut dp, mut dq) = unsafe { (uninit(rows * seen), uninit(rows * seen), uninit(rows * dim)) };
                let rows_of = |x| Matrix::new(x, rows, dim, s.width);
                let (q, dout) = (rows_of(&q[start..]), rows_of(&g[start..]));
                block.scores(q, k, &s, offset, &mut p);
                block.scores(dout, v, &s, offset, &mut dp);
                for (i, p) in p.chunks_exact_mut(seen).enumerate() {
                    let visible = s.visible(&block, i);
                    p[..visible.start].fill(0.0);
                    p[visible.end..].fill(0.0);
                    let lse = lse[head * s.queries + block.rows.start + i];
                    simd::exp_scale(level, &mut p[visible], scale, lse, 1.0);
                }
                block.add_to_keys(&p, dout, dim, dvs[head]);
                for (i, (p, dp)) in p.chunks_exact_mut(seen).zip(dp.chunks_exact(seen)).enumerate() {
                    let at = start + i * s.width;
                    let d = simd::dot(level, &out[at..at + dim], &g[at..at + dim]);
                    simd::softmax_backward(level, p, dp, d, scale);
                }
                block.product(&p, k, &s, offset, &mut dq);
                block.add_to_keys(&p, q, dim, dks[head]);
                scatter(&dq, shared, block.rows.start, s.width, head * dim, dim);
            }
        });
        Ok(())
    })?;
    let merged = |x: Vec<f32>| Tensor::from_vec(merge_heads(&x, &s), k.shape(), k.device());
    Ok([Tensor::from_vec(dq, q.shape(), q.device())?, merged(dk)?, merged(dv)?])
}

/// Copies rows of `dim` numbers to column `col` of the rows from `row` on.
fn scatter(rows: &[f32], out: Shared, row: usize, width: usize, col: usize, dim: usize) {
    for (i, src) in rows.chunks_exact(dim).enumerate() {
        let at = (row + i) * width + col;
        // SAFETY: the caller is the only task that writes these rows of this head.
        unsafe { out.part(at..at + dim) }.copy_from_slice(src);
    }
}

/// [heads, keys, dim] to [keys, kv_heads * dim]: the sum over the heads of each key head.
fn merge_heads(x: &[f32], s: &Sizes) -> Vec<f32> {
    let (dim, level) = (s.dim, Level::best());
    // SAFETY: every head of every row is written.
    let mut out = unsafe { uninit(s.keys * s.kv_width) };
    out.par_chunks_mut(s.kv_width).enumerate().with_min_len(16).for_each(|(row, out)| {
        for (kv_head, out) in out.chunks_mut(dim).enumerate() {
            let of = |head: usize| &x[(head * s.keys + row) * dim..][..dim];
            let heads = kv_head * s.group..(kv_head + 1) * s.group;
            out.copy_from_slice(of(heads.start));
            heads.skip(1).for_each(|head| simd::axpy(level, 1.0, of(head), out));
        }
    });
    out
}

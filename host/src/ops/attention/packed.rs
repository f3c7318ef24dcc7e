//! Attention on the CPU: blocks of queries against the keys they see, forward and backward.

use super::{Attention, Span, visible};
use crate::ops::{
    buffer::{Matrix, Shared, gemm, slice, uninit, with},
    simd::{self, Level},
};
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;
use std::{ops::Range, sync::OnceLock};

/// Queries of one block: scores of a block stay in the cache.
const BLOCK: usize = 64;

/// A block of queries of one head against the keys that any of them sees.
struct Block {
    rows: Range<usize>,
    first: usize,
    seen: Range<usize>,
    keys: [Range<usize>; 2],
}

/// The operation: made anew for every call.
pub struct Packed {
    pub spec: Attention,
    pub window: Option<usize>,
    /// log-sum-exp of the scaled scores, [heads, queries], for the backward pass.
    pub lse: OnceLock<Vec<f32>>,
}

struct Sizes {
    heads: usize,
    group: usize,
    /// Numbers of a row of q, and of k and v.
    width: usize,
    kv_width: usize,
}

impl Packed {
    fn sizes(&self, q: &[usize], k: &[usize]) -> Result<Sizes> {
        let dim = self.spec.head_dim;
        let (&[_, width], &[_, kv_width]) = (q, k) else { bail!("attention: q {q:?} and k {k:?} are not matrices") };
        let (heads, kv_heads) = (width / dim, kv_width / dim);
        if width != heads * dim || kv_width != kv_heads * dim || kv_heads == 0 || heads % kv_heads != 0 {
            bail!("attention: q {q:?} and k {k:?} are not whole heads of {dim}")
        }
        let spans = &self.spec.spans;
        let keys = spans.iter().map(|s| s.keys[1].end).max().unwrap_or(0);
        if spans.last().map_or(0, |s| s.queries.end) != q[0] || keys > k[0] {
            bail!("attention: the spans do not fit q {q:?} and k {k:?}")
        }
        Ok(Sizes { heads, group: heads / kv_heads, width, kv_width })
    }

    fn blocks<'a>(&'a self, span: &'a Span) -> impl Iterator<Item = Block> + 'a {
        span.queries.clone().step_by(BLOCK).map(move |start| {
            let rows = start..span.queries.end.min(start + BLOCK);
            let first = span.first() + start - span.queries.start;
            let last = first + rows.len() - 1;
            let seen = visible(first, self.window).start..last + 1;
            Block { keys: span.rows(seen.clone()), rows, first, seen }
        })
    }

    /// The part of a block's scores that row `i` sees.
    fn visible(&self, block: &Block, i: usize) -> Range<usize> {
        let v = visible(block.first + i, self.window);
        v.start - block.seen.start..v.end - block.seen.start
    }
}

impl Block {
    /// out [rows, seen] = a [rows, dim] times the transpose of the keys' rows of one head.
    fn scores(&self, a: Matrix, keys: &[f32], s: &Sizes, offset: usize, dim: usize, out: &mut [f32]) {
        let mut col = 0;
        for range in self.keys.iter().filter(|r| !r.is_empty()) {
            let k = Matrix::new(&keys[range.start * s.kv_width + offset..], range.len(), dim, s.kv_width);
            gemm(&mut out[col..], self.seen.len(), a, k.t(), false, false);
            col += range.len();
        }
    }
    /// out [rows, dim] = p [rows, seen] times the rows of one head of v (or k).
    fn product(&self, p: &[f32], v: &[f32], s: &Sizes, offset: usize, dim: usize, out: &mut [f32]) {
        let mut col = 0;
        for range in self.keys.iter().filter(|r| !r.is_empty()) {
            let v = Matrix::new(&v[range.start * s.kv_width + offset..], range.len(), dim, s.kv_width);
            gemm(out, dim, Matrix::new(&p[col..], self.rows.len(), range.len(), self.seen.len()), v, col > 0, false);
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

impl CustomOp3 for Packed {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        lq: &Layout,
        k: &CpuStorage,
        lk: &Layout,
        v: &CpuStorage,
        lv: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let s = self.sizes(lq.dims(), lk.dims())?;
        if lk.shape() != lv.shape() {
            bail!("attention: k is {:?} but v is {:?}", lk.dims(), lv.dims())
        }
        let (q, k, v) = (slice(q, lq)?, slice(k, lk)?, slice(v, lv)?);
        let (dim, queries, level) = (self.spec.head_dim, lq.dims()[0], Level::best());
        // SAFETY: every row of every head belongs to one block, whose task writes it.
        let (mut out, mut lse) = unsafe { (uninit(q.len()), uninit(s.heads * queries)) };
        let (shared, shared_lse) = (Shared::new(&mut out), Shared::new(&mut lse));
        let blocks: Vec<Block> = self.spec.spans.iter().flat_map(|span| self.blocks(span)).collect();
        (0..blocks.len() * s.heads).into_par_iter().for_each(|task| {
            let (block, head) = (&blocks[task / s.heads], task % s.heads);
            let (rows, seen) = (block.rows.len(), block.seen.len());
            let offset = head / s.group * dim;
            // SAFETY: both are written by the products below before they are read.
            let (mut p, mut o) = unsafe { (uninit(rows * seen), uninit(rows * dim)) };
            let q = &q[block.rows.start * s.width + head * dim..];
            if rows == 1 {
                decode_scores(level, block, &q[..dim], k, s.kv_width, offset, &mut p);
            } else {
                block.scores(Matrix::new(q, rows, dim, s.width), k, &s, offset, dim, &mut p);
            }
            // SAFETY: this task alone writes these rows of this head.
            let lse = unsafe { shared_lse.part(head * queries + block.rows.start..head * queries + block.rows.end) };
            for (i, (p, lse)) in p.chunks_exact_mut(seen).zip(lse).enumerate() {
                let visible = self.visible(block, i);
                p[..visible.start].fill(0.0);
                p[visible.end..].fill(0.0);
                let p = &mut p[visible];
                let max = simd::scale_max(level, p, self.spec.scale());
                *lse = max + simd::exp_sum(level, p, max).ln();
                simd::exp_scale(level, p, 1.0, *lse, 1.0);
            }
            if rows == 1 {
                decode_product(level, block, &p, v, s.kv_width, offset, &mut o);
            } else {
                block.product(&p, v, &s, offset, dim, &mut o);
            }
            scatter(&o, shared, block.rows.start, s.width, head * dim, dim);
        });
        // The operation is made anew for every call, so the cell is empty.
        let _ = self.lse.set(lse);
        Ok((CpuStorage::F32(out), lq.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        out: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let s = self.sizes(q.dims(), k.dims())?;
        let (dim, queries, keys, level) = (self.spec.head_dim, q.dim(0)?, k.dim(0)?, Level::best());
        let (kv_heads, scale) = (s.kv_width / dim, self.spec.scale());
        let lse = self.lse.get().expect("backward follows forward");
        // SAFETY: every row of every head belongs to one block, whose task writes it.
        let mut dq = unsafe { uninit(queries * s.width) };
        // Head by head, so that a task's keys lie together.
        let (mut dk, mut dv) = (vec![0.0; keys * s.kv_width], vec![0.0; keys * s.kv_width]);
        let groups = self.spec.groups();
        with([q, k, v, out, &g.contiguous()?], |[q, k, v, out, g]| {
            let shared = Shared::new(&mut dq);
            let (dks, dvs): (Vec<_>, Vec<_>) = dk
                .chunks_mut(keys * dim)
                .zip(dv.chunks_mut(keys * dim))
                .map(|(dk, dv)| (Shared::new(dk), Shared::new(dv)))
                .unzip();
            // One task for the keys that belong together: it alone adds to their gradients, in a fixed order.
            (0..groups.len() * kv_heads).into_par_iter().for_each(|task| {
                let (spans, kv_head) = (&groups[task / kv_heads], task % kv_heads);
                let offset = kv_head * dim;
                let heads = kv_head * s.group..(kv_head + 1) * s.group;
                let blocks = || spans.iter().flat_map(|span| self.blocks(span));
                for (head, block) in heads.flat_map(|head| blocks().map(move |b| (head, b))) {
                    let (rows, seen) = (block.rows.len(), block.seen.len());
                    let start = block.rows.start * s.width + head * dim;
                    // SAFETY: the products below write all three before they are read.
                    let (mut p, mut dp, mut dq) =
                        unsafe { (uninit(rows * seen), uninit(rows * seen), uninit(rows * dim)) };
                    let rows_of = |x| Matrix::new(x, rows, dim, s.width);
                    let (q, dout) = (rows_of(&q[start..]), rows_of(&g[start..]));
                    block.scores(q, k, &s, offset, dim, &mut p);
                    block.scores(dout, v, &s, offset, dim, &mut dp);
                    for (i, p) in p.chunks_exact_mut(seen).enumerate() {
                        let visible = self.visible(&block, i);
                        p[..visible.start].fill(0.0);
                        p[visible.end..].fill(0.0);
                        let lse = lse[head * queries + block.rows.start + i];
                        simd::exp_scale(level, &mut p[visible], scale, lse, 1.0);
                    }
                    block.add_to_keys(&p, dout, dim, dvs[kv_head]);
                    for (i, (p, dp)) in p.chunks_exact_mut(seen).zip(dp.chunks_exact(seen)).enumerate() {
                        let at = start + i * s.width;
                        let d = simd::dot(level, &out[at..at + dim], &g[at..at + dim]);
                        simd::softmax_backward(level, p, dp, d, scale);
                    }
                    block.product(&p, k, &s, offset, dim, &mut dq);
                    block.add_to_keys(&p, q, dim, dks[kv_head]);
                    scatter(&dq, shared, block.rows.start, s.width, head * dim, dim);
                }
            });
            Ok(())
        })?;
        let merged = |x: Vec<f32>| Tensor::from_vec(merge_heads(&x, keys, dim), k.shape(), k.device());
        Ok((Some(Tensor::from_vec(dq, q.shape(), q.device())?), Some(merged(dk)?), Some(merged(dv)?)))
    }
}

/// Copies rows of `dim` numbers to column `col` of the rows from `row` on.
fn scatter(rows: &[f32], out: Shared, row: usize, width: usize, col: usize, dim: usize) {
    for (i, src) in rows.chunks_exact(dim).enumerate() {
        let at = (row + i) * width + col;
        // SAFETY: the caller is the only task that writes these rows of this head.
        unsafe { out.part(at..at + dim) }.copy_from_slice(src);
    }
}

/// [heads, rows, dim] to [rows, heads * dim].
fn merge_heads(x: &[f32], rows: usize, dim: usize) -> Vec<f32> {
    let heads = x.len() / (rows * dim);
    // SAFETY: every head of every row is written.
    let mut out = unsafe { uninit(x.len()) };
    out.par_chunks_mut(heads * dim).enumerate().with_min_len(16).for_each(|(row, out)| {
        for (head, out) in out.chunks_mut(dim).enumerate() {
            let at = (head * rows + row) * dim;
            out.copy_from_slice(&x[at..at + dim]);
        }
    });
    out
}

/// One query's scores, key by key: faster than a matrix product of one row.
fn decode_scores(level: Level, b: &Block, q: &[f32], k: &[f32], width: usize, offset: usize, p: &mut [f32]) {
    for (p, row) in p.iter_mut().zip(b.keys.iter().cloned().flatten()) {
        *p = simd::dot(level, q, &k[row * width + offset..][..q.len()]);
    }
}

/// One query's weighted sum of values.
fn decode_product(level: Level, b: &Block, p: &[f32], v: &[f32], width: usize, offset: usize, out: &mut [f32]) {
    out.fill(0.0);
    for (p, row) in p.iter().zip(b.keys.iter().cloned().flatten()) {
        simd::axpy(level, *p, &v[row * width + offset..][..out.len()], out);
    }
}

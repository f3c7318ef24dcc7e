//! Blocks of queries against the keys they see, forward and backward.

use super::{decode, tiles};
use crate::ops::{
    attention::{
        Attention, LogSums,
        blocks::{Block, Sizes},
    },
    kernels::{
        buffer::{Shared, uninit, with},
        simd::{self, Level},
    },
};
use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// The result, and the log-sum-exps.
pub fn forward(spec: &Attention, [q, k, v]: [&Tensor; 3], window: Option<usize>) -> Result<(Tensor, LogSums)> {
    let s = Sizes::new(spec, [q, k, v], window)?;
    let (dim, level, scale) = (s.dim, Level::best(), spec.scale());
    // SAFETY: every row of every head belongs to one block, whose task writes it.
    let (mut out, mut lse) = unsafe { (uninit(s.queries * s.width), uninit(s.heads * s.queries)) };
    with([&q.contiguous()?, &k.contiguous()?, &v.contiguous()?], |[q, k, v]| {
        let (shared, shared_lse) = (Shared::new(&mut out), Shared::new(&mut lse));
        let blocks: Vec<Block> = spec.spans.iter().flat_map(|span| s.blocks(span, tiles::queries(level))).collect();
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
                let mut p = block.scores(level, &block.lanes(level, q, head, &s), k, head, &s);
                let width = p.width(level);
                block.fill_unseen(p.numbers_mut(), width, &s, f32::NEG_INFINITY);
                let (mut shift, mut sums) = (vec![f32::NEG_INFINITY; width], vec![0.0; width]);
                simd::column_max(level, p.numbers(), &mut shift);
                shift.iter_mut().for_each(|max| *max *= scale);
                simd::column_exp(level, p.numbers_mut(), scale, &shift, &mut sums);
                block.fill_unseen(p.numbers_mut(), width, &s, 0.0);
                // SAFETY: this task alone writes these rows of this head.
                unsafe { block.mix(level, &p, v, head, &s, shared) };
                for ((i, lse), (shift, sum)) in lse(head).iter_mut().enumerate().zip(shift.iter().zip(&sums)) {
                    *lse = shift + sum.ln();
                    let at = (block.rows.start + i) * s.width + head * dim;
                    // SAFETY: as above; the product is done.
                    unsafe { shared.part(at..at + dim) }.iter_mut().for_each(|out| *out /= sum);
                }
            }
        });
        Ok(())
    })?;
    Ok((Tensor::from_vec(out, q.shape(), q.device())?, LogSums(lse)))
}

/// Gradients with respect to q, k and v.
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
            for block in spans.iter().flat_map(|span| s.blocks(span, tiles::queries(level))) {
                let of_queries = |x| block.lanes(level, x, head, &s);
                let mut p = block.scores(level, &of_queries(q), k, head, &s);
                let dp = block.scores(level, &of_queries(g), v, head, &s);
                let width = p.width(level);
                let (mut sums, mut d, mut unused) = (vec![0.0; width], vec![0.0; width], vec![0.0; width]);
                for i in 0..block.rows.len() {
                    let at = (block.rows.start + i) * s.width + head * dim;
                    d[i] = simd::dot(level, &out[at..at + dim], &g[at..at + dim]);
                    sums[i] = lse[head * s.queries + block.rows.start + i];
                }
                simd::column_exp(level, p.numbers_mut(), scale, &sums, &mut unused);
                block.fill_unseen(p.numbers_mut(), width, &s, 0.0);
                // SAFETY: this task alone writes the keys of its group for this head, and these rows of this head.
                unsafe {
                    block.add_to_keys(level, &p, g, head, &s, dvs[head]);
                    simd::softmax_backward(level, p.numbers_mut(), dp.numbers(), &d, scale);
                    block.mix(level, &p, k, head, &s, shared);
                    block.add_to_keys(level, &p, q, head, &s, dks[head]);
                }
            }
        });
        Ok(())
    })?;
    let merged = |x: Vec<f32>| Tensor::from_vec(merge_heads(&x, &s), k.shape(), k.device());
    Ok([Tensor::from_vec(dq, q.shape(), q.device())?, merged(dk)?, merged(dv)?])
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

//! Attention in candle's operations, on any device, forward and backward.
//!
//! Both go span by span and by blocks of queries, so heads x block x keys scores exist at a time. The backward pass
//! computes the scores again from q and k; its gradients are those of exact attention, whatever computed the result.

use crate::ops::attention::{
    Attention,
    blocks::{Block, Sizes},
};
use candle_core::{D, Result, Tensor};
use candle_nn::ops::softmax;
use std::ops::Range;

/// Queries of one block: enough for a fast product, few enough that their scores fit.
const BLOCK: usize = 256;

/// The result.
pub fn forward(spec: &Attention, [q, k, v]: [&Tensor; 3], window: Option<usize>) -> Result<Tensor> {
    let s = Sizes::new(spec, [q, k, v], window)?;
    let mut out = vec![];
    for block in spec.spans.iter().flat_map(|span| s.blocks(span, BLOCK)) {
        let p = probabilities(&s, spec.scale(), &block, &queries(&s, &block, q)?, &keys(&s, &block, k)?)?;
        out.push(query_rows(&s, &p.matmul(&keys(&s, &block, v)?)?)?);
    }
    Tensor::cat(&out, 0)
}

/// Gradients with respect to q, k and v.
pub fn backward(
    spec: &Attention,
    [q, k, v]: [&Tensor; 3],
    window: Option<usize>,
    dout: &Tensor,
) -> Result<[Tensor; 3]> {
    let s = Sizes::new(spec, [q, k, v], window)?;
    let (mut dq, dk, dv) = (vec![], k.zeros_like()?, v.zeros_like()?);
    for block in spec.spans.iter().flat_map(|span| s.blocks(span, BLOCK)) {
        let (q, dout) = (queries(&s, &block, q)?, queries(&s, &block, dout)?);
        let (k, v) = (keys(&s, &block, k)?, keys(&s, &block, v)?);
        // S = scale Q Kᵀ, P = softmax(S), O = P V; hence dV = Pᵀ dO, dP = dO Vᵀ, dS = P (dP - rowsum(P dP)).
        let p = probabilities(&s, spec.scale(), &block, &q, &k)?;
        add(&dv, &block, &key_rows(&s, &p.t()?.matmul(&dout)?)?)?;
        let pdp = (&p * dout.matmul(&v.t()?)?)?;
        let ds = ((&pdp - p.broadcast_mul(&pdp.sum_keepdim(D::Minus1)?)?)? * f64::from(spec.scale()))?;
        dq.push(query_rows(&s, &ds.matmul(&k)?)?);
        add(&dk, &block, &key_rows(&s, &ds.t()?.matmul(&q)?)?)?;
    }
    Ok([Tensor::cat(&dq, 0)?, dk, dv])
}

/// Adds a block's rows to those of its keys in `out`, in place.
fn add(out: &Tensor, block: &Block, rows: &Tensor) -> Result<()> {
    let mut from = 0;
    for range in block.keys.iter().filter(|r| !r.is_empty()) {
        let sum = (out.narrow(0, range.start, range.len())? + rows.narrow(0, from, range.len())?)?;
        out.slice_set(&sum, 0, range.start)?;
        from += range.len();
    }
    Ok(())
}

/// The block's rows of x [queries, heads * dim]: [kv_heads, group * queries, dim].
///
/// Heads that share keys lie below each other: one product serves them all, and sums over them in the keys' gradients.
fn queries(s: &Sizes, block: &Block, x: &Tensor) -> Result<Tensor> {
    let (kv_heads, n) = (s.heads / s.group, block.rows.len());
    let x = x.narrow(0, block.rows.start, n)?.reshape((n, kv_heads, s.group, s.dim))?;
    x.permute((1, 2, 0, 3))?.reshape((kv_heads, s.group * n, s.dim))
}

/// The inverse of [`queries`].
fn query_rows(s: &Sizes, x: &Tensor) -> Result<Tensor> {
    let (kv_heads, n) = (s.heads / s.group, x.dim(1)? / s.group);
    x.reshape((kv_heads, s.group, n, s.dim))?.permute((2, 0, 1, 3))?.reshape((n, s.width))
}

/// The rows of x [keys, kv_heads * dim] that the block sees: [kv_heads, seen, dim].
fn keys(s: &Sizes, block: &Block, x: &Tensor) -> Result<Tensor> {
    let parts = block.keys.iter().filter(|r| !r.is_empty()).map(|r| x.narrow(0, r.start, r.len()));
    let x = Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)?;
    x.reshape((block.seen.len(), s.heads / s.group, s.dim))?.transpose(0, 1)?.contiguous()
}

/// The inverse of [`keys`]: [seen, kv_heads * dim].
fn key_rows(s: &Sizes, x: &Tensor) -> Result<Tensor> {
    x.transpose(0, 1)?.reshape((x.dim(1)?, s.kv_width))
}

/// softmax(scale q kᵀ) over what each query sees, zero elsewhere: [kv_heads, group * queries, seen].
fn probabilities(s: &Sizes, scale: f32, block: &Block, q: &Tensor, k: &Tensor) -> Result<Tensor> {
    let scores = (q.matmul(&k.t()?)? * f64::from(scale))?;
    let (n, seen) = (block.rows.len(), &block.seen);
    // The keys of a single query are those that it sees.
    if n == 1 {
        return softmax(&scores, D::Minus1);
    }
    let shape = scores.dims3()?;
    let scores = scores.reshape((s.heads, n, seen.len()))?;
    let positions = |r: Range<usize>| Tensor::arange(r.start as u32, r.end as u32, q.device());
    let query = positions(block.first..block.first + n)?.unsqueeze(1)?;
    let hidden = Tensor::new(f32::NEG_INFINITY, q.device())?.broadcast_as(scores.shape())?;
    let hide = |which: Tensor, scores: &Tensor| which.broadcast_as(scores.shape())?.where_cond(&hidden, scores);
    let mut scores = hide(positions(seen.clone())?.broadcast_gt(&query)?, &scores)?;
    if let Some(window) = s.window {
        let out_of_sight = positions(seen.start + window..seen.end + window)?;
        scores = hide(out_of_sight.broadcast_le(&query)?, &scores)?;
    }
    softmax(&scores, D::Minus1)?.reshape(shape)
}

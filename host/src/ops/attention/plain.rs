//! Attention in candle's operations, on any device, forward and backward.
//!
//! Both go span by span and by blocks of queries, so heads x block x keys scores exist at a time. The backward pass
//! computes the scores again from q and k; its gradients are those of exact attention, whatever computed the result.

use super::{Attention, Span, visible};
use candle_core::{D, Result, Tensor, bail};
use std::ops::Range;

/// Queries of one block: enough for a fast product, few enough that their scores fit.
const BLOCK: usize = 256;

/// A block of queries of a span, and the keys that any of them sees.
struct Block {
    /// Rows of q.
    rows: Range<usize>,
    /// Positions of these rows in their sequence.
    positions: Range<usize>,
    /// Positions of the keys.
    seen: Range<usize>,
    /// Rows of k and v.
    keys: [Range<usize>; 2],
}

fn blocks(span: &Span, window: Option<usize>) -> impl Iterator<Item = Block> {
    span.queries.clone().step_by(BLOCK).map(move |start| {
        let rows = start..span.queries.end.min(start + BLOCK);
        let first = span.first() + start - span.queries.start;
        let positions = first..first + rows.len();
        let seen = visible(first, window).start..positions.end;
        Block { keys: span.rows(seen.clone()), rows, positions, seen }
    })
}

/// q [queries, heads * dim], k and v [keys, kv_heads * dim]: [queries, heads * dim].
///
/// With a window, a query sees that many tokens at most, itself included.
pub fn forward(spec: &Attention, q: &Tensor, k: &Tensor, v: &Tensor, window: Option<usize>) -> Result<Tensor> {
    let heads = Heads::new(spec, q, k, v)?;
    let mut out = vec![];
    for block in spec.spans.iter().flat_map(|span| blocks(span, window)) {
        let p = heads.probabilities(&heads.queries(q, &block)?, &heads.keys(k, &block)?, &block, window)?;
        out.push(heads.rows(&p.matmul(&heads.keys(v, &block)?)?)?);
    }
    Tensor::cat(&out, 0)
}

/// The gradients by q, k and v of a loss whose gradient by [`forward`]'s result is `dout`.
pub fn backward(
    spec: &Attention,
    [q, k, v]: [&Tensor; 3],
    window: Option<usize>,
    dout: &Tensor,
) -> Result<[Tensor; 3]> {
    let heads = Heads::new(spec, q, k, v)?;
    let (mut dq, dk, dv) = (vec![], k.zeros_like()?, v.zeros_like()?);
    for block in spec.spans.iter().flat_map(|span| blocks(span, window)) {
        let (q, dout) = (heads.queries(q, &block)?, heads.queries(dout, &block)?);
        let (k, v) = (heads.keys(k, &block)?, heads.keys(v, &block)?);
        // S = scale Q Kᵀ, P = softmax(S), O = P V; hence dV = Pᵀ dO, dP = dO Vᵀ, dS = P (dP - rowsum(P dP)).
        let p = heads.probabilities(&q, &k, &block, window)?;
        add(&dv, &block, &heads.key_rows(&p.t()?.matmul(&dout)?)?)?;
        let pdp = (&p * dout.matmul(&v.t()?)?)?;
        let ds = ((&pdp - p.broadcast_mul(&pdp.sum_keepdim(D::Minus1)?)?)? * heads.scale)?;
        dq.push(heads.rows(&ds.matmul(&k)?)?);
        add(&dk, &block, &heads.key_rows(&ds.t()?.matmul(&q)?)?)?;
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

/// The heads side by side in a row, taken apart and put together again.
///
/// Query heads that share a key head lie below each other, [kv_heads, group * queries, dim]: one product serves them
/// all, and sums over them in the gradients of the keys.
#[derive(Clone, Copy)]
struct Heads {
    kv: usize,
    group: usize,
    dim: usize,
    scale: f64,
}

impl Heads {
    fn new(spec: &Attention, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Self> {
        let ((queries, width), (keys, kv_width), dim) = (q.dims2()?, k.dims2()?, spec.head_dim);
        let (heads, kv) = (width / dim, kv_width / dim);
        if width != heads * dim || kv_width != kv * dim || kv == 0 || heads % kv != 0 || v.dims() != k.dims() {
            bail!("attention: q {:?}, k {:?} and v {:?} are not whole heads of {dim}", q.dims(), k.dims(), v.dims())
        }
        let spans = &spec.spans;
        let last_key = spans.iter().map(|s| s.keys[1].end).max().unwrap_or(0);
        if spans.last().map_or(0, |s| s.queries.end) != queries || last_key > keys {
            bail!("attention: the spans do not fit q {:?} and k {:?}", q.dims(), k.dims())
        }
        Ok(Self { kv, group: heads / kv, dim, scale: spec.scale().into() })
    }

    /// The block's rows of x [queries, heads * dim]: [kv_heads, group * queries, dim].
    fn queries(&self, x: &Tensor, block: &Block) -> Result<Tensor> {
        let (Self { kv, group, dim, .. }, n) = (*self, block.rows.len());
        let x = x.narrow(0, block.rows.start, n)?.reshape((n, kv, group, dim))?;
        x.permute((1, 2, 0, 3))?.reshape((kv, group * n, dim))
    }
    /// The inverse of [`queries`](Self::queries).
    fn rows(&self, x: &Tensor) -> Result<Tensor> {
        let (Self { kv, group, dim, .. }, n) = (*self, x.dim(1)? / self.group);
        x.reshape((kv, group, n, dim))?.permute((2, 0, 1, 3))?.reshape((n, kv * group * dim))
    }
    /// The rows of x [keys, kv_heads * dim] that the block sees: [kv_heads, seen, dim].
    fn keys(&self, x: &Tensor, block: &Block) -> Result<Tensor> {
        let parts = block.keys.iter().filter(|r| !r.is_empty()).map(|r| x.narrow(0, r.start, r.len()));
        let x = Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)?;
        x.reshape((block.seen.len(), self.kv, self.dim))?.transpose(0, 1)?.contiguous()
    }
    /// The inverse of [`keys`](Self::keys): [seen, kv_heads * dim].
    fn key_rows(&self, x: &Tensor) -> Result<Tensor> {
        x.transpose(0, 1)?.reshape((x.dim(1)?, self.kv * self.dim))
    }

    /// softmax(scale q kᵀ) over what each query sees, zero elsewhere: [kv_heads, group * queries, seen].
    fn probabilities(&self, q: &Tensor, k: &Tensor, block: &Block, window: Option<usize>) -> Result<Tensor> {
        let scores = (q.matmul(&k.t()?)? * self.scale)?;
        let n = block.rows.len();
        // The keys of a single query are those that it sees.
        if n == 1 {
            return candle_nn::ops::softmax(&scores, D::Minus1);
        }
        let shape = scores.dims3()?;
        let scores = scores.reshape((self.kv * self.group, n, block.seen.len()))?;
        let positions = |r: Range<usize>| Tensor::arange(r.start as u32, r.end as u32, q.device());
        let query = positions(block.positions.clone())?.unsqueeze(1)?;
        let hidden = Tensor::new(f32::NEG_INFINITY, q.device())?.broadcast_as(scores.shape())?;
        let hide = |which: Tensor, scores: &Tensor| which.broadcast_as(scores.shape())?.where_cond(&hidden, scores);
        let mut scores = hide(positions(block.seen.clone())?.broadcast_gt(&query)?, &scores)?;
        if let Some(window) = window {
            let end_of_sight = positions(block.seen.start + window..block.seen.end + window)?;
            scores = hide(end_of_sight.broadcast_le(&query)?, &scores)?;
        }
        candle_nn::ops::softmax(&scores, D::Minus1)?.reshape(shape)
    }
}

//! Causal attention over packed sequences and over caches, without ever holding tokens x tokens numbers.
//!
//! Scores are computed for blocks of queries and recomputed in the backward pass from the stored log-sum-exp of each
//! row, as FlashAttention does (Dao et al. 2022, arXiv 2205.14135).

mod decode;
mod packed;

use super::has_kernels;
use candle_core::{Result, Tensor, bail};
use std::ops::Range;

/// Some queries and the keys of their sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Rows of q: the last tokens of the sequence.
    pub queries: Range<usize>,
    /// Rows of k and v in the order of the sequence: a prefix (may be empty), then the rest, which ends with the
    /// queries' own.
    pub keys: [Range<usize>; 2],
}

impl Span {
    fn keys_len(&self) -> usize {
        self.keys[0].len() + self.keys[1].len()
    }
    /// Position in the sequence of the first query.
    fn first(&self) -> usize {
        self.keys_len() - self.queries.len()
    }
    /// Rows of the keys at `positions`.
    fn rows(&self, positions: Range<usize>) -> [Range<usize>; 2] {
        let [a, b] = &self.keys;
        let own = |p: usize| b.start + p.saturating_sub(a.len());
        [
            a.start + positions.start.min(a.len())..a.start + positions.end.min(a.len()),
            own(positions.start)..own(positions.end),
        ]
    }
}

/// log-sum-exp of the scaled scores, [heads, queries]; nothing where the plain operations recompute it.
#[derive(Debug, Clone)]
pub struct LogSums(Vec<f32>);

/// Attention of each span's queries to the keys of its sequence up to themselves.
#[derive(Debug, Clone)]
pub struct Attention {
    spans: Vec<Span>,
    head_dim: usize,
}

impl Attention {
    /// Spans in the order of their queries, which leave no row out; each has keys of its own (`keys[1]`), and its prefix,
    /// if it has one, is the keys of a span that has none. Heads have `head_dim` numbers.
    pub fn new(spans: Vec<Span>, head_dim: usize) -> Result<Self> {
        // The threads' disjoint writes rest on these rules.
        let mut next = 0;
        for s in &spans {
            if s.queries.start != next || s.queries.is_empty() || s.queries.len() > s.keys[1].len() {
                bail!("attention: queries {:?} with keys {:?} after row {next}", s.queries, s.keys)
            }
            next = s.queries.end;
        }
        let mut own: Vec<_> = spans.iter().map(|s| s.keys[1].clone()).collect();
        own.sort_by_key(|r| r.start);
        let overlap = own.windows(2).any(|w| w[0].end > w[1].start);
        let is_root = |r: &Range<usize>| spans.iter().any(|s| s.keys[0].is_empty() && s.keys[1] == *r);
        if overlap || !spans.iter().all(|s| s.keys[0].is_empty() || is_root(&s.keys[0])) {
            bail!("attention: spans share keys that are not a common prefix")
        }
        Ok(Self { spans, head_dim })
    }

    /// q [queries, heads * dim], k and v [keys, kv_heads * dim]: [queries, heads * dim], and what the backward pass needs
    /// besides.
    ///
    /// With a window, a query sees that many tokens at most, itself included.
    pub fn forward(&self, q: &Tensor, k: &Tensor, v: &Tensor, window: Option<usize>) -> Result<(Tensor, LogSums)> {
        if has_kernels(q) {
            packed::forward(self, q, k, v, window)
        } else {
            Ok((self.plain(q, k, v, window)?, LogSums(vec![])))
        }
    }

    /// Gradients by q, k and v for the gradient of [`forward`](Self::forward)'s result `out`.
    pub fn backward(
        &self,
        [q, k, v]: [&Tensor; 3],
        window: Option<usize>,
        (out, sums): (&Tensor, &LogSums),
        dout: &Tensor,
    ) -> Result<[Tensor; 3]> {
        if has_kernels(q) {
            packed::backward(self, [q, k, v], window, (out, sums), dout)
        } else {
            self.plain_backward([q, k, v], window, out, dout)
        }
    }

    /// [`forward`](Self::forward) in candle's operations; holds the scores of one span at a time, all heads.
    pub fn plain(&self, q: &Tensor, k: &Tensor, v: &Tensor, window: Option<usize>) -> Result<Tensor> {
        let dim = self.head_dim;
        let (heads, kv_heads) = (q.dim(1)? / dim, k.dim(1)? / dim);
        let split = |x: Tensor, heads: usize| x.reshape(((), heads, dim))?.transpose(0, 1)?.contiguous();
        let mut out = Vec::with_capacity(self.spans.len());
        for span in self.spans.iter() {
            let (n, total, first) = (span.queries.len(), span.keys_len(), span.first());
            let q = split(q.narrow(0, span.queries.start, n)?, heads)?;
            let of_keys = |x: &Tensor| {
                let parts: Result<Vec<_>> = span.keys.iter().map(|r| x.narrow(0, r.start, r.len())).collect();
                let x = split(Tensor::cat(&parts?, 0)?, kv_heads)?;
                x.unsqueeze(1)?.broadcast_as((kv_heads, heads / kv_heads, total, dim))?.reshape((heads, total, dim))
            };
            let (k, v) = (of_keys(k)?, of_keys(v)?);
            let hidden = |i: usize, j: usize| {
                let visible = visible(first + i, window);
                if visible.contains(&j) { 0.0 } else { f32::NEG_INFINITY }
            };
            let mask: Vec<f32> = (0..n).flat_map(|i| (0..total).map(move |j| hidden(i, j))).collect();
            let mask = Tensor::from_vec(mask, (n, total), q.device())?;
            let scores = (q.matmul(&k.t()?)? * self.scale() as f64)?.broadcast_add(&mask)?;
            let p = candle_nn::ops::softmax(&scores, 2)?;
            out.push(p.matmul(&v)?.transpose(0, 1)?.reshape((n, heads * dim))?);
        }
        Tensor::cat(&out, 0)
    }

    /// [`backward`](Self::backward) by candle's autograd.
    fn plain_backward(
        &self,
        inputs: [&Tensor; 3],
        window: Option<usize>,
        _: &Tensor,
        dout: &Tensor,
    ) -> Result<[Tensor; 3]> {
        let [q, k, v] = inputs.map(candle_core::Var::from_tensor);
        let [q, k, v] = [q?, k?, v?];
        let store = (self.plain(&q, &k, &v, window)? * dout)?.sum_all()?.backward()?;
        let of = |x: &Tensor| store.get(x).map_or_else(|| x.zeros_like(), |g| Ok(g.detach()));
        Ok([of(&q)?, of(&k)?, of(&v)?])
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }
    /// Spans in groups that share keys: a prefix's own span and its continuations.
    fn groups(&self) -> Vec<Vec<&Span>> {
        let mut groups: Vec<(&Range<usize>, Vec<&Span>)> = vec![];
        for span in self.spans.iter() {
            let root = if span.keys[0].is_empty() { &span.keys[1] } else { &span.keys[0] };
            match groups.iter_mut().rev().find(|(r, _)| *r == root) {
                Some((_, group)) => group.push(span),
                None => groups.push((root, vec![span])),
            }
        }
        groups.into_iter().map(|(_, group)| group).collect()
    }
}

/// Positions that the token at `position` sees.
fn visible(position: usize, window: Option<usize>) -> Range<usize> {
    window.map_or(0, |w| (position + 1).saturating_sub(w))..position + 1
}

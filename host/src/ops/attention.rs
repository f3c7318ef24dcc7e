//! Causal attention over packed sequences and over caches, without ever holding tokens x tokens numbers.
//!
//! Scores are computed for blocks of queries and recomputed in the backward pass from the stored log-sum-exp of each
//! row, as FlashAttention does (Dao et al. 2022, arXiv 2205.14135): `packed` on the CPU; elsewhere `plain`, or `flash` for
//! the forward pass where it is built in.

mod blocks;
mod decode;
#[cfg(any(test, feature = "flash-attn"))]
pub(super) mod flash;
mod packed;
pub(super) mod plain;
mod tiles;

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
            return packed::forward(self, q, k, v, window);
        }
        #[cfg(feature = "flash-attn")]
        if q.device().is_cuda() && flash::supports(self.head_dim) {
            return Ok((flash::forward(self, q, k, v, window)?, LogSums(vec![])));
        }
        Ok((plain::forward(self, q, k, v, window)?, LogSums(vec![])))
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
            plain::backward(self, [q, k, v], window, dout)
        }
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

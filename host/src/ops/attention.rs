//! What causal attention is over, packed sequences and caches, without ever holding tokens x tokens numbers.
//!
//! Every backend computes scores for blocks of queries, and again in the backward pass, as FlashAttention does (Dao et
//! al. 2022, arXiv 2205.14135). Here are the spans of a call and their blocks; what computes is in the backends.

pub(super) mod blocks;

use candle_core::{Result, bail};
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
    pub(super) fn keys_len(&self) -> usize {
        self.keys[0].len() + self.keys[1].len()
    }
    /// Position in the sequence of the first query.
    pub(super) fn first(&self) -> usize {
        self.keys_len() - self.queries.len()
    }
    /// Rows of the keys at `positions`.
    pub(super) fn rows(&self, positions: Range<usize>) -> [Range<usize>; 2] {
        let [a, b] = &self.keys;
        let own = |p: usize| b.start + p.saturating_sub(a.len());
        [
            a.start + positions.start.min(a.len())..a.start + positions.end.min(a.len()),
            own(positions.start)..own(positions.end),
        ]
    }
}

/// log-sum-exp of the scaled scores, [heads, queries]; nothing where a backend computes them again.
#[derive(Debug, Clone)]
pub struct LogSums(pub(super) Vec<f32>);

/// Attention of each span's queries to the keys of its sequence up to themselves.
#[derive(Debug, Clone)]
pub struct Attention {
    pub(super) spans: Vec<Span>,
    pub(super) head_dim: usize,
    scale: f32,
}

impl Attention {
    /// Spans in the order of their queries, which leave no row out; each has keys of its own (`keys[1]`), and its
    /// prefix, if it has one, is the keys of a span that has none. Heads have `head_dim` numbers, by whose root scores
    /// are divided.
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
        Ok(Self { spans, head_dim, scale: 1.0 / (head_dim as f32).sqrt() })
    }

    /// With scores multiplied by another number.
    pub fn scaled(self, scale: f32) -> Self {
        Self { scale, ..self }
    }

    /// What scores are multiplied with.
    pub(super) fn scale(&self) -> f32 {
        self.scale
    }
    /// Spans in groups that share keys: a prefix's own span and its continuations.
    pub(super) fn groups(&self) -> Vec<Vec<&Span>> {
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
pub(super) fn visible(position: usize, window: Option<usize>) -> Range<usize> {
    window.map_or(0, |w| (position + 1).saturating_sub(w))..position + 1
}

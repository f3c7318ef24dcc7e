//! The shapes of a call, and its queries in blocks.

use super::{Attention, Span, visible};
use candle_core::{Result, Tensor, bail};
use std::ops::Range;

/// The shapes of a call.
pub struct Sizes {
    pub window: Option<usize>,
    pub dim: usize,
    pub queries: usize,
    pub keys: usize,
    pub heads: usize,
    /// Query heads of a key head.
    pub group: usize,
    /// Numbers of a row of q, and of k and v.
    pub width: usize,
    pub kv_width: usize,
}

impl Sizes {
    /// Fails where q, k and v do not fit each other or the spans.
    pub fn new(spec: &Attention, [q, k, v]: [&Tensor; 3], window: Option<usize>) -> Result<Self> {
        let ((queries, width), (keys, kv_width), dim) = (q.dims2()?, k.dims2()?, spec.head_dim);
        let (heads, kv_heads) = (width / dim, kv_width / dim);
        if width != heads * dim || kv_width != kv_heads * dim || kv_heads == 0 || heads % kv_heads != 0 {
            bail!("attention: q {:?} and k {:?} are not whole heads of {dim}", q.dims(), k.dims())
        }
        if k.dims() != v.dims() {
            bail!("attention: k is {:?} but v is {:?}", k.dims(), v.dims())
        }
        let last = spec.spans.iter().map(|s| s.keys[1].end).max().unwrap_or(0);
        if spec.spans.last().map_or(0, |s| s.queries.end) != queries || last > keys {
            bail!("attention: the spans do not fit q {:?} and k {:?}", q.dims(), k.dims())
        }
        Ok(Self { window, dim, queries, keys, heads, group: heads / kv_heads, width, kv_width })
    }

    /// Heads of k and v.
    pub fn kv_heads(&self) -> usize {
        self.heads / self.group
    }

    /// The span's queries, up to `size` in a block.
    pub fn blocks(&self, span: &Span, size: usize) -> impl Iterator<Item = Block> {
        span.queries.clone().step_by(size).map(move |start| {
            let rows = start..span.queries.end.min(start + size);
            let first = span.first() + start - span.queries.start;
            let last = first + rows.len() - 1;
            let seen = visible(first, self.window).start..last + 1;
            Block { keys: span.rows(seen.clone()), rows, first, seen }
        })
    }
}

/// A block of queries against the keys that any of them sees.
pub struct Block {
    /// Rows of q.
    pub rows: Range<usize>,
    /// Position of the first of them in its sequence.
    pub first: usize,
    /// Positions of the keys.
    pub seen: Range<usize>,
    /// Rows of k and v.
    pub keys: [Range<usize>; 2],
}

impl Block {
    /// The rows of k and v, and the place of each run of them among the positions seen.
    pub fn runs(&self) -> impl Iterator<Item = (Range<usize>, usize)> {
        let second = self.keys[0].len();
        self.keys.clone().into_iter().zip([0, second]).filter(|(rows, _)| !rows.is_empty())
    }

    /// Writes `value` where a query (a column of `p` [seen, width]) does not see a key (a row).
    pub fn fill_unseen(&self, p: &mut [f32], width: usize, s: &Sizes, value: f32) {
        let (queries, seen) = (self.rows.len(), &self.seen);
        // All queries see the keys from the start of the last one's window up to the first one's own.
        let before = visible(self.first + queries - 1, s.window).start;
        let after = before.max(self.first + 1);
        for key in (seen.start..before).chain(after..seen.end) {
            let p = &mut p[(key - seen.start) * width..][..queries];
            // The first query that is not before the key, and the first whose window has left it behind.
            let first = key.saturating_sub(self.first).min(queries);
            let end = s.window.map_or(queries, |w| (key + w).saturating_sub(self.first).min(queries));
            p[..first].fill(value);
            p[end..].fill(value);
        }
    }
}

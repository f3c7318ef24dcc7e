//! Token sequences laid end to end without padding, prompts shared by their completions.

use std::ops::Range;

/// One run of tokens that attends causally to itself, after all of its prefix if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Index of the segment's first token in the pack.
    pub start: usize,
    /// Number of tokens, at least 1.
    pub len: usize,
    /// Index (in [`Pack::segments`]) of an earlier, prefix-less segment that this one continues.
    pub prefix: Option<usize>,
}

/// A prediction to score: the log-probability of `token` from the hidden state of row `row`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Row (token index) of the pack whose hidden state predicts.
    pub row: u32,
    /// The token predicted.
    pub token: u32,
}

/// Packed sequences: the unit of every forward and backward pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pack {
    /// Token ids, all segments end to end.
    pub ids: Vec<u32>,
    /// Position of each token in its own sequence (prefix included), for rotary embedding and sliding windows.
    pub positions: Vec<u32>,
    /// The segments, in order of `start`, covering `ids`.
    pub segments: Vec<Segment>,
}

impl Pack {
    /// Adds a prompt; its index is the `prefix` of completions.
    pub fn push_prompt(&mut self, ids: &[u32]) -> usize {
        self.push(ids, None)
    }

    /// Adds a completion of the prompt segment `prompt` and returns the targets that score each of its tokens in order.
    ///
    /// The last token predicts nothing, so it is not in the pack. `ids` must not be empty.
    pub fn push_completion(&mut self, prompt: usize, ids: &[u32]) -> Vec<Target> {
        let p = self.segments[prompt];
        let start = self.ids.len() as u32;
        let rows = std::iter::once((p.start + p.len - 1) as u32).chain(start..);
        let targets = rows.zip(ids).map(|(row, &token)| Target { row, token }).collect();
        if ids.len() > 1 {
            self.push(&ids[..ids.len() - 1], Some(prompt));
        }
        targets
    }

    /// Adds a segment and returns its index.
    pub fn push(&mut self, ids: &[u32], prefix: Option<usize>) -> usize {
        assert!(!ids.is_empty(), "a segment has at least one token");
        let offset = prefix.map_or(0, |p| self.segments[p].len);
        self.segments.push(Segment { start: self.ids.len(), len: ids.len(), prefix });
        self.positions.extend((offset..offset + ids.len()).map(|p| p as u32));
        self.ids.extend_from_slice(ids);
        self.segments.len() - 1
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Rows of a segment.
    pub fn rows(&self, segment: usize) -> Range<usize> {
        let s = self.segments[segment];
        s.start..s.start + s.len
    }
}

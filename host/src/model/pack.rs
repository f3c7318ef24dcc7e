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
    /// Rows, ascending, of soft prompts: their embeddings (`inputs_embeds`) come beside the pack, their ids say
    /// nothing.
    pub soft: Vec<usize>,
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

    /// Adds one sequence, a prompt, a soft prompt of `soft` rows and a response, and returns the targets that score
    /// each token of the response in order. As in [`push_completion`](Self::push_completion) the last is not in the
    /// pack.
    ///
    /// Something must come before the response, which must not be empty.
    pub fn push_soft(&mut self, prompt: &[u32], soft: usize, response: &[u32]) -> Vec<Target> {
        let first = self.len() + prompt.len();
        self.push(&[prompt, &vec![0; soft], &response[..response.len() - 1]].concat(), None);
        self.soft.extend(first..first + soft);
        let rows = (first + soft - 1) as u32..;
        rows.zip(response).map(|(row, &token)| Target { row, token }).collect()
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

/// Tokens of a pass that stores nothing: enough for products at full speed, few enough to need little memory.
pub const PASS_TOKENS: usize = 1024;

/// Cuts rows, in order, into parts of at most `most` tokens, and one row at least.
pub fn cut<T>(mut rows: &[T], most: usize, tokens: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let mut sum = 0;
        let fits = |row: &&T| {
            sum += tokens(row);
            sum <= most
        };
        let n = rows.iter().take_while(fits).count().max(1).min(rows.len());
        let pass;
        (pass, rows) = rows.split_at(n);
        (n > 0).then_some(pass)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_rows_lie_between_prompt_and_response() {
        let mut pack = Pack::default();
        pack.push_prompt(&[9]);
        let targets = pack.push_soft(&[1, 2], 2, &[3, 4]);
        assert_eq!((pack.ids, pack.soft), (vec![9, 1, 2, 0, 0, 3], vec![3, 4]));
        assert_eq!(pack.positions, [0, 0, 1, 2, 3, 4]);
        assert_eq!(targets, [Target { row: 4, token: 3 }, Target { row: 5, token: 4 }]);
        let mut bare = Pack::default();
        assert_eq!(bare.push_soft(&[1, 2], 0, &[3]), [Target { row: 1, token: 3 }]);
        assert!(bare.ids == [1, 2] && bare.soft.is_empty());
    }

    #[test]
    fn passes_hold_every_row_once_and_no_more_than_fits() {
        let cuts = |rows: &[usize]| Vec::from_iter(cut(rows, 10, |n| *n).map(<[usize]>::to_vec));
        assert_eq!(cuts(&[3, 7, 1, 9, 4, 12, 2, 2]), [vec![3, 7], vec![1, 9], vec![4], vec![12], vec![2, 2]]);
        assert!(cuts(&[]).is_empty());
    }
}

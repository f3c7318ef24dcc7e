//! From token ids of the policy to rows of a bounded embedding table.
//!
//! A policy's vocabulary may have 150,000 entries, of which a round's texts use a few thousand. The most frequent ids
//! of the first fit get a row each, all others share one, so the guiding model stays small whatever the policy.

use ldalign_sdk::Sample;
use std::collections::BTreeMap;

/// Row of every id without one of its own.
pub const RARE: u32 = 0;
/// Row of the mark between prompt and response.
const START: u32 = 1;
/// Rows that stand for no id.
const SPECIAL: usize = 2;

/// The ids that have a row.
pub struct Vocabulary {
    /// Ascending.
    ids: Vec<u32>,
}

/// A sample as rows of the table: prompt, start mark, response.
pub struct Sequence {
    /// One row a token.
    pub rows: Vec<u32>,
    /// Where the start mark is.
    pub start: usize,
}

impl Sequence {
    /// The response's rows: what the decoder reconstructs.
    pub fn response(&self) -> &[u32] {
        &self.rows[self.start + 1..]
    }
}

impl Vocabulary {
    /// The `size` most frequent ids; of equally frequent ones the smaller.
    pub fn most_frequent(counts: &BTreeMap<u32, u64>, size: usize) -> Self {
        let mut by_count: Vec<(u32, u64)> = counts.iter().map(|(&id, &count)| (id, count)).collect();
        by_count.sort_by_key(|&(id, count)| (std::cmp::Reverse(count), id));
        let mut ids: Vec<u32> = by_count.into_iter().take(size).map(|(id, _)| id).collect();
        ids.sort_unstable();
        Self { ids }
    }

    /// The vocabulary of these ids; None where they do not ascend.
    pub fn from_ids(ids: Vec<u32>) -> Option<Self> {
        ids.is_sorted_by(|a, b| a < b).then_some(Self { ids })
    }

    /// The ids that have a row, ascending.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Rows of the table.
    pub fn rows(&self) -> usize {
        SPECIAL + self.ids.len()
    }

    fn row(&self, id: u32) -> u32 {
        self.ids.binary_search(&id).map_or(RARE, |index| (SPECIAL + index) as u32)
    }

    /// A sample as rows, with at most `max_tokens` of the prompt's end and of the response's beginning.
    pub fn sequence(&self, sample: &Sample<'_>, max_tokens: usize) -> Sequence {
        let prompt = &sample.prompt_ids[sample.prompt_ids.len().saturating_sub(max_tokens)..];
        let response = &sample.response_ids[..sample.response_ids.len().min(max_tokens)];
        let row = |&id: &u32| self.row(id);
        let rows = prompt.iter().map(row).chain([START]).chain(response.iter().map(row)).collect();
        Sequence { rows, start: prompt.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_ids_have_rows_and_ties_go_to_the_smaller() {
        let vocabulary = Vocabulary::most_frequent(&BTreeMap::from([(7, 1), (90_000, 5), (3, 1), (5, 2)]), 3);
        assert_eq!(vocabulary.ids(), [3, 5, 90_000]);
        assert_eq!((vocabulary.rows(), vocabulary.row(90_000), vocabulary.row(7)), (5, 4, RARE));
    }

    #[test]
    fn a_sequence_keeps_the_prompts_end_and_the_responses_beginning() {
        let vocabulary = Vocabulary::from_ids(vec![10, 11, 12, 13]).expect("ascending ids");
        let sample = Sample { prompt: "", response: "", prompt_ids: &[10, 11, 12], response_ids: &[13, 12, 11] };
        let sequence = vocabulary.sequence(&sample, 2);
        assert_eq!(sequence.rows, [3, 4, START, 5, 4]);
        assert_eq!((sequence.start, sequence.response()), (2, &[5, 4][..]));
    }
}

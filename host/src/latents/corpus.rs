//! Samples as an encoder sees them: prompts with responses, as text and as token ids.
//!
//! By the boundary a corpus is made of pairs: sample 2i is the chosen response of pair i, sample 2i + 1 the other one.

use crate::{
    Result,
    data::{Dataset, Selection, tokens::TokenStore},
    plugin::{CorpusSource, OwnedSample},
    text::{Message, TextCodec},
};
use std::ops::Range;

/// The text that stands for a conversation up to its response.
pub fn prompt_text(history: &[Message]) -> String {
    history.iter().map(|message| message.text()).collect::<Vec<_>>().join("\n\n")
}

/// Indices of the chosen responses of a corpus of so many pairs.
pub fn chosen(pairs: usize) -> impl ExactSizeIterator<Item = usize> {
    (0..pairs).map(|pair| 2 * pair)
}

/// Indices of the other responses of a corpus of so many pairs.
pub fn responses(pairs: usize) -> impl ExactSizeIterator<Item = usize> {
    (0..pairs).map(|pair| 2 * pair + 1)
}

/// A round's pairs, read from their files on demand.
pub struct Stored<'a> {
    /// The rows' texts.
    pub data: &'a Dataset,
    /// Turns token ids into text.
    pub codec: &'a TextCodec,
    /// Token ids of prompt, chosen and rejected response.
    pub pairs: &'a TokenStore,
    /// The row of each pair.
    pub rows: &'a Selection,
}

impl CorpusSource for Stored<'_> {
    fn len(&self) -> usize {
        2 * self.pairs.len()
    }

    fn read(&self, indices: &[usize]) -> Result<Vec<OwnedSample>> {
        let sample = |&index: &usize| {
            let (pair, side) = (index / 2, index % 2);
            let response_ids = self.pairs.get(pair, 1 + side).to_vec();
            Ok(OwnedSample {
                prompt: prompt_text(&self.data.row(self.rows.get(pair))?.prompt.messages),
                response: self.codec.decode(&response_ids)?,
                prompt_ids: self.pairs.get(pair, 0).to_vec(),
                response_ids,
            })
        };
        let samples = indices.iter().map(sample).collect();
        self.pairs.release();
        samples
    }
}

/// Samples in memory: responses, each of which stands beside the chosen one to the same prompt.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// The chosen responses.
    pub chosen: Vec<OwnedSample>,
    /// The other responses.
    pub responses: Vec<OwnedSample>,
    /// By response, the chosen one that it stands beside.
    pub beside: Vec<usize>,
}

impl CorpusSource for Held {
    fn len(&self) -> usize {
        2 * self.responses.len()
    }

    fn read(&self, indices: &[usize]) -> Result<Vec<OwnedSample>> {
        let sample = |&index: &usize| match index % 2 {
            0 => self.chosen[self.beside[index / 2]].clone(),
            _ => self.responses[index / 2].clone(),
        };
        Ok(indices.iter().map(sample).collect())
    }
}

/// Which candidates belong to a prompt: they follow each other.
#[derive(Debug)]
pub struct Prompts {
    /// Each prompt's first candidate, in order.
    first: Selection,
    candidates: usize,
}

impl Prompts {
    /// The data row of each candidate, and which candidates are whose, from each prompt's row and number of candidates.
    pub fn read(prompts: impl Iterator<Item = Result<(usize, usize)>>) -> Result<(Selection, Self)> {
        let (mut rows, mut first, mut candidates) = (Selection::default(), Selection::default(), 0);
        for prompt in prompts {
            let (row, len) = prompt?;
            first.push(candidates);
            candidates += len;
            (0..len).for_each(|_| rows.push(row));
        }
        Ok((rows, Self { first, candidates }))
    }

    /// Number of prompts.
    pub fn len(&self) -> usize {
        self.first.len()
    }

    /// Candidates of all of them.
    pub fn all(&self) -> usize {
        self.candidates
    }

    /// A prompt's candidates.
    pub fn candidates(&self, prompt: usize) -> Range<usize> {
        let end = if prompt + 1 < self.len() { self.first.get(prompt + 1) } else { self.candidates };
        self.first.get(prompt)..end
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A prompt's first candidate.
    pub fn first(&self, prompt: usize) -> usize {
        self.first.get(prompt)
    }

    /// The prompt of a candidate.
    pub fn of_candidate(&self, candidate: usize) -> usize {
        let (mut low, mut high) = (0, self.len());
        while high - low > 1 {
            let middle = low.midpoint(high);
            *(if self.first.get(middle) <= candidate { &mut low } else { &mut high }) = middle;
        }
        low
    }
}

/// Of each prompt the chosen response and the first candidate: what plugins learn from, however many samples there are.
pub struct FirstOf<'a> {
    /// Pairs of chosen response and candidate.
    pub corpus: &'a Stored<'a>,
    /// Their prompts.
    pub prompts: &'a Prompts,
}

impl CorpusSource for FirstOf<'_> {
    fn len(&self) -> usize {
        2 * self.prompts.len()
    }

    fn read(&self, indices: &[usize]) -> Result<Vec<OwnedSample>> {
        let whole: Vec<usize> = indices.iter().map(|i| 2 * self.prompts.first(i / 2) + i % 2).collect();
        self.corpus.read(&whole)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn candidates_of_a_row_are_those_of_a_prompt() {
        let (rows, prompts) = Prompts::read([(3, 2), (5, 1), (6, 3)].into_iter().map(Ok)).unwrap();
        assert_eq!(rows.iter().collect::<Vec<_>>(), [3, 3, 5, 6, 6, 6]);
        assert_eq!((0..prompts.len()).map(|p| prompts.candidates(p)).collect::<Vec<_>>(), [0..2, 2..3, 3..6]);
        assert_eq!((0..6).map(|c| prompts.of_candidate(c)).collect::<Vec<_>>(), [0, 0, 1, 2, 2, 2]);
    }
}

//! Samples as an encoder sees them: prompts with responses, as text and as token ids.
//!
//! By the boundary a corpus is made of pairs: sample 2i is the chosen response of pair i, sample 2i + 1 the other one.

use crate::{
    Result,
    data::{Dataset, Selection, tokens::TokenStore},
    plugin::{CorpusSource, OwnedSample},
    text::{Message, TextCodec},
};

/// The text that stands for a conversation up to its response.
pub fn prompt_text(history: &[Message]) -> String {
    history.iter().map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n\n")
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
                prompt: prompt_text(&self.data.row(self.rows.get(pair))?.history),
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

//! The samples an encoder learns from, read in batches through the host.

use crate::{Error, Sample};

/// A sample that owns its text and ids.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OwnedSample {
    /// See [`Sample`].
    pub prompt: String,
    /// See [`Sample`].
    pub response: String,
    /// See [`Sample`].
    pub prompt_ids: Vec<u32>,
    /// See [`Sample`].
    pub response_ids: Vec<u32>,
}

impl OwnedSample {
    /// A view of it.
    pub fn as_sample(&self) -> Sample<'_> {
        Sample {
            prompt: &self.prompt,
            response: &self.response,
            prompt_ids: &self.prompt_ids,
            response_ids: &self.response_ids,
        }
    }
}

/// The round's samples: sample 2i is the golden, 2i+1 the generated response of row i.
pub struct Corpus<'a> {
    _p: std::marker::PhantomData<&'a ()>,
}

impl Corpus<'_> {
    /// Number of samples, golden and generated.
    pub fn len(&self) -> usize {
        todo!()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Reads samples by index, in the order asked for.
    pub fn read(&self, _indices: &[usize]) -> Result<Vec<OwnedSample>, Error> {
        todo!()
    }
}

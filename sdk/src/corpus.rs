//! The samples an encoder learns from, read in batches through the host.

use crate::{Error, Sample, boundary};
use abi::abi_stable::{sabi_trait::TD_Opaque, std_types::RVec};
use ldalign_abi as abi;

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
pub struct Corpus<'a>(abi::CorpusBox<'a>);

impl<'a> Corpus<'a> {
    /// A corpus over a source of one's own: what the host does, and what a plugin's unit tests do.
    pub fn new(source: &'a dyn CorpusSource) -> Self {
        Self(lend(source))
    }
    pub(crate) fn from_abi(corpus: abi::CorpusBox<'a>) -> Self {
        Self(corpus)
    }
    /// Number of samples, golden and generated.
    pub fn len(&self) -> usize {
        self.0.len() as usize
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Reads samples by index, in the order asked for. Ask for a batch, not for everything: the corpus need not fit
    /// into memory.
    ///
    /// # Errors
    /// An index beyond the end, or a file of the host that cannot be read.
    pub fn read(&self, indices: &[usize]) -> Result<Vec<OwnedSample>, Error> {
        let indices: Vec<u64> = indices.iter().map(|i| *i as u64).collect();
        let read = boundary::from_abi(self.0.read(indices.as_slice().into()))?;
        Ok(read.into_iter().map(boundary::owned).collect())
    }
}

/// A source as the object that crosses the boundary.
pub fn lend(source: &dyn CorpusSource) -> abi::CorpusBox<'_> {
    abi::CorpusObject_TO::from_value(Lent(source), TD_Opaque)
}

struct Lent<'a>(&'a dyn CorpusSource);

impl abi::CorpusObject for Lent<'_> {
    fn len(&self) -> u64 {
        boundary::guard(|| Ok(self.0.len() as u64)).unwrap_or(0)
    }
    fn read(&self, indices: boundary::RSlice<'_, u64>) -> abi::AbiResult<RVec<abi::SampleBuf>> {
        boundary::guard(|| {
            let indices: Vec<usize> = indices.iter().map(|i| *i as usize).collect();
            Ok(self.0.read(&indices)?.into_iter().map(boundary::buf).collect())
        })
    }
}

/// What stands behind a [`Corpus`]: the host's data, or a test's `Vec<OwnedSample>`.
pub trait CorpusSource: Sync {
    /// Number of samples.
    fn len(&self) -> usize;
    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Samples by index, in the order asked for.
    fn read(&self, indices: &[usize]) -> Result<Vec<OwnedSample>, Error>;
}

impl CorpusSource for Vec<OwnedSample> {
    fn len(&self) -> usize {
        self.as_slice().len()
    }
    fn read(&self, indices: &[usize]) -> Result<Vec<OwnedSample>, Error> {
        indices
            .iter()
            .map(|i| {
                self.get(*i).cloned().ok_or_else(|| Error::input(format!("no sample {i} in {}", self.as_slice().len())))
            })
            .collect()
    }
}

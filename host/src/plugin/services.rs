//! What the host does for plugins is the SDK's trait [`Services`], which the host implements as it is: here what all
//! its implementations share, the host of the probe, and the host's errors as plugins see them.

use super::{OwnedSample, PluginRecord, alive};
use crate::{Code, Error, Result, interrupt};
use ldalign_sdk::{Error as PluginError, Level, Services};

/// A plugin's line in the host's log.
pub fn log(plugin: &PluginRecord, level: Level, message: &str) {
    match level {
        Level::Warn => tracing::warn!("{plugin}: {message}"),
        Level::Info => tracing::info!("{plugin}: {message}"),
        Level::Debug => tracing::debug!("{plugin}: {message}"),
    }
}

/// A host without a model, for this plugin: what it meets in the probe, and all that measuring its speed takes.
pub struct NoModel(pub PluginRecord);

impl Services for NoModel {
    fn log(&self, level: Level, message: &str) {
        log(&self.0, level, message);
    }
    fn cancelled(&self) -> bool {
        interrupt::requested()
    }
}

/// The samples an encoder is fitted on: 2i is the golden, 2i+1 the generated response of row i.
///
/// Apart from the SDK's trait of this name, since the host reads samples too, and then with errors of its own.
#[allow(clippy::len_without_is_empty)] // nobody asks
pub trait CorpusSource: Sync {
    /// Number of samples.
    fn len(&self) -> usize;
    /// Reads samples by index.
    fn read(&self, indices: &[usize]) -> Result<Vec<OwnedSample>>;
}

/// Our corpus as the SDK's.
pub(super) struct Lent<'a>(pub &'a dyn CorpusSource);

impl ldalign_sdk::CorpusSource for Lent<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn read(&self, indices: &[usize]) -> Result<Vec<OwnedSample>, PluginError> {
        alive();
        let len = self.0.len();
        if let Some(beyond) = indices.iter().find(|i| **i >= len) {
            return Err(PluginError::input(format!("sample {beyond} asked for, the corpus has {len}")));
        }
        Ok(self.0.read(indices)?)
    }
}

/// A failed service as the plugin sees it; most plugins hand it back, and `call` turns it into the run's error.
impl From<Error> for PluginError {
    fn from(e: Error) -> Self {
        match e.code() {
            Code::RunInterrupted => Self::cancelled(),
            // The code by which the probe knows a plugin that merely needs a model.
            Code::PluginNoModel => Self::unsupported(format!("{e:#}")),
            _ => Self::failed(format!("{e:#}")),
        }
    }
}

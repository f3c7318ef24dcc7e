//! What the host does for plugins, and its adapters to the boundary.

use super::{ModelFacts, OwnedSample, Pooling, call::Who};
use crate::{Code, Error, Result, interrupt};
use ldalign_sdk::{Error as PluginError, Level, Sample};
use std::sync::Arc;

/// What the host does for plugins; the pipeline implements it, tests bring their own.
pub trait Services: Send + Sync {
    /// The policy's facts; None while no model is loaded.
    fn model(&self) -> Option<ModelFacts>;
    /// Pooled hidden states of the samples after `layer` layers, `hidden_size` numbers each.
    fn hidden_states(&self, samples: &[Sample<'_>], layer: usize, pooling: Pooling, out: &mut [f32]) -> Result<()>;
    /// Hidden states after `layer` layers of every token of every sample, `hidden_size` numbers each.
    fn token_states(&self, _samples: &[Sample<'_>], _layer: usize, _out: &mut [f32]) -> Result<()> {
        Err(no_model())
    }
    /// Negative log-likelihood of each response after its prompt and its part of `prefixes`; where `gradients` is not empty, its gradient by that.
    fn prefix_nll(
        &self,
        _samples: &[Sample<'_>],
        _prefixes: &[f32],
        _nll: &mut [f32],
        _gradients: &mut [f32],
    ) -> Result<()> {
        Err(no_model())
    }
    /// Seed for this plugin.
    fn seed(&self) -> u64;
    /// Threads the plugin may use.
    fn threads(&self) -> usize;
    /// Progress of a fit, 0..=1.
    fn progress(&self, _fraction: f32, _note: &str) {}
}

/// What every service says that needs a model where there is none.
fn no_model() -> Error {
    Error::new(Code::PluginNoModel, "no model is loaded yet")
}

/// A host without a model: what a plugin meets in the probe, and all that measuring its speed takes.
pub struct NoModel;

impl Services for NoModel {
    fn model(&self) -> Option<ModelFacts> {
        None
    }
    fn hidden_states(&self, _: &[Sample<'_>], _: usize, _: Pooling, _: &mut [f32]) -> Result<()> {
        Err(no_model())
    }
    fn seed(&self) -> u64 {
        0
    }
    fn threads(&self) -> usize {
        1
    }
}

/// The samples an encoder is fitted on: 2i is the golden, 2i+1 the generated response of row i.
#[allow(clippy::len_without_is_empty)] // nobody asks
pub trait CorpusSource: Sync {
    /// Number of samples.
    fn len(&self) -> usize;
    /// Reads samples by index.
    fn read(&self, indices: &[usize]) -> Result<Vec<OwnedSample>>;
}

/// Our services as the SDK's, which catches their panics.
pub(super) struct Bridge {
    services: Arc<dyn Services>,
    who: Who,
}

impl Bridge {
    pub fn new(services: Arc<dyn Services>, who: Who) -> Self {
        Self { services, who }
    }
}

impl ldalign_sdk::Services for Bridge {
    fn log(&self, level: Level, message: &str) {
        let who = self.who;
        match level {
            Level::Warn => tracing::warn!("{who}: {message}"),
            Level::Info => tracing::info!("{who}: {message}"),
            Level::Debug => tracing::debug!("{who}: {message}"),
        }
    }
    fn progress(&self, fraction: f32, note: &str) {
        self.services.progress(fraction, note);
    }
    fn cancelled(&self) -> bool {
        interrupt::requested()
    }
    fn seed(&self) -> u64 {
        self.services.seed()
    }
    fn threads(&self) -> usize {
        self.services.threads()
    }
    fn model(&self) -> Option<ModelFacts> {
        self.services.model()
    }
    fn hidden_states(
        &self,
        samples: &[Sample<'_>],
        layer: usize,
        pooling: Pooling,
        out: &mut [f32],
    ) -> Result<(), PluginError> {
        self.services.hidden_states(samples, layer, pooling, out).map_err(to_plugin)
    }
    fn token_states(&self, samples: &[Sample<'_>], layer: usize, out: &mut [f32]) -> Result<(), PluginError> {
        self.services.token_states(samples, layer, out).map_err(to_plugin)
    }
    fn prefix_nll(
        &self,
        samples: &[Sample<'_>],
        prefixes: &[f32],
        nll: &mut [f32],
        gradients: &mut [f32],
    ) -> Result<(), PluginError> {
        self.services.prefix_nll(samples, prefixes, nll, gradients).map_err(to_plugin)
    }
}

/// Our corpus as the SDK's.
pub(super) struct Lent<'a>(pub &'a dyn CorpusSource);

impl ldalign_sdk::CorpusSource for Lent<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn read(&self, indices: &[usize]) -> Result<Vec<OwnedSample>, PluginError> {
        let len = self.0.len();
        if let Some(beyond) = indices.iter().find(|i| **i >= len) {
            return Err(PluginError::input(format!("sample {beyond} asked for, the corpus has {len}")));
        }
        self.0.read(indices).map_err(to_plugin)
    }
}

/// A failed service as the plugin sees it; most plugins hand it back, and `call` turns it into the run's error.
fn to_plugin(e: Error) -> PluginError {
    match e.code() {
        Code::RunInterrupted => PluginError::cancelled(),
        // The code by which the probe knows a plugin that merely needs a model.
        Code::PluginNoModel => PluginError::unsupported(e.to_string()),
        _ => PluginError::failed(e.to_string()),
    }
}

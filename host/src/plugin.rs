//! Plugins: found, inspected, probed, loaded, and called without letting them take a run's data with them.

use crate::{Result, config::PluginChoice};
use ldalign_sdk::{FitReport, LatentShape, Sample, StepContext};
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, sync::Arc};

/// The three kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Prompt and response to latent.
    Encoder,
    /// Two latents to a distance.
    Distance,
    /// Distances to weights.
    Schedule,
}

/// What a run used, for its manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginRecord {
    /// Kind and id.
    pub kind: Kind,
    /// The id in the library.
    pub id: String,
    /// The library's name and version.
    pub name: String,
    /// See `name`.
    pub version: String,
    /// SHA-256 of the library file.
    pub sha256: String,
    /// The options as given.
    pub options: serde_json::Value,
}

/// Facts about the policy model that encoders may ask for.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct ModelFacts {
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of hidden states.
    pub hidden_size: usize,
    /// Layers.
    pub num_layers: usize,
    /// Longest sequence.
    pub max_positions: usize,
    /// Tokens that end a response.
    pub end_ids: Vec<u32>,
}

/// One sample owned by the host.
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

/// How token states become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Mean over the response's tokens.
    Mean,
    /// The response's last token.
    Last,
    /// Mean over prompt and response.
    MeanAll,
}

/// What the host does for plugins; the pipeline implements it, tests bring their own.
pub trait Services: Send + Sync {
    /// The policy's facts; None while no model is loaded.
    fn model(&self) -> Option<ModelFacts>;
    /// Pooled hidden states of the samples after `layer` layers, `hidden_size` numbers each.
    fn hidden_states(&self, samples: &[Sample<'_>], layer: usize, pooling: Pooling, out: &mut [f32]) -> Result<()>;
    /// Seed for this plugin.
    fn seed(&self) -> u64;
    /// Threads the plugin may use.
    fn threads(&self) -> usize;
    /// Progress of a fit, 0..=1.
    fn progress(&self, _fraction: f32, _note: &str) {}
}

/// The samples an encoder is fitted on: 2i is the golden, 2i+1 the generated response of row i.
pub trait CorpusSource: Sync {
    /// Number of samples.
    fn len(&self) -> usize;
    /// Reads samples by index.
    fn read(&self, indices: &[usize]) -> Result<Vec<OwnedSample>>;
}

/// A plugin found, inspected and loaded, its options validated.
pub struct Plugin {}

/// Where plugins are looked for.
pub struct Finder {
    /// Directories for names; the bundled directory is searched last.
    pub search_path: Vec<PathBuf>,
}

impl Finder {
    /// Finds, inspects, probes and loads the plugin of a choice, and validates its options.
    pub fn load(&self, _kind: Kind, _choice: &PluginChoice) -> Result<Plugin> {
        todo!()
    }
}

impl Plugin {
    /// For the manifest.
    pub fn record(&self) -> &PluginRecord {
        todo!()
    }
    /// Makes an encoder.
    pub fn encoder(&self, _services: Arc<dyn Services>) -> Result<Encoder> {
        todo!()
    }
    /// Makes a distance.
    pub fn distance(&self, _services: Arc<dyn Services>) -> Result<Distance> {
        todo!()
    }
    /// Makes a schedule.
    pub fn schedule(&self, _services: Arc<dyn Services>) -> Result<Schedule> {
        todo!()
    }
}

/// An encoder instance; every value it returns was checked (shape, finiteness).
pub struct Encoder {}

impl Encoder {
    /// Shape of its latents.
    pub fn shape(&self) -> LatentShape {
        todo!()
    }
    /// Fits on the corpus.
    pub fn fit(&mut self, _corpus: &dyn CorpusSource) -> Result<FitReport> {
        todo!()
    }
    /// Latents of the samples.
    pub fn encode(&self, _samples: &[Sample<'_>]) -> Result<Vec<f32>> {
        todo!()
    }
    /// State as bytes.
    pub fn save(&self) -> Result<Vec<u8>> {
        todo!()
    }
    /// Restores a state.
    pub fn load(&mut self, _state: &[u8]) -> Result<()> {
        todo!()
    }
    /// Ends the instance, reporting a panic in its Drop.
    pub fn close(self) -> Result<()> {
        todo!()
    }
}

/// A distance instance; values are finite and at least 0.
pub struct Distance {}

impl Distance {
    /// Learns from the round's latents.
    pub fn fit(&mut self, _golden: &[f32], _generated: &[f32], _shape: LatentShape) -> Result<()> {
        todo!()
    }
    /// Distances of pairs of latents.
    pub fn distances(&self, _golden: &[f32], _generated: &[f32], _shape: LatentShape) -> Result<Vec<f32>> {
        todo!()
    }
    /// State as bytes.
    pub fn save(&self) -> Result<Vec<u8>> {
        todo!()
    }
    /// Restores a state.
    pub fn load(&mut self, _state: &[u8]) -> Result<()> {
        todo!()
    }
    /// Ends the instance, reporting a panic in its Drop.
    pub fn close(self) -> Result<()> {
        todo!()
    }
}

/// A schedule instance; weights are finite and at least 0.
pub struct Schedule {}

impl Schedule {
    /// Shows it all distances of the round.
    pub fn begin_round(&mut self, _distances: &[f32]) -> Result<()> {
        todo!()
    }
    /// Weights for distances at a step.
    pub fn weights(&self, _at: StepContext, _distances: &[f32]) -> Result<Vec<f32>> {
        todo!()
    }
    /// Ends the instance, reporting a panic in its Drop.
    pub fn close(self) -> Result<()> {
        todo!()
    }
}

//! What the host does for a plugin.

use crate::{Error, Sample};

/// How important a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something is wrong but work goes on.
    Warn,
    /// Worth reading once.
    Info,
    /// For the plugin's author.
    Debug,
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

/// Facts about the policy model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFacts {
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of hidden states.
    pub hidden_size: usize,
    /// Layers; hidden states exist for 0 (embeddings) ..= this.
    pub num_layers: usize,
    /// Longest sequence.
    pub max_positions: usize,
    /// Tokens that end a response.
    pub end_ids: Vec<u32>,
}

/// Handle to the host's services; cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Host {}

impl Host {
    /// Writes to the host's log.
    pub fn log(&self, _level: Level, _message: &str) {
        todo!()
    }
    /// Shows how far a long fit is, 0..=1.
    pub fn progress(&self, _fraction: f32, _note: &str) {
        todo!()
    }
    /// Whether the user asked to stop: return an error soon.
    pub fn cancelled(&self) -> bool {
        todo!()
    }
    /// Seed for everything random in the plugin.
    pub fn seed(&self) -> u64 {
        todo!()
    }
    /// Threads the plugin may use.
    pub fn threads(&self) -> usize {
        todo!()
    }
    /// Facts about the policy model; an error where no model is loaded.
    pub fn model(&self) -> Result<ModelFacts, Error> {
        todo!()
    }
    /// Hidden states of the policy model after `layer` layers, pooled to `hidden_size` numbers a sample, computed by the host on its device.
    pub fn hidden_states(
        &self,
        _samples: &[Sample<'_>],
        _layer: usize,
        _pooling: Pooling,
        _out: &mut [f32],
    ) -> Result<(), Error> {
        todo!()
    }
}

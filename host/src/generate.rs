//! Sampling responses from the policy.

use crate::{Result, config::GenerateConfig, model::Policy};
use serde::{Deserialize, Serialize};

/// A prompt to continue, with the key that seeds its randomness.
#[derive(Debug, Clone)]
pub struct Request {
    /// Token ids of the prompt.
    pub prompt: Vec<u32>,
    /// Randomness is a pure function of (seed, key, token number): not of the batch, not of the order.
    pub key: u64,
}

/// Why a response ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StopReason {
    /// The model produced an end token, which is the last of `ids`.
    Stop,
    /// `max_new_tokens` were reached; no end token was added.
    Length,
}

/// A sampled response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Token ids, with the end token where the model made one.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub stop: StopReason,
}

/// Continues every request; `done(index, generation)` is called as each finishes, in order of completion.
///
/// Finished sequences are replaced at once. Fails with [`crate::interrupt::CODE`] between tokens if a stop was asked for.
pub fn generate(
    _policy: &Policy,
    _requests: impl Iterator<Item = Result<(usize, Request)>>,
    _config: &GenerateConfig,
    _end_ids: &[u32],
    _seed: u64,
    _done: impl FnMut(usize, Generation) -> Result<()>,
) -> Result<()> {
    todo!()
}

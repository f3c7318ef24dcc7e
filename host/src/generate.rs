//! Responses to prompts: the seam behind which they are sampled, and our own sampler, the first that stands there.
//!
//! [`Generator`] says what is owed, and [`generate`] is how the stages ask for it. Ours continues prompts by the
//! [`Policy`](crate::model::Policy) of this process, in `batching`, where [`Sampler`] chooses the tokens.

mod batching;
mod sampler;

pub use batching::generate_one;
pub use sampler::Sampler;

use crate::{Code, Error, Result, config::GenerateConfig};
use serde::{Deserialize, Serialize};

/// A prompt to continue, with the key that seeds its randomness.
#[derive(Debug, Clone)]
pub struct Request {
    /// Token ids of the prompt.
    pub prompt: Vec<u32>,
    /// Randomness is a pure function of (seed, key, sample, token number): not of the batch, not of the order.
    pub key: u64,
    /// Which of several responses to the prompt, from 0.
    pub sample: u32,
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

/// What continues prompts: token ids in, token ids out.
///
/// The one implementation is our sampler over a [`Policy`](crate::model::Policy). An engine outside, such as vLLM,
/// would be the second; this is what it owes:
///
/// - A response is a pure function of model, prompt, `config` but for `batch_size`, `end_ids`, `seed` and key, to the
///   bit: not of the requests beside it, nor of their order. A stage that was interrupted and goes on gives what it
///   would have given. An engine that cannot promise this comes with a field of the run's manifest that says so.
/// - Token ids come back as they were sampled. An engine that gives text alone is refused: tokenizing it again can give
///   other ids than those the model chose.
/// - A response ends with the first of `end_ids`, which is its last id, or with `max_new_tokens` ids and no end token
///   added. Nothing else ends or shortens it, and every option is obeyed as `config` means it, whatever defaults an
///   engine has.
pub trait Generator {
    /// Continues every request; `done(index, generation)` is called once for each as it finishes, in any order.
    ///
    /// Requests are taken as there is room, so that a data set need not be in memory.
    ///
    /// # Errors
    /// An error of `done`, at once; one of `requests`, after what was begun is finished and handed over;
    /// [`Code::RunInterrupted`] soon after a stop was asked for; [`Code::GenerateEmpty`] for a prompt without tokens,
    /// and [`Code::GenerateLength`] where a prompt and `max_new_tokens` exceed the model's positions.
    fn generate(
        &self,
        requests: &mut dyn Iterator<Item = Result<(usize, Request)>>,
        config: &GenerateConfig,
        end_ids: &[u32],
        seed: u64,
        done: &mut dyn FnMut(usize, Generation) -> Result<()>,
    ) -> Result<()>;
}

/// Continues every request as [`Generator::generate`] says, once the options are found to be within their bounds.
pub fn generate(
    generator: &dyn Generator,
    mut requests: impl Iterator<Item = Result<(usize, Request)>>,
    config: &GenerateConfig,
    end_ids: &[u32],
    seed: u64,
    mut done: impl FnMut(usize, Generation) -> Result<()>,
) -> Result<()> {
    check(config)?;
    generator.generate(&mut requests, config, end_ids, seed, &mut done)
}

/// Fails with [`Code::GenerateOptions`] where an option is out of its bounds: a config's were checked when it was read.
fn check(config: &GenerateConfig) -> Result<()> {
    let &GenerateConfig { max_new_tokens, temperature, top_p, batch_size, .. } = config;
    let (counts, temperatures, top_ps) = (GenerateConfig::COUNTS, GenerateConfig::TEMPERATURES, GenerateConfig::TOP_PS);
    let fault = if !counts.take(max_new_tokens as f64) {
        format!("max_new_tokens is {max_new_tokens}, expected {counts}")
    } else if !counts.take(batch_size as f64) {
        format!("batch_size is {batch_size}, expected {counts}")
    } else if !temperatures.take(temperature.into()) {
        format!("temperature is {temperature}, expected a number of {temperatures}")
    } else if !top_ps.take(top_p.into()) {
        format!("top_p is {top_p}, expected {top_ps}")
    } else {
        return Ok(());
    };
    Err(Error::new(Code::GenerateOptions, fault))
}

#[cfg(test)]
mod tests;

//! Sampling responses from the policy.

mod sampler;

pub use sampler::Sampler;

use crate::{
    Code, Error, Result,
    config::GenerateConfig,
    interrupt,
    model::{KvCache, Policy},
};
use rayon::prelude::*;
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
/// Finished sequences are replaced at once. Fails with [`crate::Code::RunInterrupted`] between tokens if a stop was asked for,
/// and with `generate/length` where a prompt and `max_new_tokens` exceed the model's positions.
pub fn generate(
    policy: &Policy,
    requests: impl Iterator<Item = Result<(usize, Request)>>,
    config: &GenerateConfig,
    end_ids: &[u32],
    seed: u64,
    mut done: impl FnMut(usize, Generation) -> Result<()>,
) -> Result<()> {
    check(config)?;
    let mut batch = Batch { policy, config, end_ids, cache: None, free: Vec::new(), running: Vec::new() };
    let mut requests = requests.peekable();
    loop {
        // What was begun is finished before a request's error ends the work.
        while let Some(next) = requests.next_if(|r| if r.is_ok() { batch.can_take() } else { batch.running.is_empty() })
        {
            let (index, request) = next?;
            batch.take(index, request, seed).map_err(|e| e.at(format!("request {index}")))?;
        }
        if batch.running.is_empty() {
            return Ok(());
        }
        interrupt::check()?;
        batch.prefill()?;
        batch.step()?;
        batch.hand_over(&mut done)?;
    }
}

/// Continues one prompt; `on_token` sees each token as it comes, the end token included.
///
/// The same tokens as [`generate`] gives for this request.
pub fn generate_one(
    policy: &Policy,
    request: &Request,
    config: &GenerateConfig,
    end_ids: &[u32],
    seed: u64,
    mut on_token: impl FnMut(u32) -> Result<()>,
) -> Result<Generation> {
    check(config)?;
    let mut cache = policy.cache(1, length(policy, request, config)?)?;
    let mut sequence = Sequence::new(0, 0, request.prompt.clone(), Sampler::new(config, seed, request.key));
    if let Some(piece) = sequence.prefix() {
        policy.prefill(&mut cache, &[piece])?;
    }
    loop {
        interrupt::check()?;
        let last = [sequence.last()];
        let token = policy.decode(&mut cache, &last, |logits| sequence.push(logits, config, end_ids))?;
        on_token(token?)?;
        if let Some(stop) = sequence.stop {
            return Ok(Generation { ids: sequence.ids, stop });
        }
    }
}

/// Sequences decoded together, each in its slot of the cache.
struct Batch<'a> {
    policy: &'a Policy,
    config: &'a GenerateConfig,
    end_ids: &'a [u32],
    /// None until the first request says how long a slot must be.
    cache: Option<KvCache>,
    /// Slots of the cache that no sequence has.
    free: Vec<usize>,
    running: Vec<Sequence>,
}

impl Batch<'_> {
    /// Whether there is a slot.
    fn can_take(&self) -> bool {
        self.running.len() < self.config.batch_size
    }

    /// Gives a request a slot.
    fn take(&mut self, index: usize, request: Request, seed: u64) -> Result<()> {
        let length = length(self.policy, &request, self.config)?;
        // Doubling keeps the copies few.
        let capacity = length.next_power_of_two().min(self.policy.max_positions());
        match &mut self.cache {
            Some(cache) => cache.grow(capacity)?,
            None => {
                self.cache = Some(self.policy.cache(self.config.batch_size, capacity)?);
                self.free = (0..self.config.batch_size).rev().collect();
            }
        }
        let (Some(cache), Some(slot)) = (&mut self.cache, self.free.pop()) else {
            return Err(Error::new(Code::GenerateSlots, "no slot is free"));
        };
        cache.clear(slot);
        let sampler = Sampler::new(self.config, seed, request.key);
        self.running.push(Sequence::new(index, slot, request.prompt, sampler));
        Ok(())
    }

    /// Runs the prompts of new sequences into their slots, but for their last tokens: the next step feeds those. A prompt that
    /// another sequence has is copied from it.
    fn prefill(&mut self) -> Result<()> {
        let Some(cache) = &mut self.cache else { return Ok(()) };
        let (mut pieces, mut copies) = (vec![], vec![]);
        for (i, sequence) in self.running.iter().enumerate().filter(|(_, s)| cache.is_empty(s.slot)) {
            let Some((slot, prefix)) = sequence.prefix() else { continue };
            match self.running[..i].iter().find(|other| other.prompt == sequence.prompt) {
                Some(other) => copies.push((other.slot, slot, prefix.len())),
                None => pieces.push((slot, prefix)),
            }
        }
        self.policy.prefill(cache, &pieces)?;
        copies.into_iter().try_for_each(|(from, to, n)| cache.share(from, to, n))
    }

    /// Adds a token to every running sequence.
    fn step(&mut self) -> Result<()> {
        let Some(cache) = &mut self.cache else { return Ok(()) };
        let last: Vec<(usize, u32)> = self.running.iter().map(Sequence::last).collect();
        let vocab = self.policy.vocab_size();
        let (config, end_ids) = (self.config, self.end_ids);
        let sample = |(sequence, logits): (&mut Sequence, &[f32])| {
            let pushed = sequence.push(logits, config, end_ids);
            pushed.map(|_| ()).map_err(|e| e.at(format!("request {}", sequence.index)))
        };
        let running = &mut self.running;
        self.policy.decode(cache, &last, |logits| {
            running.par_iter_mut().zip(logits.par_chunks_exact(vocab)).try_for_each(sample)
        })?
    }

    /// Hands finished sequences over and frees their slots.
    fn hand_over(&mut self, done: &mut impl FnMut(usize, Generation) -> Result<()>) -> Result<()> {
        for i in (0..self.running.len()).rev() {
            if let Some(stop) = self.running[i].stop {
                let finished = self.running.remove(i);
                self.free.push(finished.slot);
                done(finished.index, Generation { ids: finished.ids, stop })?;
            }
        }
        Ok(())
    }
}

/// A response being sampled.
struct Sequence {
    index: usize,
    slot: usize,
    prompt: Vec<u32>,
    sampler: Sampler,
    ids: Vec<u32>,
    stop: Option<StopReason>,
}

impl Sequence {
    fn new(index: usize, slot: usize, prompt: Vec<u32>, sampler: Sampler) -> Self {
        Self { index, slot, prompt, sampler, ids: Vec::new(), stop: None }
    }

    /// Its slot, and the prompt but for the last token, if there is more.
    fn prefix(&self) -> Option<(usize, &[u32])> {
        let (_, prefix) = self.prompt.split_last()?;
        (!prefix.is_empty()).then_some((self.slot, prefix))
    }

    /// Its slot and the token to feed next.
    fn last(&self) -> (usize, u32) {
        let last = self.ids.last().or(self.prompt.last());
        (self.slot, *last.expect("prompts have a token at least"))
    }

    /// Samples the next token from its logits and notes whether it is the last.
    fn push(&mut self, logits: &[f32], config: &GenerateConfig, end_ids: &[u32]) -> Result<u32> {
        let token = self.sampler.next(logits)?;
        self.ids.push(token);
        if end_ids.contains(&token) {
            self.stop = Some(StopReason::Stop);
        } else if self.ids.len() == config.max_new_tokens {
            self.stop = Some(StopReason::Length);
        }
        Ok(token)
    }
}

/// Tokens of the prompt and the longest response, if the model has room for them.
fn length(policy: &Policy, request: &Request, config: &GenerateConfig) -> Result<usize> {
    let (prompt, room) = (request.prompt.len(), policy.max_positions());
    if prompt == 0 {
        return Err(Error::new(Code::GenerateEmpty, "the prompt has no tokens"));
    }
    if prompt + config.max_new_tokens > room {
        let message = format!(
            "the prompt's {prompt} tokens and max_new_tokens {} exceed the model's {room} positions",
            config.max_new_tokens
        );
        return Err(Error::new(Code::GenerateLength, message).hint("lower max_new_tokens or max_prompt_length"));
    }
    Ok(prompt + config.max_new_tokens)
}

fn check(config: &GenerateConfig) -> Result<()> {
    let fault = if config.max_new_tokens == 0 {
        "max_new_tokens is 0, expected at least 1".to_owned()
    } else if config.batch_size == 0 {
        "batch_size is 0, expected at least 1".to_owned()
    } else if !(config.temperature.is_finite() && config.temperature >= 0.0) {
        format!("temperature is {}, expected a number of at least 0", config.temperature)
    } else if !(config.top_p > 0.0 && config.top_p <= 1.0) {
        format!("top_p is {}, expected above 0 and at most 1", config.top_p)
    } else {
        return Ok(());
    };
    Err(Error::new(Code::GenerateOptions, fault))
}

#[cfg(test)]
mod tests;

//! Our sampler over a policy, with continuous batching: when a sequence is finished, its slot of the key-value cache
//! goes to the next request at once.

use super::{Generation, Generator, Request, Sampler, StopReason, check};
use crate::{
    Code, Error, Result,
    config::GenerateConfig,
    interrupt,
    model::{KvCache, Policy},
};
use rayon::prelude::*;

impl Generator for Policy {
    fn generate(
        &self,
        requests: &mut dyn Iterator<Item = Result<(usize, Request)>>,
        config: &GenerateConfig,
        end_ids: &[u32],
        seed: u64,
        done: &mut dyn FnMut(usize, Generation) -> Result<()>,
    ) -> Result<()> {
        let mut batch = Batch { policy: self, config, end_ids, cache: None, free: Vec::new(), running: Vec::new() };
        let mut requests = requests.peekable();
        loop {
            // What was begun is finished before a request's error ends the work.
            while let Some(next) =
                requests.next_if(|r| if r.is_ok() { batch.can_take() } else { batch.running.is_empty() })
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
            batch.hand_over(done)?;
        }
    }
}

/// Continues one prompt; `on_token` sees each token as it comes, the end token included.
///
/// The same tokens as [`super::generate`] gives for this request.
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
    let mut sequence =
        Sequence::new(0, 0, request.prompt.clone(), Sampler::new(config, seed, request.key, request.sample));
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
    /// Slots of the cache that no sequence has, each with the prompt of its last.
    free: Vec<(usize, Vec<u32>)>,
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
                self.free = (0..self.config.batch_size).rev().map(|slot| (slot, vec![])).collect();
            }
        }
        // A slot whose last sequence had this prompt holds its keys and values already.
        let same = self.free.iter().position(|(_, prompt)| *prompt == request.prompt);
        let slot = same.map(|at| self.free.remove(at).0).or_else(|| self.free.pop().map(|(slot, _)| slot));
        let (Some(cache), Some(slot)) = (&mut self.cache, slot) else {
            return Err(Error::new(Code::GenerateSlots, "no slot is free"));
        };
        cache.keep(slot, if same.is_some() { request.prompt.len() - 1 } else { 0 });
        let sampler = Sampler::new(self.config, seed, request.key, request.sample);
        self.running.push(Sequence::new(index, slot, request.prompt, sampler));
        Ok(())
    }

    /// Runs the prompts of new sequences into their slots, but for their last tokens: the next step feeds those. A
    /// prompt that another sequence has is copied from it.
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
    fn hand_over(&mut self, done: &mut dyn FnMut(usize, Generation) -> Result<()>) -> Result<()> {
        for i in (0..self.running.len()).rev() {
            if let Some(stop) = self.running[i].stop {
                let finished = self.running.remove(i);
                self.free.push((finished.slot, finished.prompt));
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

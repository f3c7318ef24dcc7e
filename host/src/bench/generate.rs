//! Sampling: whole responses in a batch and one at a time, and the two kinds of pass they are made of.

use super::{Bench, Memory, SEED, Watch, data::PROMPTS};
use crate::{
    Code, Error, Result,
    config::GenerateConfig,
    generate::{self, Request},
    interrupt,
    model::Policy,
    progress::Progress,
};
use serde::Serialize;
use std::time::Instant;

/// Tokens of every response.
const NEW_TOKENS: usize = 128;
/// Sequences decoded together.
const BATCH: usize = 16;
/// Responses sampled one at a time.
const SINGLE: usize = 2;

/// Rates of generation. No end token ends a response, so that all have the same length.
#[derive(Debug, Serialize)]
pub struct Generating {
    /// Prompts continued.
    pub prompts: usize,
    /// Their tokens.
    pub prompt_tokens: usize,
    /// Tokens of every response: 128, or fewer where the model has no room for them.
    pub new_tokens: usize,
    /// Sequences decoded together.
    pub batch: usize,
    /// New tokens a second of all prompts in batches, everything included.
    pub new_tokens_per_s: f64,
    /// New tokens a second of prompts continued one after the other.
    pub single_stream_tokens_per_s: f64,
    /// Prompt tokens a second, all prompts run into the cache.
    pub prefill_tokens_per_s: f64,
    /// Decoding steps of a whole batch, without sampling.
    pub decode: Decode,
    /// Decoding steps of one sequence, without sampling.
    pub decode_single: Decode,
    /// Memory.
    pub memory: Memory,
}

/// Steps that add a token to every sequence.
#[derive(Debug, Serialize)]
pub struct Decode {
    /// Seconds of a step.
    pub seconds: f64,
    /// Tokens a second.
    pub tokens_per_s: f64,
    /// 10^9 bytes of parameters a second, each read once a step at four bytes, two in bf16.
    pub weights_gb_per_s: f64,
    /// That as a share of the memory's bandwidth; None where the limits were not measured.
    pub of_limit: Option<f64>,
}

/// Generates.
pub fn measure(bench: &Bench<'_>) -> Result<Generating> {
    let policy = bench.policy()?;
    let prompts: Vec<&[u32]> = (0..PROMPTS).map(|i| bench.pairs.get(i % bench.pairs.len(), 0)).collect();
    let longest = prompts.iter().map(|p| p.len()).max().unwrap_or(0);
    let new_tokens = NEW_TOKENS.min(policy.max_positions().saturating_sub(longest));
    if new_tokens < 2 {
        let what = format!("a prompt of {longest} tokens leaves room for {new_tokens} new ones; 2 are needed");
        return Err(Error::new(Code::BenchOptions, what).hint("lower --max-length"));
    }
    let config = GenerateConfig {
        max_new_tokens: new_tokens,
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        batch_size: BATCH,
        samples: None,
    };
    let watch = Watch::start();
    let request = |i: usize| Request { prompt: prompts[i].to_vec(), key: i as u64, sample: 0 };

    let mut progress = Progress::new("generate", 0, (PROMPTS + SINGLE) as u64);
    let start = Instant::now();
    let requests = (0..PROMPTS).map(|i| Ok((i, request(i))));
    generate::generate(&policy, requests, &config, &[], SEED, |_, _| {
        progress.advance(1, "");
        Ok(())
    })?;
    let batched = start.elapsed().as_secs_f64();
    let start = Instant::now();
    for i in 0..SINGLE {
        generate::generate_one(&policy, &request(i), &config, &[], SEED, |_| Ok(()))?;
        progress.advance(1, "");
    }
    let single = start.elapsed().as_secs_f64();
    progress.finish("");
    let memory = watch.stop(None);

    let capacity = longest + new_tokens;
    let mut cache = policy.cache(PROMPTS, longest)?;
    let pieces: Vec<(usize, &[u32])> = prompts.iter().copied().enumerate().collect();
    let start = Instant::now();
    policy.prefill(&mut cache, &pieces)?;
    let prefill = start.elapsed().as_secs_f64();
    let prompt_tokens: usize = prompts.iter().map(|p| p.len()).sum();
    Ok(Generating {
        prompts: PROMPTS,
        prompt_tokens,
        new_tokens,
        batch: BATCH,
        new_tokens_per_s: (PROMPTS * new_tokens) as f64 / batched,
        single_stream_tokens_per_s: (SINGLE * new_tokens) as f64 / single,
        prefill_tokens_per_s: prompt_tokens as f64 / prefill,
        decode: decode(bench, &policy, &prompts[..BATCH], new_tokens, capacity)?,
        decode_single: decode(bench, &policy, &prompts[..1], new_tokens, capacity)?,
        memory,
    })
}

/// Continues prompts by `steps` made-up tokens.
fn decode(bench: &Bench<'_>, policy: &Policy, prompts: &[&[u32]], steps: usize, capacity: usize) -> Result<Decode> {
    let mut cache = policy.cache(prompts.len(), capacity)?;
    let pieces: Vec<(usize, &[u32])> = prompts.iter().copied().enumerate().collect();
    policy.prefill(&mut cache, &pieces)?;
    let tokens: Vec<(usize, u32)> = prompts.iter().map(|p| p[0]).enumerate().collect();
    // The first step also makes what later ones find, as weights rounded to bf16.
    policy.decode(&mut cache, &tokens, |_| ())?;
    let start = Instant::now();
    for _ in 1..steps {
        interrupt::check()?;
        policy.decode(&mut cache, &tokens, |_| ())?;
    }
    let seconds = start.elapsed().as_secs_f64() / (steps - 1).max(1) as f64;
    // Of a model that could be trained, products in bf16 read the rounded copies.
    let copies = bench.options.bf16 && bench.options.lora.is_none();
    let bytes = if copies { 2 * policy.num_parameters() } else { policy.weight_bytes() };
    let weights_gb_per_s = bytes as f64 / seconds / 1e9;
    Ok(Decode {
        seconds,
        tokens_per_s: prompts.len() as f64 / seconds,
        weights_gb_per_s,
        of_limit: bench.limits.as_ref().map(|l| weights_gb_per_s / l.bandwidth.read_gb_per_s),
    })
}

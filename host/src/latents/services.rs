//! What the running pipeline does for its plugins: facts and hidden states of the policy it holds, and
//! ([`super::prefix`]) likelihoods under it.

use super::{
    prefix,
    request::{FAULT, check_len, take, tokens},
};
use crate::{
    Code, Error, Result, interrupt,
    model::{PASS_TOKENS, Pack, Policy, cut},
    plugin::{self, ModelFacts, PluginRecord, Pooling, Services},
    progress::Progress,
};
use ldalign_sdk::{Error as PluginError, Level, Sample};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::{
    sync::{Arc, Mutex, OnceLock, RwLock, TryLockError},
    time::Duration,
};

/// The policy, read by plugins while latents are made, written by training.
pub type SharedPolicy = Arc<RwLock<Policy>>;

/// Parts in which a plugin's own progress is shown.
const PARTS: u64 = 100;

/// Services backed by a policy, or by none where a plugin has no business with it.
pub struct PolicyServices {
    policy: Option<SharedPolicy>,
    end_ids: Vec<u32>,
    seed: u64,
    plugin: PluginRecord,
    fit: Mutex<Option<Progress>>,
}

impl PolicyServices {
    /// Services for a plugin, whose randomness comes from `seed` and its kind and id.
    pub fn new(policy: Option<SharedPolicy>, end_ids: &[u32], seed: u64, plugin: &PluginRecord) -> Self {
        let PluginRecord { kind, id, .. } = plugin;
        // Each plugin's own stream: two plugins with one seed would draw the same numbers.
        let salt = id.bytes().fold(*kind as u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        Self { policy, end_ids: end_ids.to_vec(), seed: seed ^ salt, plugin: plugin.clone(), fit: Mutex::default() }
    }

    fn with<R: Send>(&self, work: impl FnOnce(&Policy) -> Result<R> + Send) -> Result<R> {
        let _serving = plugin::Serving::begin();
        let policy = self.policy.as_ref().ok_or_else(|| Error::new(Code::PluginNoModel, "no model is loaded yet"))?;
        match policy.try_read() {
            Ok(policy) => on_free_threads(|| work(&policy)),
            // A plugin that asks while the policy trains would otherwise wait for itself.
            Err(TryLockError::WouldBlock) => Err(Error::new(
                Code::PluginNoModel,
                "the model is being trained; ask for hidden states in fit or encode",
            )),
            Err(TryLockError::Poisoned(_)) => Err(Error::new(Code::PluginNoModel, "the model was lost in a panic")),
        }
    }
}

impl Services for PolicyServices {
    fn log(&self, level: Level, message: &str) {
        plugin::alive();
        plugin::log(&self.plugin, level, message);
    }

    fn cancelled(&self) -> bool {
        plugin::alive();
        interrupt::requested()
    }

    fn model(&self) -> Option<ModelFacts> {
        self.with(|p| {
            Ok(ModelFacts {
                vocab_size: p.vocab_size(),
                hidden_size: p.hidden_size(),
                num_layers: p.num_layers(),
                max_positions: p.max_positions(),
                end_ids: self.end_ids.clone(),
            })
        })
        .ok()
    }

    fn call_limit(&self) -> Option<Duration> {
        plugin::call_limit()
    }

    fn hidden_states(
        &self,
        samples: &[Sample<'_>],
        layer: usize,
        pooling: Pooling,
        out: &mut [f32],
    ) -> Result<(), PluginError> {
        let done = self.with(|policy| {
            check_layer(policy, layer)?;
            check_len("states", out.len(), samples.len() * policy.hidden_size())?;
            let mut rest = out;
            for samples in cut(samples, PASS_TOKENS, tokens) {
                interrupt::check()?;
                pooled_states(policy, samples, layer, pooling, take(&mut rest, samples.len() * policy.hidden_size()))?;
            }
            Ok(())
        });
        Ok(done?)
    }

    fn token_states(&self, samples: &[Sample<'_>], layer: usize, out: &mut [f32]) -> Result<(), PluginError> {
        let done = self.with(|policy| {
            check_layer(policy, layer)?;
            let numbers = |samples: &[Sample<'_>]| samples.iter().map(tokens).sum::<usize>() * policy.hidden_size();
            check_len("states", out.len(), numbers(samples))?;
            if samples.iter().any(|s| tokens(s) == 0) {
                return Err(Error::new(FAULT, "a sample has no token"));
            }
            let mut rest = out;
            for samples in cut(samples, PASS_TOKENS, tokens) {
                interrupt::check()?;
                let mut pack = Pack::default();
                for sample in samples {
                    pack.push(&[sample.prompt_ids, sample.response_ids].concat(), None);
                }
                let states = policy.hidden_states(&pack, layer)?.flatten_all()?.to_vec1::<f32>()?;
                take(&mut rest, numbers(samples)).copy_from_slice(&states);
            }
            Ok(())
        });
        Ok(done?)
    }

    fn prefix_nll(
        &self,
        samples: &[Sample<'_>],
        prefixes: &[f32],
        nll: &mut [f32],
        gradients: &mut [f32],
    ) -> Result<(), PluginError> {
        Ok(self.with(|policy| prefix::nll(policy, samples, prefixes, nll, gradients))?)
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn threads(&self) -> usize {
        rayon::current_num_threads()
    }

    fn progress(&self, fraction: f32, note: &str) {
        plugin::alive();
        let Ok(mut fit) = self.fit.lock() else { return };
        let done = (fraction.clamp(0.0, 1.0) * PARTS as f32) as u64;
        let progress = fit.get_or_insert_with(|| Progress::new(format!("fit {}", self.plugin.id), 0, PARTS));
        progress.advance(done.saturating_sub(progress.done()), note);
        if done == PARTS
            && let Some(progress) = fit.take()
        {
            progress.finish(note);
        }
    }
}

/// Runs work whose parts a pool shares. A call from a thread of the plugin's own goes to a pool of its own: all threads
/// of the usual one may be inside the plugin, waiting for this call.
fn on_free_threads<R: Send>(work: impl FnOnce() -> Result<R> + Send) -> Result<R> {
    static POOL: OnceLock<Option<ThreadPool>> = OnceLock::new();
    if rayon::current_thread_index().is_some() {
        return work();
    }
    let make = || ThreadPoolBuilder::new().num_threads(rayon::current_num_threads()).build().ok();
    let pool = POOL.get_or_init(make).as_ref();
    pool.ok_or_else(|| Error::new(Code::PluginThreads, "no threads can be started for a plugin's call"))?.install(work)
}

fn check_layer(policy: &Policy, layer: usize) -> Result<()> {
    match layer <= policy.num_layers() {
        true => Ok(()),
        false => Err(Error::new(
            FAULT,
            format!("layer {layer} asked for, the model has 0 (embeddings) to {}", policy.num_layers()),
        )),
    }
}

/// The mean (or last) hidden state of each sample's tokens. It does not depend on the samples beside it.
fn pooled_states(
    policy: &Policy,
    samples: &[Sample<'_>],
    layer: usize,
    pooling: Pooling,
    out: &mut [f32],
) -> Result<()> {
    let mut pack = Pack::default();
    for sample in samples {
        if sample.response_ids.is_empty() {
            return Err(Error::new(FAULT, "a sample has no response token"));
        }
        pack.push(&[sample.prompt_ids, sample.response_ids].concat(), None);
    }
    let states = policy.hidden_states(&pack, layer)?.to_vec2::<f32>()?;
    for (i, (sample, out)) in samples.iter().zip(out.chunks_exact_mut(policy.hidden_size())).enumerate() {
        let mut rows = pack.rows(i);
        rows.start = match pooling {
            Pooling::Mean => rows.start + sample.prompt_ids.len(),
            Pooling::Last => rows.end - 1,
            Pooling::MeanAll => rows.start,
        };
        let states = &states[rows];
        // f64 sums: long responses lose nothing, and the order is fixed.
        for (j, out) in out.iter_mut().enumerate() {
            *out = (states.iter().map(|row| f64::from(row[j])).sum::<f64>() / states.len() as f64) as f32;
        }
    }
    Ok(())
}

//! Optimizer steps of DPO with all weights 1, as the pipeline runs them.

use super::{Bench, Memory, Rate, SEED, Watch, work::Load};
use crate::{
    Code, Error, Result,
    config::TrainConfig,
    data::tokens::TokenStore,
    estimate::{Estimate, Longest},
    files, interrupt,
    model::{ModelConfig, ModelDir, Pack, Policy},
    rundir::{MetricsLine, StepTimingLine, TrainLayout},
    train::{self, DpoData},
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::path::Path;

/// What training made of the machine.
#[derive(Debug, Serialize)]
pub struct Training {
    /// Rank of the adapters; None where everything is trained.
    pub lora: Option<usize>,
    /// Parameters that are trained.
    pub trained: u64,
    /// Pairs a second.
    pub pairs_per_s: f64,
    /// Tokens of all sequences a second, a prompt counted with each of its responses.
    pub tokens_per_s: f64,
    /// Useful operations.
    pub rate: Rate,
    /// Memory.
    pub memory: Memory,
    /// SHA-256 of the trained tensors after the last step: equal between runs that computed the same bits.
    pub weights_sha256: String,
    /// The steps.
    pub steps: Vec<TrainedStep>,
}

/// One optimizer step.
#[derive(Debug, Serialize)]
pub struct TrainedStep {
    /// Rows it trained on, in order: lines of the data file from 0, if none was dropped.
    pub rows: Vec<usize>,
    /// Wall-clock time, data to updated weights.
    pub seconds: f64,
    /// Tokens of all sequences, a prompt counted with each of its responses.
    pub sequence_tokens: usize,
    /// Tokens that went through the model: prompts once, last tokens not at all.
    pub packed_tokens: usize,
    /// Useful operations.
    pub gflop: f64,
    /// Memory held after the step.
    pub resident_bytes: Option<u64>,
    /// The step's line of metrics.jsonl, under TRL's names.
    pub metrics: MetricsLine,
}

/// Trains for the steps asked for.
pub fn measure(bench: &Bench<'_>) -> Result<Training> {
    let config = bench.training(bench.options.batch, bench.options.steps);
    let mut policy = bench.policy()?;
    let pairs = pairs(bench)?;
    let reference = train::reference_logps(&policy, &pairs, |_| interrupt::check())?;
    let watch = Watch::start();
    let data = DpoData {
        pairs: &pairs,
        reference: &reference,
        distances: &vec![0.0; pairs.len()],
        measured: false,
        schedule: &|_, distances| Ok(vec![1.0; distances.len()]),
        round: (0, 1),
    };
    let dir = bench.scratch.path().join("train");
    train::dpo(&mut policy, &data, &config, SEED, &dir)?;
    let estimate = estimate(bench, &pairs, &config)?;
    let memory = watch.stop(Some(estimate.peak));

    let steps = steps(bench, &pairs, &config, &dir)?;
    let counted = steady(&steps);
    let sum = |of: fn(&TrainedStep) -> f64| counted.iter().map(of).sum::<f64>();
    let seconds = sum(|s| s.seconds);
    Ok(Training {
        lora: bench.options.lora,
        trained: estimate.trained,
        pairs_per_s: sum(|s| s.rows.len() as f64) / seconds,
        tokens_per_s: sum(|s| s.sequence_tokens as f64) / seconds,
        rate: bench.rate(sum(|s| s.gflop) * 1e9, seconds),
        memory,
        weights_sha256: weights(&policy)?,
        steps,
    })
}

/// The first rows, as many as the steps take: the reference of others would be computed for nothing.
fn pairs(bench: &Bench<'_>) -> Result<TokenStore> {
    let count = bench.pairs.len().min(bench.options.batch * bench.options.steps as usize);
    let row = |row| Ok([0, 1, 2].map(|column| bench.pairs.get(row, column).to_vec()));
    let path = bench.scratch.path().join("train.tokens");
    TokenStore::write(&path, (0..count).map(row))?;
    TokenStore::open(&path, 3)
}

/// The steps that count: the first also touches memory for the first time.
pub fn steady(steps: &[TrainedStep]) -> &[TrainedStep] {
    if steps.len() > 1 { &steps[1..] } else { steps }
}

/// What a training that has just ended in `dir` wrote of its steps on `store`.
pub fn steps(bench: &Bench<'_>, store: &TokenStore, config: &TrainConfig, dir: &Path) -> Result<Vec<TrainedStep>> {
    let dir = TrainLayout::new(dir);
    let metrics = dir.metrics().lines()?.collect::<Result<Vec<_>>>()?;
    let timing = dir.timing().lines()?.collect::<Result<Vec<_>>>()?;
    let rows = train::step_rows(store.len(), config, SEED)?;
    if (metrics.len(), timing.len()) != (rows.len(), rows.len()) {
        let (lines, steps) = (metrics.len(), rows.len());
        return Err(Error::new(Code::BenchSteps, format!("{lines} lines of metrics for {steps} steps")));
    }
    let step = |((rows, metrics), timing): ((Vec<usize>, MetricsLine), StepTimingLine)| {
        let load: Load = rows.iter().map(|&row| load(&bench.config, store, row)).sum();
        let sequence_tokens = |&row: &usize| -> usize {
            (1..store.columns()).map(|c| store.get(row, 0).len() + store.get(row, c).len()).sum()
        };
        TrainedStep {
            seconds: timing.seconds,
            resident_bytes: timing.resident_bytes,
            sequence_tokens: rows.iter().map(sequence_tokens).sum(),
            packed_tokens: load.tokens as usize,
            gflop: bench.work().step(load) / 1e9,
            rows,
            metrics,
        }
    };
    Ok(rows.into_iter().zip(metrics).zip(timing).map(step).collect())
}

/// What a row brings to a pass.
pub fn load(model: &ModelConfig, store: &TokenStore, row: usize) -> Load {
    let mut pack = Pack::default();
    let prompt = pack.push_prompt(store.get(row, 0));
    let targets = (1..store.columns()).map(|c| pack.push_completion(prompt, store.get(row, c)).len()).sum();
    Load::new(model, &pack, targets)
}

/// What `check` would say of training on these rows.
pub fn estimate(bench: &Bench<'_>, store: &TokenStore, config: &TrainConfig) -> Result<Estimate> {
    let mut longest = Longest::default();
    for row in 0..store.len() {
        let prompt = store.get(row, 0).len();
        let responses: usize = (1..store.columns()).map(|c| store.get(row, c).len()).sum();
        longest.prompt = longest.prompt.max(prompt);
        if prompt + responses > longest.row {
            (longest.row, longest.responses) = (prompt + responses, responses);
        }
    }
    let brought = ModelDir::open(&bench.options.model)?.footprint(bench.options.quantize)?;
    Estimate::new(&bench.config, &brought, bench.precision(), config, None, longest)
}

fn weights(policy: &Policy) -> Result<String> {
    let mut hash = Sha256::new();
    for t in policy.trainable() {
        hash.update(bytemuck::cast_slice(&t.var.flatten_all()?.to_vec1::<f32>()?));
    }
    Ok(files::hex(&hash.finalize()))
}

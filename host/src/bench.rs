//! `ldalign bench`: what this machine can do, what the engine makes of it, and what that costs in memory.
//!
//! Every rate stands beside a limit measured in the same run, so that figures of different machines, or of a busy one,
//! can be compared. Operations are counted as *useful* ones ([`work`]); what is computed twice to save memory counts
//! once. `docs/performance.md` says what each key of the JSON means.

mod data;
mod generate;
mod lengths;
mod limits;
mod ops;
mod reference;
#[cfg(test)]
mod tests;
mod text;
mod train;
mod work;

use crate::{
    Code, Error, Result,
    config::{LoraConfig, Quantize, TrainConfig},
    data::tokens::TokenStore,
    machine::{self, Machine},
    memory,
    model::{Kept, ModelConfig, Policy},
    ops::{Compute, Precision},
};
use candle_core::Device;
use serde::Serialize;
use std::{fmt, path::PathBuf, str::FromStr};
use work::Work;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// Model directory.
    pub model: PathBuf,
    /// Preference pairs; made-up tokens where there are none.
    pub data: Option<PathBuf>,
    /// Rank of adapters on all linear modules; None to train everything.
    pub lora: Option<usize>,
    /// Rounds the operands of products to bf16.
    pub bf16: bool,
    /// What the matrices of linear modules are made into, under adapters.
    pub quantize: Option<Quantize>,
    /// Pairs of an optimizer step.
    pub batch: usize,
    /// Tokens of prompt and response together.
    pub max_length: usize,
    /// Optimizer steps. The first is left out of the rates if there are more.
    pub steps: u64,
    /// Stages, in any order.
    pub stages: Vec<Stage>,
}

/// Seed of row order, adapters and sampling.
const SEED: u64 = 0;
/// Peak learning rate of the training stages, held constant: small enough for any model to stay finite.
const LEARNING_RATE: f64 = 5e-6;

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The machine's limits.
    Limits,
    /// The operations of a training step, one by one.
    Ops,
    /// Optimizer steps of DPO.
    Train,
    /// Log-probabilities without gradient.
    Reference,
    /// Sampling.
    Generate,
    /// Cost and memory by sequence length and by batch size.
    Lengths,
}

impl Stage {
    /// All stages, in the order they run.
    pub const ALL: [Stage; 6] =
        [Stage::Limits, Stage::Ops, Stage::Train, Stage::Reference, Stage::Generate, Stage::Lengths];
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Limits => "limits",
            Stage::Ops => "ops",
            Stage::Train => "train",
            Stage::Reference => "reference",
            Stage::Generate => "generate",
            Stage::Lengths => "lengths",
        })
    }
}

impl FromStr for Stage {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|s| s.to_string() == name).ok_or_else(|| {
            let all = Self::ALL.map(|s| s.to_string()).join(", ");
            Error::new(Code::BenchStage, format!("there is no stage {name}; expected some of {all}"))
        })
    }
}

/// What was measured. Stages that did not run are None.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version of the program.
    pub version: &'static str,
    /// The machine.
    pub machine: Machine,
    /// Threads at work.
    pub threads: usize,
    /// Whether the operands of products were rounded to bf16.
    pub bf16: bool,
    /// What the matrices of linear modules were made into.
    pub quantize: Option<Quantize>,
    /// The model.
    pub model: ModelFacts,
    /// The limits.
    pub limits: Option<limits::Limits>,
    /// Operations.
    pub ops: Option<ops::Operations>,
    /// Training.
    pub train: Option<train::Training>,
    /// Log-probabilities without gradient.
    pub reference: Option<reference::Reference>,
    /// Sampling.
    pub generate: Option<generate::Generating>,
    /// Cost by length and batch.
    pub lengths: Option<lengths::Lengths>,
}

/// The model as far as it decides the figures.
#[derive(Debug, Serialize)]
pub struct ModelFacts {
    /// Where it lies.
    pub path: PathBuf,
    /// Parameters, without adapters.
    pub parameters: usize,
    /// Layers.
    pub layers: usize,
    /// Width.
    pub hidden_size: usize,
    /// Tokens it knows.
    pub vocab_size: usize,
}

/// Useful operations a second, and what share of the machine's limit that is.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Rate {
    /// 10^9 floating-point operations a second.
    pub gflops: f64,
    /// As a share of the best matrix-product rate of the same precision; None where the limits were not measured.
    pub of_limit: Option<f64>,
}

/// A peak of memory beside what was expected.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Memory {
    /// The most bytes this process held during the stage; None where the system does not say.
    pub peak_bytes: Option<u64>,
    /// Whether the peak is the stage's own; false where the system only tells that of the whole process.
    pub own: bool,
    /// What `check` would have announced, where the stage has an estimate.
    pub estimate_bytes: Option<u64>,
}

/// A peak being watched.
struct Watch {
    own: bool,
}

impl Watch {
    /// Starts with what is held now, free memory given back first.
    fn start() -> Self {
        memory::release();
        Self { own: machine::reset_peak() }
    }
    /// The peak since then.
    fn stop(self, estimate_bytes: Option<u64>) -> Memory {
        Memory { peak_bytes: machine::peak(), own: self.own, estimate_bytes }
    }
}

/// What all stages share.
struct Bench<'a> {
    options: &'a Options,
    config: ModelConfig,
    /// For everything a stage writes.
    scratch: tempfile::TempDir,
    pairs: TokenStore,
    limits: Option<limits::Limits>,
}

impl Bench<'_> {
    /// A policy as training would find it.
    fn policy(&self) -> Result<Policy> {
        let kept = match (self.options.quantize, self.options.lora) {
            (Some(Quantize::Nf4), _) => Kept::Nf4,
            (None, Some(_)) => Kept::Frozen,
            (None, None) => Kept::Trained,
        };
        let mut policy = Policy::load_kept(&self.options.model, &Compute::new(&Device::Cpu, self.precision()), kept)?;
        if let Some(lora) = self.lora() {
            policy.add_lora(&lora, SEED)?;
        }
        Ok(policy)
    }

    fn precision(&self) -> Precision {
        if self.options.bf16 { Precision::Bf16 } else { Precision::F32 }
    }

    fn lora(&self) -> Option<LoraConfig> {
        self.options.lora.map(|r| LoraConfig { r, lora_alpha: 2.0 * r as f64, ..Default::default() })
    }

    /// Plain training steps: constant rate, a line of metrics for each, no checkpoints.
    fn training(&self, rows_per_step: usize, steps: u64) -> TrainConfig {
        TrainConfig {
            learning_rate: LEARNING_RATE,
            lr_scheduler_type: crate::config::LrSchedulerType::Constant,
            warmup_ratio: 0.0,
            per_device_train_batch_size: rows_per_step,
            gradient_accumulation_steps: 1,
            max_steps: steps,
            logging_steps: 1,
            save_total_limit: 0,
            lora: self.lora(),
            ..Default::default()
        }
    }

    /// Counts operations of passes with the adapters of this run.
    fn work(&self) -> Work<'_> {
        Work::new(&self.config, self.options.lora)
    }

    fn rate(&self, operations: f64, seconds: f64) -> Rate {
        let gflops = operations / seconds / 1e9;
        Rate { gflops, of_limit: self.limits.as_ref().map(|l| gflops / l.products(self.precision())) }
    }
}

/// Measures the stages asked for, each with a policy of its own. Progress goes to stderr.
///
/// Fails as loading, training and generation do, with `bench/options` for sizes that cannot be measured, and with
/// [`Code::RunInterrupted`] soon after a stop was asked for.
pub fn run(options: &Options) -> Result<Report> {
    let stopped = |e: Error| match e.code() == Code::RunInterrupted {
        true => e.hint("nothing was kept; --stages and --steps make it shorter"),
        false => e,
    };
    measure(options).map_err(stopped)
}

fn measure(options: &Options) -> Result<Report> {
    check(options)?;
    let config = ModelConfig::of(&options.model)?;
    let scratch = tempfile::tempdir()
        .map_err(|e| Error::new(Code::BenchScratch, "cannot make a directory for temporary files").caused_by(e))?;
    let pairs = data::pairs(options, &config, &scratch.path().join("pairs.bin"))?;
    let parameters = config.tensors().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    let model = ModelFacts {
        path: options.model.clone(),
        parameters,
        layers: config.num_layers,
        hidden_size: config.hidden_size,
        vocab_size: config.vocab_size,
    };
    let mut bench = Bench { options, config, scratch, pairs, limits: None };
    let asked = |stage| options.stages.contains(&stage);
    bench.limits = asked(Stage::Limits).then(limits::measure).transpose()?;
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        machine: Machine::here(),
        threads: rayon::current_num_threads(),
        bf16: options.bf16,
        quantize: options.quantize,
        model,
        ops: asked(Stage::Ops).then(|| ops::measure(&bench)).transpose()?,
        train: asked(Stage::Train).then(|| train::measure(&bench)).transpose()?,
        reference: asked(Stage::Reference).then(|| reference::measure(&bench)).transpose()?,
        generate: asked(Stage::Generate).then(|| generate::measure(&bench)).transpose()?,
        lengths: asked(Stage::Lengths).then(|| lengths::measure(&bench)).transpose()?,
        limits: bench.limits,
    })
}

fn check(options: &Options) -> Result<()> {
    let bad = |what: &str| Err(Error::new(Code::BenchOptions, what));
    match options {
        Options { batch: 0, .. } => bad("batch is 0; expected 1 or more pairs a step"),
        Options { steps: 0, .. } => bad("steps is 0; expected 1 or more"),
        Options { lora: Some(0), .. } => bad("lora is 0; expected a rank of 1 or more"),
        Options { stages, .. } if stages.is_empty() => bad("no stage to measure"),
        _ => Ok(()),
    }
}

//! A run: rounds of stages, each done once, in an order a reader can follow in [`run`].
//!
//! Every stage writes its files, then a record with their hashes. Started again, a run skips what is recorded and goes
//! on: generation by prompt, training by checkpoint, the other stages from their beginning.

mod beside;
mod candidates;
mod evaluate;
mod generate;
mod inspect;
mod pairs;
mod score;
mod sft;
mod train;
mod weights;

pub use evaluate::evaluate;
pub(crate) use inspect::check_vocabulary;
pub use inspect::{inspect, inspect_held_out};
pub use sft::{sft, sft_rounds};

use crate::{
    Code, Error, Result,
    config::{Quantize, RunConfig, gpu},
    data::Dataset,
    estimate::Estimate,
    files, interrupt,
    latents::{PolicyServices, SharedPolicy},
    library::Kind,
    machine,
    model::{self, Kept, ModelDir, Policy},
    ops::Compute,
    plugin::{Finder, Plugin},
    rundir::{Layout, Manifest, RunDir, Stage, Stopwatch},
    text::TextCodec,
};
use candle_core::Device;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
};

/// What every stage works with.
pub struct Run {
    /// The configuration.
    pub config: RunConfig,
    /// The run directory.
    pub dir: RunDir,
    /// Training rows.
    pub data: Dataset,
    /// The model's tokenizer and template.
    pub codec: TextCodec,
    encoder: Plugin,
    distance: Plugin,
    schedule: Plugin,
    device: Device,
    /// Finished runs whose work may be the same: see [`beside`].
    beside: Vec<RunConfig>,
    /// The policy in memory and the round at whose start it stands.
    policy: Option<(u64, SharedPolicy)>,
}

/// Runs all rounds; stops after `until` of the first round that has not done it, where given. Returns the run
/// directory, which `after_round` is given after every round in which something was done, and after the last.
pub fn run(config: RunConfig, until: Option<Stage>, after_round: &dyn Fn(&Path) -> Result<()>) -> Result<PathBuf> {
    run_beside(config, &[], until, after_round)
}

/// [`run`] beside finished runs: what one of these has sampled or measured before anything was trained, and this one
/// would in the same bits, is copied.
pub fn run_beside(
    config: RunConfig,
    beside: &[RunConfig],
    until: Option<Stage>,
    after_round: &dyn Fn(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let mut run = Run { beside: beside.to_vec(), ..Run::open(config)? };
    if let Some(stage) = until
        && (1..=run.config.rounds).try_fold(true, |all, round| Ok::<_, Error>(all && run.dir.is_done(round, stage)?))?
    {
        tracing::info!("{stage} is done in all rounds");
        return Ok(run.dir.path().to_owned());
    }
    run.evaluate(0)?;
    for round in 1..=run.config.rounds {
        let mut worked = false;
        for stage in Stage::ALL {
            if run.dir.is_done(round, stage)? {
                continue;
            }
            interrupt::check()?;
            let watch = Stopwatch::start(&run.dir.round(round).timing(), stage)?;
            let outputs = run.stage(round, stage).map_err(|e| e.at(format!("round {round}, {stage}")))?;
            watch.stop()?;
            run.dir.set_done(round, stage, &outputs)?;
            if stage == Stage::Generate {
                files::remove_file(&run.dir.round(round).partial_generations())?;
            }
            worked = true;
            if until == Some(stage) {
                return Ok(run.dir.path().to_owned());
            }
        }
        run.evaluate(round)?;
        if worked || round == run.config.rounds {
            after_round(run.dir.path())?;
        }
    }
    Ok(run.dir.path().to_owned())
}

impl Run {
    /// Validates everything that can be validated before a model is loaded, and opens the run directory.
    pub fn open(config: RunConfig) -> Result<Self> {
        RunDir::claim(&config, &Layout::is_of_run)?;
        let [encoder, distance, schedule] = plugins(&config)?;
        let data = Dataset::open(&config.data)?;
        let codec = model::codec(&config.model)?;
        let device = device(&config.device)?;
        if !RunDir::is_started(&config.output_dir) {
            let source = ModelDir::open(&config.model)?;
            let model = source.config()?;
            let (_, longest) = inspect(&config, &model, &data, &codec, |_, _, _, _| Ok(()))?;
            let generate = (!data.has_rejected()).then_some(&config.generate);
            let estimate = Estimate::new(
                &model,
                &source.footprint(config.quantize.or(source.quantize()))?,
                config.precision(),
                &config.train,
                generate,
                longest,
            )?;
            tracing::info!("memory: {estimate}");
            if matches!(device, Device::Cpu)
                && let Err(e) = estimate.fits(machine::memory())
            {
                tracing::warn!("{e}");
            }
        }
        let records = [&encoder, &distance, &schedule].map(|p| p.record().clone());
        let manifest = Manifest::new(&config, &data, records.into())?;
        let dir = RunDir::open(&config.output_dir, &manifest)?;
        Ok(Self { config, dir, data, codec, encoder, distance, schedule, device, beside: vec![], policy: None })
    }

    fn stage(&mut self, round: u64, stage: Stage) -> Result<Vec<PathBuf>> {
        match stage {
            Stage::Generate => self.generate(round),
            Stage::Candidates => self.candidates(round),
            Stage::Score => self.score(round),
            Stage::Pairs => self.pairs(round),
            Stage::Train => self.train(round),
        }
    }

    /// The policy as it stands at the start of `round`: the starting model, or what the round before left.
    fn policy(&mut self, round: u64) -> Result<SharedPolicy> {
        if let Some((at, policy)) = &self.policy
            && *at == round
        {
            return Ok(policy.clone());
        }
        // Two models at once could be too much for the memory.
        self.policy = None;
        let (before, config) = (|| self.dir.round(round - 1).model(), &self.config);
        let mut policy = match (&config.train.lora, round) {
            (Some(_), _) => load(config, &config.model, &self.device, Kept::Frozen)?,
            (None, 2..) => load(config, &before(), &self.device, Kept::Trained)?,
            (None, _) => load(config, &config.model, &self.device, Kept::Trained)?,
        };
        if let Some(lora) = &self.config.train.lora {
            policy.add_lora(lora, self.config.seed)?;
            if round > 1 {
                policy.load_adapter(&self.dir.round(round - 1).model())?;
            }
        }
        Ok(self.policy.insert((round, Arc::new(RwLock::new(policy)))).1.clone())
    }

    /// What the host does for one of the run's plugins.
    fn services(&self, policy: Option<SharedPolicy>, plugin: &Plugin) -> Arc<PolicyServices> {
        Arc::new(PolicyServices::new(policy, self.codec.end_ids(), self.config.seed, plugin.record()))
    }
}

/// The encoder, distance and schedule of a config, loaded and their options validated.
pub fn plugins(config: &RunConfig) -> Result<[Plugin; 3]> {
    let finder = Finder::of(config);
    Ok([
        finder.load(Kind::Encoder, &config.encoder)?,
        finder.load(Kind::Distance, &config.distance)?,
        finder.load(Kind::Schedule, &config.schedule)?,
    ])
}

/// The model in `dir`, computed with and quantised as a config says; `kept` is what becomes of it where that says
/// nothing.
pub fn load(config: &RunConfig, dir: &Path, device: &Device, kept: Kept) -> Result<Policy> {
    let kept = config.quantize.map_or(kept, |Quantize::Nf4| Kept::Nf4);
    Policy::load_kept(dir, &Compute::new(device, config.precision()), kept)
}

/// The device of a config: `cpu` or `cuda:N`.
pub fn device(name: &str) -> Result<Device> {
    let Some(number) = gpu(name).map_err(|e| e.at("device"))? else { return Ok(Device::Cpu) };
    // With a stream of its own: candle's default is one for each of our threads, which do not wait for each other.
    Device::new_cuda_with_stream(number).map_err(|e| {
        Error::new(Code::ConfigDevice, format!("the device {name} cannot be used"))
            .hint("`nvidia-smi` lists the GPUs that the driver finds, from 0; without one, use device: cpu")
            .caused_by(Error::from(e))
    })
}

//! `ldalign sft`: supervised fine-tuning on the chosen responses by the same engine, at once or in the rounds of a run.

use super::{beside, device, evaluate, load};
use crate::{
    Result,
    config::{EvalConfig, RunConfig},
    data::{Budgets, Dataset, tokens::TokenStore},
    model::{self, Kept},
    rundir::{Layout, Manifest, RoundLayout, RunDir, Stage},
    train::{self, SftData},
};
use std::path::{Path, PathBuf};

/// Trains `config.model` on the rows, each times the weight that it brings, and writes `output_dir/model`; returns that
/// directory.
///
/// The output directory holds manifest.json, rows.bin, train/ (metrics and checkpoints) and model/; started again, it
/// goes on.
pub fn sft(config: &RunConfig) -> Result<PathBuf> {
    fine_tune(config, None)
}

/// `adapter` is where a LoRA adapter starts from, a fresh one where there is none.
fn fine_tune(config: &RunConfig, adapter: Option<&Path>) -> Result<PathBuf> {
    RunDir::claim(config, &RoundLayout::is_of_sft)?;
    let data = Dataset::open(&config.data)?;
    let codec = model::codec(&config.model)?;
    let lock = RunDir::open(&config.output_dir, &Manifest::new(config, &data, vec![])?)?;
    let dir = RoundLayout::new(lock.path());
    let mut budgets = Budgets::of(&data);
    let mut weights = data.has_weights().then(Vec::new);
    let path = dir.sft_rows();
    TokenStore::write(
        &path,
        (0..data.len()).filter_map(|index| {
            let row = (|| -> Result<_> {
                crate::interrupt::check()?;
                let row = data.row(index)?;
                let turn = codec.encode_turn(&row.prompt, &row.chosen).map_err(|e| e.at(data.place(&row)))?;
                let fitted = budgets.fit(&row, turn.prompt, [turn.response]);
                if let (Some(weights), Some(_)) = (&mut weights, &fitted) {
                    weights.push(row.weight.unwrap_or(1.0));
                }
                Ok(fitted.map(|(prompt, [completion])| [prompt, completion]))
            })();
            row.transpose()
        }),
    )?;
    budgets.check()?;
    let rows = TokenStore::open(&path, 2)?;
    let mut policy = load(
        config,
        &config.model,
        &device(&config.device)?,
        config.train.lora.as_ref().map_or(Kept::Trained, |_| Kept::Frozen),
    )?;
    if let Some(lora) = &config.train.lora {
        policy.add_lora(lora, config.seed)?;
        if let Some(adapter) = adapter {
            policy.load_adapter(adapter)?;
        }
    }
    let data = SftData { rows: &rows, weights: weights.as_deref() };
    train::sft(&mut policy, &data, &config.train, config.seed, dir.train().path())?;
    let out = dir.model();
    policy.save(&out)?;
    Ok(out)
}

/// Supervised fine-tuning with the budget of a run: as many rounds, each of as many steps, evaluated before the first
/// and after each where the config has an `eval` section. Returns the run's directory, in which every round is one of
/// [`sft`]; started again, it goes on. What one of the finished runs `beside` it has measured of the start is copied.
pub fn sft_rounds(config: &RunConfig, beside: &[RunConfig]) -> Result<PathBuf> {
    RunDir::claim(config, &Layout::is_of_run)?;
    let dir = RunDir::open(&config.output_dir, &Manifest::new(config, &Dataset::open(&config.data)?, vec![])?)?;
    measure(&dir, config, beside, &config.model, 0)?;
    let mut before = None;
    for round in 1..=config.rounds {
        let (output_dir, seed) = (dir.round(round).path().to_owned(), config.seed.wrapping_add(round));
        let trained = dir.round(round).model();
        if !dir.is_done(round, Stage::Train)? {
            let mut config = RunConfig { output_dir, seed, ..config.clone() };
            if config.train.lora.is_none() {
                config.model = before.clone().unwrap_or(config.model);
            }
            fine_tune(&config, before.as_deref()).map_err(|e| e.at(format!("round {round}")))?;
            let metrics = dir.round(round).train().metrics().into_path();
            dir.set_done(round, Stage::Train, &[metrics, trained.clone()])?;
        }
        measure(&dir, config, beside, &trained, round)?;
        before = Some(trained);
    }
    Ok(dir.path().to_owned())
}

/// Evaluates a model as the one after `round`, unless done, or done beside.
fn measure(dir: &RunDir, config: &RunConfig, beside: &[RunConfig], model: &Path, round: u64) -> Result<()> {
    let wanted = |eval: &&EvalConfig| eval.measures(round, config.rounds);
    let Some(eval) = config.eval.as_ref().filter(wanted) else { return Ok(()) };
    if dir.is_evaluated(round)? || (round == 0 && beside::evaluation(dir, config, beside)?) {
        return Ok(());
    }
    let policy = load(config, model, &device(&config.device)?, Kept::Frozen)?;
    let codec = model::codec(model)?;
    let name = format!("eval after SFT round {round}");
    let (figures, outcomes) = evaluate(&policy, &codec, eval, &config.generate, config.seed, &name)?;
    dir.write_evaluation(round, &figures, &outcomes)
}

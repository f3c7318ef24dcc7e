//! Training: weighted DPO and SFT by one loop, resumable to the bit.
//!
//! Data order ([`batch`]), learning rate ([`lr`]) and weights are pure functions of the step, and everything else that
//! a step depends on is in its checkpoint ([`checkpoint`]); so a run that was killed and started again ends in the same
//! bits.

mod batch;
mod checkpoint;
mod loss;
mod lr;
mod metrics;
mod objective;
pub(crate) mod optimizer;
mod tensors;
#[cfg(test)]
mod tests;

use crate::{
    Code, Error, Result,
    collective::{Collective, Solo, StepGradients},
    config::TrainConfig,
    data::tokens::TokenStore,
    files, interrupt,
    model::{Gradients, PASS_TOKENS, Policy, Trainable, cut},
    progress::Progress,
    rundir::{MetricsWriter, StepFacts, TrainLayout, column},
};
use batch::{Pass, Plan};
use checkpoint::{Checkpoints, Identity, State};
use ldalign_sdk::StepContext;
use metrics::StepMeans;
use objective::{Denominators, Dpo, Objective, Sft};
use optimizer::AdamW;
use std::path::Path;

/// Weights of the pairs whose distances are given, at a step of the round: finite, at least 0, and a pure function.
pub type Weigh<'a> = dyn Fn(StepContext, &[f32]) -> Result<Vec<f32>> + 'a;

/// What one round of weighted DPO trains on.
pub struct DpoData<'a> {
    /// Rows of [prompt, chosen, rejected].
    pub pairs: &'a TokenStore,
    /// Reference log-probabilities of every row: sums over chosen and rejected.
    pub reference: &'a [[f32; 2]],
    /// Distance of every row's pair.
    pub distances: &'a [f32],
    /// Whether the distances were measured; where not, the metrics do not show them.
    pub measured: bool,
    /// Turns distances into weights: a schedule whose `begin_round` was called.
    pub schedule: &'a Weigh<'a>,
    /// Round, from 0, and rounds in all.
    pub round: (u64, u64),
}

/// What supervised fine-tuning trains on.
pub struct SftData<'a> {
    /// Rows of [prompt, completion].
    pub rows: &'a TokenStore,
    /// The weight of every row, at least 0; None where all are 1.
    pub weights: Option<&'a [f32]>,
}

/// Trains the policy in place by weighted DPO. Checkpoints, metrics and state lie in `dir`; called again after a crash
/// with the same arguments (and the round's starting policy) it goes on from the newest checkpoint and ends in the same
/// bits.
///
/// Stops between steps with [`Code::RunInterrupted`] after writing a checkpoint. Fails with `train/non-finite` at the
/// first number that is NaN or infinite, with `train/checkpoint` where `dir` holds a checkpoint of something else, with
/// `train/row` for a row the model cannot take.
pub fn dpo(policy: &mut Policy, data: &DpoData<'_>, config: &TrainConfig, seed: u64, dir: &Path) -> Result<()> {
    train(policy, &Dpo::new(data, config)?, config, seed, dir, &Solo)
}

/// Trains the policy in place on rows by negative log-likelihood, the mean over the completion tokens of each optimizer
/// step, each row's times its weight; otherwise as [`dpo`].
pub fn sft(policy: &mut Policy, data: &SftData<'_>, config: &TrainConfig, seed: u64, dir: &Path) -> Result<()> {
    train(policy, &Sft::new(data)?, config, seed, dir, &Solo)
}

/// Optimizer steps that training on `rows` rows takes. Fails as training would.
pub fn total_steps(rows: usize, config: &TrainConfig) -> Result<u64> {
    Ok(Plan::new(rows, config, 0)?.total_steps)
}

/// Rows of every optimizer step of a training on `rows` rows, in their order. Fails as training would.
pub fn step_rows(rows: usize, config: &TrainConfig, seed: u64) -> Result<Vec<Vec<usize>>> {
    let mut plan = Plan::new(rows, config, seed)?;
    Ok((0..plan.total_steps).map(|step| plan.rows(step)).collect())
}

/// Summed log-probabilities of chosen and rejected of every row, without gradient, by the policy as it stands at
/// the start of a round (adapter included): the reference of that round. `on_rows` hears how many rows each pass
/// finished.
///
/// Rows go through in order, in passes cut at a token budget; a row's bits do not depend on the others of its pass.
pub fn reference_logps(
    policy: &Policy,
    pairs: &TokenStore,
    mut on_rows: impl FnMut(u64) -> Result<()>,
) -> Result<Vec<[f32; 2]>> {
    check_rows(policy, pairs)?;
    let rows: Vec<usize> = (0..pairs.len()).collect();
    let mut reference = Vec::with_capacity(pairs.len());
    for rows in cut(&rows, PASS_TOKENS, |row| row_tokens(pairs, *row)) {
        let pass = Pass::new(pairs, rows.iter().copied());
        let sums = pass.sums(&policy.logps(&pass.pack, &pass.targets)?);
        reference.extend_from_slice(sums.as_chunks().0);
        on_rows(rows.len() as u64)?;
    }
    Ok(reference)
}

/// The loop.
fn train(
    policy: &mut Policy,
    objective: &dyn Objective,
    config: &TrainConfig,
    seed: u64,
    dir: &Path,
    collective: &dyn Collective,
) -> Result<()> {
    let rows = objective.rows();
    let mut plan = Plan::new(rows.len(), config, seed)?;
    check_rows(policy, rows)?;
    files::make_dir(dir)?;

    let trainable = policy.trainable();
    let mut optimizer = AdamW::new(policy.compute(), &trainable, config)?;
    let checkpoints =
        Checkpoints { dir: dir.to_owned(), keep: config.save_total_limit, identity: identity(objective, config, seed) };
    let (mut state, history) = checkpoints.resume(&trainable, &mut optimizer)?.unwrap_or_default();
    policy.weights_changed();
    let places = TrainLayout::new(dir);
    let mut metrics = MetricsWriter::open(&places.metrics(), &places.timing(), history, state.tokens)?;
    let mut progress = Progress::new(objective.name(), state.step, plan.total_steps);

    while state.step < plan.total_steps {
        let rows = plan.rows(state.step);
        let place = place(collective, state.step + 1);
        let part = gradients(policy, objective, &plan, &trainable, &rows, &mut state).map_err(|e| e.at(&place));
        let step = collective.sum(part)?;
        state.means.add(column::LOSS, step.loss);
        let norm = optimizer::norm(policy.compute(), &step.gradients)
            .map_err(|e| diverged(e).at(format!("{place}, {}", listed(&rows))))?;
        let learning_rate = lr::learning_rate(config, state.step, plan.total_steps);
        let scale = optimizer::clip(norm, config.max_grad_norm);
        optimizer.step(state.step + 1, &step.gradients, learning_rate, scale)?;
        policy.weights_changed();
        state.step += 1;

        let every = |steps: u64| steps > 0 && state.step.is_multiple_of(steps);
        let last = state.step == plan.total_steps;
        progress.advance(1, &note(step.loss, &state.means));
        if last || every(config.logging_steps) {
            let epoch = plan.epochs(state.step);
            let facts = StepFacts { step: state.step, epoch, learning_rate, grad_norm: norm, tokens: state.tokens };
            metrics.push(facts, std::mem::take(&mut state.means).values())?;
        }
        let save_steps = if config.save_steps > 0 { config.save_steps } else { plan.steps_per_epoch };
        let stop = collective.agree(interrupt::requested())?;
        if last || every(save_steps) || stop {
            checkpoints.save(&state, metrics.text(), &trainable, &optimizer)?;
        }
        if stop && !last {
            return Err(interrupt::stopped());
        }
    }
    progress.finish("");
    metrics.finish()
}

/// Sums the passes of a step, each as large as the activations' memory allows. Rows that count for nothing are in its
/// denominators but in no pass.
fn gradients(
    policy: &Policy,
    objective: &dyn Objective,
    plan: &Plan,
    trainable: &[Trainable],
    rows: &[usize],
    state: &mut State,
) -> Result<StepGradients> {
    let store = objective.rows();
    let weights = objective.weigh(state.step, plan.total_steps, rows, &mut state.means)?;
    let tokens: usize = rows.iter().map(|&row| store.get(row, 1).len()).sum();
    let of = Denominators { rows: rows.len() as f64, tokens: tokens as f64 };
    let weighted: Vec<_> = rows.iter().copied().zip(weights).filter(|(_, weight)| objective.counts(*weight)).collect();

    let mut sum = StepGradients { loss: 0.0, gradients: Gradients::new() };
    for rows in cut(&weighted, policy.pass_tokens(), |(row, _)| row_tokens(store, *row)) {
        let pass = Pass::new(store, rows.iter().map(|(row, _)| *row));
        let completions = store.columns() - 1;
        let loss_gradient = |logps: &[f32]| {
            let sums = pass.sums(logps);
            let mut derivatives = Vec::with_capacity(sums.len());
            let sequences = sums.chunks(completions).zip(pass.lengths().chunks(completions));
            for (&(row, weight), (logps, tokens)) in rows.iter().zip(sequences) {
                let (loss, d) = objective.value(row, weight, logps, tokens, of, &mut state.means);
                if !(loss.is_finite() && logps.iter().all(|l| l.is_finite())) {
                    let what = format!("row {row}: log-probabilities {logps:?} give a loss of {loss}");
                    return Err(diverged(Error::new(Code::TrainNonFinite, what)));
                }
                sum.loss += loss;
                derivatives.extend_from_slice(&d[..completions]);
            }
            Ok(pass.spread(&derivatives))
        };
        policy.backward(&pass.pack, &pass.targets, loss_gradient, &mut sum.gradients)?;
        state.tokens += pass.pack.len() as u64;
    }
    if weighted.is_empty() {
        // The optimizer's momentum goes on all the same, as it does where a big batch happens to have no gradient.
        for t in trainable {
            sum.gradients.insert(t.name.clone(), t.var.zeros_like()?);
        }
    }
    Ok(sum)
}

/// What decides the result; how often checkpoints are written does not, nor how many rounds follow.
fn identity(objective: &dyn Objective, config: &TrainConfig, seed: u64) -> Identity {
    let config = TrainConfig { save_steps: 0, save_total_limit: 0, ..config.clone() };
    let text = serde_json::json!({"seed": seed, "config": config}).to_string();
    Identity { config: files::sha256(text.as_bytes()), data: objective.data_hash() }
}

/// Finds rows the model cannot take before hours are spent on those before them.
fn check_rows(policy: &Policy, rows: &TokenStore) -> Result<()> {
    let (vocab, longest) = (policy.vocab_size(), policy.max_positions());
    for row in 0..rows.len() {
        let completion = (1..rows.columns()).map(|c| rows.get(row, c).len()).max().unwrap_or(0);
        let tokens = rows.get(row, 0).len() + completion;
        if tokens > longest {
            let what = format!("row {row} has {tokens} tokens, the model takes {longest}");
            return Err(Error::new(Code::TrainRow, what).hint("lower data.max_length"));
        }
        let ids = (0..rows.columns()).flat_map(|c| rows.get(row, c));
        if let Some(id) = ids.copied().find(|&id| id as usize >= vocab) {
            let what = format!("row {row} has token {id}, the model knows {vocab} tokens");
            return Err(Error::new(Code::TrainRow, what).hint("use the tokenizer that belongs to the model"));
        }
    }
    Ok(())
}

fn row_tokens(rows: &TokenStore, row: usize) -> usize {
    (0..rows.columns()).map(|c| rows.get(row, c).len()).sum()
}

fn diverged(e: Error) -> Error {
    e.hint("training diverged: lower learning_rate or raise beta; the newest checkpoint is from before")
}

/// A step (from 1) for a message, and where there are several ranks the one that speaks.
fn place(collective: &dyn Collective, step: u64) -> String {
    match collective.size() {
        1 => format!("step {step}"),
        size => format!("rank {} of {size}, step {step}", collective.rank()),
    }
}

/// Rows for a message, the first of many.
fn listed(rows: &[usize]) -> String {
    let first: Vec<String> = rows.iter().take(8).map(ToString::to_string).collect();
    format!("rows {}{}", first.join(", "), if rows.len() > 8 { ", ..." } else { "" })
}

/// What the progress shows.
fn note(loss: f64, means: &StepMeans) -> String {
    match means.mean(column::REWARD_MARGIN) {
        Some(margin) => format!("loss {loss:.4}, margin {margin:.3}"),
        None => format!("loss {loss:.4}"),
    }
}

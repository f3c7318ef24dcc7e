//! A run's scalars for TensorBoard: `tensorboard/` in the run directory, a file for each round, so that one that is
//! being watched grows.
//!
//! Steps count over all rounds; a round's evaluation and diagnostics stand at its last step. Times are the training's
//! own seconds, as recorded, from the run's first step on.

use super::{
    run::{Round, Run},
    tfevents::Events,
};
use crate::{
    Result, files,
    rundir::{Layout, column},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Writes the files of all rounds that have something to show.
pub fn write(run_dir: &Path, run: &Run) -> Result<()> {
    let dir = Layout::new(run_dir).tensorboard();
    files::make_dir(&dir)?;
    let (mut step, mut seconds) = (0, 0.0);
    for n in run.rounds.keys().chain(run.evals.keys()).collect::<BTreeSet<_>>() {
        let mut events = Events::new();
        if let Some(round) = run.rounds.get(n) {
            training(&mut events, round, &mut step, &mut seconds);
        }
        let figures = run.evals.get(n).map(|e| {
            [
                ("eval/sampled_accuracy", e.sampled_accuracy),
                ("eval/greedy_accuracy", e.greedy_accuracy),
                ("eval/nll", e.nll),
            ]
        });
        let signs = run.rounds.get(n).into_iter().flat_map(|round| &round.diagnoses);
        let signs = signs.filter_map(|d| Some((format!("diagnostics/{}", d.sign.name()), d.figure?)));
        let signs: Vec<_> = signs.collect();
        let signs = signs.iter().map(|(name, figure)| (name.as_str(), *figure));
        let scalars = figures.into_iter().flatten().chain(signs).filter(|(_, value)| value.is_finite());
        events.add(seconds, step, scalars);
        files::write(&dir.join(format!("events.out.tfevents.{n:010}.ldalign")), &events.finish())?;
    }
    Ok(())
}

/// Adds the lines of a round's metrics and moves step and seconds to its end.
fn training(events: &mut Events, round: &Round, step: &mut u64, seconds: &mut f64) {
    let Some(steps) = round.metrics.get(column::STEP) else { return };
    let names: Vec<(String, &Vec<f64>)> = round
        .metrics
        .iter()
        .filter(|(name, _)| *name != column::STEP)
        .map(|(name, values)| (format!("train/{name}"), values))
        .collect();
    let times: BTreeMap<u64, f64> = round.train_timing.iter().map(|t| (t.step, t.seconds)).collect();
    let before = *step;
    for (line, at) in steps.iter().enumerate() {
        *step = before + *at as u64;
        *seconds += times.get(&(*at as u64)).copied().unwrap_or_default();
        let scalars = names.iter().map(|(name, values)| (name.as_str(), values[line]));
        events.add(*seconds, *step, scalars.filter(|(_, value)| value.is_finite()));
    }
}

//! Ways of training (arms) from one start, on the same rows, over several seeds: what each comes to and what their
//! differences are worth.
//!
//! [`config`] says what is compared. Every arm with every seed is an ordinary run in a directory of its own, made by
//! [`crate::pipeline`], so that what is finished is never done again. [`measure`] puts together what came of them:
//! [`metric`], [`nearness`] and [`cost`] measure a run, [`figures`] has means, differences and their intervals,
//! [`verdict`] the sentence. [`table`] and [`page`] show it.

mod config;
mod cost;
mod figures;
mod measure;
mod metric;
mod nearness;
mod page;
mod table;
mod verdict;

pub use crate::stats::bootstrap::Figure;
pub use config::{Arm, ArmConfig, CompareConfig, Method, Nearness, Plan};
pub use cost::Cost;
pub use metric::Metric;

use crate::{
    Code, Error, Result,
    config::RunConfig,
    data::Dataset,
    files::{self, Claim},
    pipeline, report, rundir, train,
};
use measure::Measurements;
use serde::Serialize;
use std::{collections::BTreeMap, path::PathBuf};

/// What `compare.json` says.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// Version of the host.
    pub ldalign: String,
    /// Seeds asked for.
    pub seeds: Vec<u64>,
    /// Held-out rows.
    pub rows: usize,
    /// The arm that the others are held against.
    pub reference: String,
    /// Encoder and distance of [`Metric::NearerThanStart`].
    pub nearness: [String; 2],
    /// Resamples behind each interval.
    pub draws: u64,
    /// Probability that an interval covers.
    pub level: f64,
    /// The model that all arms start from.
    pub start: BTreeMap<Metric, Figure>,
    /// In the config's order.
    pub arms: Vec<Outcomes>,
    /// In words.
    pub verdict: String,
}

/// What came of an arm.
#[derive(Debug, Clone, Serialize)]
pub struct Outcomes {
    /// Its name.
    pub name: String,
    /// What it does.
    pub note: String,
    /// What trained.
    pub method: Method,
    /// Rows that it trains on in all: rounds x steps x rows.
    pub budget: [u64; 3],
    /// One for each seed, finished or not.
    pub runs: Vec<RunOutcome>,
    /// Means over the finished runs.
    pub figures: BTreeMap<Metric, Figure>,
    /// Mean over the finished runs; None where there is none.
    pub cost: Option<Cost>,
    /// Their differences from the reference, over the seeds that both have finished.
    pub differences: BTreeMap<Metric, Figure>,
    /// Means over the finished runs of what the evaluations say: by round, from 0.
    #[serde(skip)]
    rounds: Vec<[f64; 3]>,
    /// Means over the finished runs of loss and reward margin, by line of the metrics over all rounds.
    #[serde(skip)]
    curves: [Vec<(f64, f64)>; 2],
}

/// A run of an arm.
#[derive(Debug, Clone, Serialize)]
pub struct RunOutcome {
    /// Its seed.
    pub seed: u64,
    /// Its directory in the comparison's.
    pub directory: String,
    /// Why it has come to no end.
    pub failure: Option<String>,
    /// Its figures.
    pub figures: BTreeMap<Metric, f64>,
    /// What it has cost; None where it has come to no end.
    pub cost: Option<Cost>,
}

impl Comparison {
    /// The figures as a table for a terminal, with the verdict.
    pub fn text(&self) -> String {
        table::text(self)
    }

    /// Runs that have failed, as `ARM/seed-N: why`.
    pub fn failures(&self) -> Vec<String> {
        let runs = self.arms.iter().flat_map(|arm| &arm.runs);
        runs.filter_map(|run| Some(format!("{}: {}", run.directory, run.failure.as_ref()?))).collect()
    }
}

/// Makes the runs that are not there yet, measures all, and writes `compare.json` and `report.html` with this title and
/// lead.
///
/// A run that fails is named in the result and does not keep the others from being made.
///
/// # Errors
/// What plugins and data of the configs can fail with before the first run; an interruption; files that cannot be
/// written.
pub fn compare(plan: &Plan, title: &str, lead: &str) -> Result<Comparison> {
    let writes = |name: &str| ["compare.json", "report.html"].contains(&name);
    let reads: Vec<_> = plan.configs().flat_map(rundir::reads).collect();
    Claim { directory: &plan.output_dir, mark: "compare.json", writes: &writes, reads: &reads }.check()?;
    let nearness = nearness::Plugins::new(plan)?;
    let mut budgets = Vec::new();
    for arm in &plan.arms {
        let place = format!("arm {}", arm.name);
        if arm.method == Method::Run {
            pipeline::plugins(&arm.config).map_err(|e| e.at(&place))?;
        }
        budgets.push(budget(&arm.config).map_err(|e| e.at(&place))?);
    }
    files::make_dir(&plan.output_dir)?;
    let _lock = files::hold_directory(&plan.output_dir)?;
    files::sweep(&plan.output_dir, &[])?;
    let mut runs = make_runs(plan)?;
    let names = nearness.names();
    let mut seen = Measurements::new(plan, &nearness);
    for (arm, runs) in plan.arms.iter().zip(&mut runs) {
        for run in runs.iter_mut().filter(|run| run.failure.is_none()) {
            seen.measure(arm, run).map_err(|e| e.at(&run.directory))?;
        }
    }
    let comparison = seen.finish(runs, budgets, names)?;
    files::write_json(&plan.output_dir.join("compare.json"), &comparison)?;
    let page = page::html(&comparison, title, lead);
    files::write(&page_path(plan), page.as_bytes())?;
    Ok(comparison)
}

/// Rounds, steps of a round and rows of a step.
fn budget(config: &RunConfig) -> Result<[u64; 3]> {
    let rows = Dataset::open(&config.data)?.len();
    let train = &config.train;
    let step = train.per_device_train_batch_size * train.gradient_accumulation_steps;
    Ok([config.rounds, train::total_steps(rows, train)?, step as u64])
}

/// Makes every run, or goes on with it: all arms with one seed, then with the next.
fn make_runs(plan: &Plan) -> Result<Vec<Vec<RunOutcome>>> {
    let mut runs: Vec<Vec<RunOutcome>> = plan.arms.iter().map(|_| vec![]).collect();
    let all = plan.arms.len() * plan.seeds.len();
    let mut number = 0;
    for &seed in &plan.seeds {
        // Finished runs with this seed, which what follows has some work in common with.
        let mut beside = Vec::new();
        for (arm, runs) in plan.arms.iter().zip(&mut runs) {
            number += 1;
            let directory = config::directory(&arm.name, seed);
            tracing::info!("{directory}: run {number} of {all}");
            let config = plan.run(arm, seed);
            let failure = match make_run(arm.method, &config, &beside) {
                Ok(()) => {
                    beside.push(config);
                    None
                }
                Err(e) if e.code() == Code::RunInterrupted => return Err(e.at(directory)),
                Err(e) => {
                    tracing::error!("{directory} has failed: {e:#}");
                    Some(format!("{e:#}"))
                }
            };
            runs.push(RunOutcome { seed, directory, failure, figures: BTreeMap::new(), cost: None });
        }
    }
    Ok(runs)
}

fn make_run(method: Method, config: &RunConfig, beside: &[RunConfig]) -> Result<()> {
    match method {
        Method::Run => pipeline::run_beside(config.clone(), beside, None, &report::refresh).map(drop),
        Method::Sft => report::write(&pipeline::sft_rounds(config, beside)?).map(drop),
    }
}

/// What is said where some runs have failed.
pub fn failed(comparison: &Comparison) -> Option<Error> {
    let failures = comparison.failures();
    let all: usize = comparison.arms.iter().map(|arm| arm.runs.len()).sum();
    let message = format!("{} of {all} runs have failed\n  {}", failures.len(), failures.join("\n  "));
    let hint = "mend the cause and run the same command again: what is finished is kept";
    (!failures.is_empty()).then(|| Error::new(Code::CompareFailed, message).hint(hint))
}

/// Where the page of a comparison is.
pub fn page_path(plan: &Plan) -> PathBuf {
    plan.output_dir.join("report.html")
}

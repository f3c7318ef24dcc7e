//! Ways of training (arms) from one start, on the same rows, over several seeds: what each comes to and what their differences are worth.
//!
//! [`config`] says what is compared. Every arm with every seed is an ordinary run in a directory of its own, made by [`crate::pipeline`], so
//! that what is finished is never done again. [`metric`] and [`nearness`] measure the runs, [`figures`] has means, differences and their
//! intervals, [`verdict`] the sentence, [`table`] and [`page`] show it.

mod config;
mod figures;
mod metric;
mod nearness;
mod page;
mod table;
mod verdict;

pub use crate::stats::bootstrap::Figure;
pub use config::{Arm, ArmConfig, CompareConfig, Method, Nearness, Plan};
pub use metric::Metric;

use crate::{
    Error, Result,
    config::RunConfig,
    data::Dataset,
    files, interrupt,
    pipeline::{self, Evaluation, Outcome},
    report,
    stats::bootstrap::{DRAWS, LEVEL},
    train,
};
use metric::{Measured, Step};
use nearness::Yardstick;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

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
    /// Their differences from the reference, over the seeds that both have finished.
    pub differences: BTreeMap<Metric, Figure>,
    /// Means over the finished runs of what the evaluations say: by round, from 0.
    #[serde(skip)]
    rounds: Vec<[f64; 3]>,
    /// Means over the finished runs of loss and reward margin, by step over all rounds.
    #[serde(skip)]
    steps: [Vec<(f64, f64)>; 2],
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

/// Makes the runs that are not there yet, measures all, and writes `compare.json` and `report.html` with this title and lead.
///
/// A run that fails is named in the result and does not keep the others from being made.
///
/// # Errors
/// What plugins and data of the configs can fail with before the first run; an interruption; files that cannot be written.
pub fn compare(plan: &Plan, title: &str, lead: &str) -> Result<Comparison> {
    let nearness = nearness::Nearness::new(plan)?;
    let mut budgets = Vec::new();
    for arm in &plan.arms {
        let place = format!("arm {}", arm.name);
        if arm.method == Method::Run {
            pipeline::plugins(&arm.config).map_err(|e| e.at(&place))?;
        }
        budgets.push(budget(&arm.config).map_err(|e| e.at(&place))?);
    }
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
    files::write(&plan.output_dir.join("report.html"), page.as_bytes())?;
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
        for (arm, runs) in plan.arms.iter().zip(&mut runs) {
            number += 1;
            let directory = config::directory(&arm.name, seed);
            tracing::info!("{directory}: run {number} of {all}");
            let failure = match make_run(arm.method, plan.run(arm, seed)) {
                Ok(()) => None,
                Err(e) if e.code() == interrupt::CODE => return Err(e.at(directory)),
                Err(e) => {
                    tracing::error!("{directory} has failed: {e}");
                    Some(e.to_string())
                }
            };
            runs.push(RunOutcome { seed, directory, failure, figures: BTreeMap::new() });
        }
    }
    Ok(runs)
}

fn make_run(method: Method, config: RunConfig) -> Result<()> {
    match method {
        Method::Run => pipeline::run(config, None).map(drop),
        Method::Sft => report::write(&pipeline::sft_rounds(&config)?).map(drop),
    }
}

/// What is known of the runs so far.
struct Measurements<'a> {
    plan: &'a Plan,
    nearness: &'a nearness::Nearness,
    yardstick: Option<Yardstick>,
    /// By seed: the starting model's figures, and its distances.
    starts: BTreeMap<u64, (Measured, Vec<Option<f32>>)>,
    /// By arm and seed.
    runs: BTreeMap<(&'a str, u64), Measured>,
    rounds: BTreeMap<&'a str, Vec<Vec<[f64; 3]>>>,
    steps: BTreeMap<&'a str, Vec<Vec<Step>>>,
}

impl<'a> Measurements<'a> {
    fn new(plan: &'a Plan, nearness: &'a nearness::Nearness) -> Self {
        let (starts, runs) = (BTreeMap::new(), BTreeMap::new());
        Self { plan, nearness, yardstick: None, starts, runs, rounds: BTreeMap::new(), steps: BTreeMap::new() }
    }

    /// Reads what a finished run wrote.
    fn measure(&mut self, arm: &'a Arm, run: &mut RunOutcome) -> Result<()> {
        interrupt::check()?;
        let (dir, last) = (self.plan.output_dir.join(&run.directory), arm.config.rounds);
        if !self.starts.contains_key(&run.seed) {
            // The same for all arms: they have model, rows and seed in common.
            let start = outcomes(&dir, 0)?;
            if self.yardstick.is_none() {
                self.yardstick = Some(self.nearness.open(self.plan, &start)?);
            }
            let distances = self.distances(&start, &format!("start {}", run.seed))?;
            let measured = Measured::of(&start, [&distances, &distances], None);
            self.starts.insert(run.seed, (measured, distances));
        }
        let end = outcomes(&dir, last)?;
        let distances = self.distances(&end, &run.directory)?;
        let steps = (1..=last).map(|round| Step::read(&dir, round)).collect::<Result<Vec<_>>>()?;
        let rewards = steps.last().and_then(|steps| metric::rewards(steps));
        let measured = Measured::of(&end, [&distances, &self.starts[&run.seed].1], rewards);
        let figure = |metric| Some((metric, measured.parts(metric).figure()?));
        run.figures = Metric::ALL.into_iter().filter_map(figure).collect();
        self.runs.insert((&arm.name, run.seed), measured);
        let rounds = (0..=last).map(|round| {
            let of: Evaluation = files::read_json(&dir.join(format!("eval-{round}.json")))?;
            Ok([of.sampled_accuracy, of.greedy_accuracy, of.nll])
        });
        self.rounds.entry(&arm.name).or_default().push(rounds.collect::<Result<_>>()?);
        self.steps.entry(&arm.name).or_default().push(steps.concat());
        Ok(())
    }

    fn distances(&self, outcomes: &[Outcome], name: &str) -> Result<Vec<Option<f32>>> {
        self.yardstick.as_ref().map_or(Ok(vec![]), |yardstick| yardstick.distances(outcomes, name))
    }

    /// Means, differences and the verdict.
    fn finish(self, runs: Vec<Vec<RunOutcome>>, budgets: Vec<[u64; 3]>, nearness: [String; 2]) -> Result<Comparison> {
        if let Some(yardstick) = self.yardstick {
            yardstick.close()?;
        }
        let plan = self.plan;
        let (reference, seed) = (&plan.arms[plan.reference].name, plan.base.seed);
        let of = |arm: &'a str, at: &u64| self.runs.get(&(arm, *at));
        let starts: Vec<&Measured> = self.starts.values().map(|(measured, _)| measured).collect();
        let mut arms = Vec::new();
        for ((arm, runs), budget) in plan.arms.iter().zip(runs).zip(budgets) {
            let finished: Vec<&Measured> = plan.seeds.iter().filter_map(|at| of(&arm.name, at)).collect();
            let pairs = plan.seeds.iter().filter_map(|at| Some((of(&arm.name, at)?, of(reference, at)?)));
            let pairs: Vec<(&Measured, &Measured)> = if arm.name == *reference { vec![] } else { pairs.collect() };
            let steps = self.steps.get(arm.name.as_str()).map_or(&[][..], Vec::as_slice);
            arms.push(Outcomes {
                name: arm.name.clone(),
                note: arm.note.clone(),
                method: arm.method,
                budget,
                runs,
                figures: by_metric(|metric| {
                    figures::figure(&finished.iter().map(|run| run.parts(metric)).collect::<Vec<_>>(), seed)
                }),
                differences: by_metric(|metric| {
                    let parts = pairs.iter().map(|(run, other)| (run.parts(metric), other.parts(metric)));
                    figures::difference(&parts.collect::<Vec<_>>(), seed)
                }),
                rounds: means(self.rounds.get(arm.name.as_str()).map_or(&[][..], Vec::as_slice)),
                steps: [curve(steps, |step| Some(step.loss)), curve(steps, Step::margin)],
            });
        }
        let start = |metric: Metric| figures::figure(&starts.iter().map(|s| s.parts(metric)).collect::<Vec<_>>(), seed);
        let mut comparison = Comparison {
            ldalign: env!("CARGO_PKG_VERSION").into(),
            seeds: plan.seeds.clone(),
            rows: starts.first().map_or(0, |start| start.parts(Metric::SampledAccuracy).0.len()),
            reference: reference.clone(),
            nearness,
            draws: DRAWS,
            level: LEVEL,
            start: by_metric(start),
            arms,
            verdict: String::new(),
        };
        comparison.verdict = verdict::verdict(&comparison);
        Ok(comparison)
    }
}

/// The figures that are defined.
fn by_metric(of: impl Fn(Metric) -> Figure) -> BTreeMap<Metric, Figure> {
    Metric::ALL.into_iter().map(|metric| (metric, of(metric))).filter(|(_, figure)| figure.value.is_some()).collect()
}

/// What came of each held-out row after a round.
fn outcomes(run: &Path, round: u64) -> Result<Vec<Outcome>> {
    files::read_lines(&run.join(format!("eval-{round}.jsonl")))?.collect()
}

/// Means over runs, place by place.
fn means(runs: &[Vec<[f64; 3]>]) -> Vec<[f64; 3]> {
    let places = runs.iter().map(Vec::len).min().unwrap_or(0);
    let mean = |at: usize, of: usize| runs.iter().map(|run| run[at][of]).sum::<f64>() / runs.len() as f64;
    (0..places).map(|at| std::array::from_fn(|of| mean(at, of))).collect()
}

/// Mean over runs of what lines of metrics say, by line from 1; nothing where no line says it.
fn curve(runs: &[Vec<Step>], of: impl Fn(&Step) -> Option<f64>) -> Vec<(f64, f64)> {
    let lines = runs.iter().map(Vec::len).min().unwrap_or(0);
    let point = |at: usize| {
        let sum = runs.iter().map(|run| of(&run[at])).sum::<Option<f64>>()?;
        Some((at as f64 + 1.0, sum / runs.len() as f64))
    };
    (0..lines).filter_map(point).collect()
}

/// What is said where some runs have failed.
pub fn failed(comparison: &Comparison) -> Option<Error> {
    let failures = comparison.failures();
    let all: usize = comparison.arms.iter().map(|arm| arm.runs.len()).sum();
    let message = format!("{} of {all} runs have failed\n  {}", failures.len(), failures.join("\n  "));
    let hint = "mend the cause and run the same command again: what is finished is kept";
    (!failures.is_empty()).then(|| Error::new("compare/failed", message).hint(hint))
}

/// Where the page of a comparison is.
pub fn page_path(plan: &Plan) -> PathBuf {
    plan.output_dir.join("report.html")
}

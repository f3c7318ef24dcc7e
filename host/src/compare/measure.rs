//! What a comparison's runs have come to: read from their files, measured, and put together.

use super::{
    Arm, Comparison, Cost, Figure, Metric, Outcomes, Plan, RunOutcome, figures,
    metric::{self, Measured},
    nearness::{Plugins, Yardstick},
    verdict,
};
use crate::{
    Result, interrupt,
    rundir::{Layout, MetricsLine, Outcome, column},
    stats::bootstrap::{DRAWS, LEVEL},
};
use std::collections::BTreeMap;

/// What is known of the runs so far.
pub struct Measurements<'a> {
    plan: &'a Plan,
    nearness: &'a Plugins,
    yardstick: Option<Yardstick>,
    /// By seed: the starting model's figures, and its distances.
    starts: BTreeMap<u64, (Measured, Vec<Option<f32>>)>,
    /// By arm and seed.
    runs: BTreeMap<(&'a str, u64), Measured>,
    rounds: BTreeMap<&'a str, Vec<Vec<[f64; 3]>>>,
    metrics: BTreeMap<&'a str, Vec<Vec<MetricsLine>>>,
}

impl<'a> Measurements<'a> {
    /// Of no run yet.
    pub fn new(plan: &'a Plan, nearness: &'a Plugins) -> Self {
        let (starts, runs) = (BTreeMap::new(), BTreeMap::new());
        Self { plan, nearness, yardstick: None, starts, runs, rounds: BTreeMap::new(), metrics: BTreeMap::new() }
    }

    /// Reads what a finished run wrote.
    pub fn measure(&mut self, arm: &'a Arm, run: &mut RunOutcome) -> Result<()> {
        interrupt::check()?;
        let (dir, last) = (Layout::new(&self.plan.output_dir.join(&run.directory)), arm.config.rounds);
        if !self.starts.contains_key(&run.seed) {
            // The same for all arms: they have model, rows and seed in common.
            let start = dir.outcomes(0).lines()?.collect::<Result<Vec<_>>>()?;
            if self.yardstick.is_none() {
                self.yardstick = Some(self.nearness.open(self.plan, &start)?);
            }
            let distances = self.distances(&start, &format!("start {}", run.seed))?;
            let measured = Measured::of(&start, [&distances, &distances], None);
            self.starts.insert(run.seed, (measured, distances));
        }
        let end = dir.outcomes(last).lines()?.collect::<Result<Vec<_>>>()?;
        let distances = self.distances(&end, &run.directory)?;
        let lines = |round| dir.round(round).train().metrics().lines()?.collect();
        let metrics = (1..=last).map(lines).collect::<Result<Vec<Vec<MetricsLine>>>>()?;
        let rewards = metrics.last().and_then(|lines| metric::rewards(lines));
        let measured = Measured::of(&end, [&distances, &self.starts[&run.seed].1], rewards);
        let figure = |metric| Some((metric, measured.parts(metric).figure()?));
        run.cost = Some(Cost::of(&dir, last)?);
        run.figures = Metric::ALL.into_iter().filter_map(figure).collect();
        self.runs.insert((&arm.name, run.seed), measured);
        let measured = |round| arm.config.eval.as_ref().is_none_or(|eval| eval.measures(round, last));
        let rounds = (0..=last).map(|round| {
            if !measured(round) {
                return Ok([f64::NAN; 3]);
            }
            let of = dir.eval(round).read()?;
            Ok([of.sampled_accuracy, of.greedy_accuracy, of.nll])
        });
        self.rounds.entry(&arm.name).or_default().push(rounds.collect::<Result<_>>()?);
        self.metrics.entry(&arm.name).or_default().push(metrics.concat());
        Ok(())
    }

    fn distances(&self, outcomes: &[Outcome], name: &str) -> Result<Vec<Option<f32>>> {
        self.yardstick.as_ref().map_or(Ok(vec![]), |yardstick| yardstick.distances(outcomes, name))
    }

    /// Means, differences and the verdict.
    pub fn finish(
        self,
        runs: Vec<Vec<RunOutcome>>,
        budgets: Vec<[u64; 3]>,
        nearness: [String; 2],
    ) -> Result<Comparison> {
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
            let metrics = self.metrics.get(arm.name.as_str()).map_or(&[][..], Vec::as_slice);
            arms.push(Outcomes {
                name: arm.name.clone(),
                note: arm.note.clone(),
                method: arm.method,
                budget,
                cost: Cost::mean(&runs.iter().filter_map(|run| run.cost).collect::<Vec<_>>()),
                runs,
                figures: by_metric(|metric| {
                    figures::figure(&finished.iter().map(|run| run.parts(metric)).collect::<Vec<_>>(), seed)
                }),
                differences: by_metric(|metric| {
                    let parts = pairs.iter().map(|(run, other)| (run.parts(metric), other.parts(metric)));
                    figures::difference(&parts.collect::<Vec<_>>(), seed)
                }),
                rounds: means(self.rounds.get(arm.name.as_str()).map_or(&[][..], Vec::as_slice)),
                curves: [column::LOSS, column::REWARD_MARGIN].map(|column| curve(metrics, column)),
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

/// Means over runs, place by place.
fn means(runs: &[Vec<[f64; 3]>]) -> Vec<[f64; 3]> {
    let places = runs.iter().map(Vec::len).min().unwrap_or(0);
    let mean = |at: usize, of: usize| runs.iter().map(|run| run[at][of]).sum::<f64>() / runs.len() as f64;
    (0..places).map(|at| std::array::from_fn(|of| mean(at, of))).collect()
}

/// Mean over runs of a column of the metrics, by line from 1, without lines that some run has not.
fn curve(runs: &[Vec<MetricsLine>], column: &str) -> Vec<(f64, f64)> {
    let lines = runs.iter().map(Vec::len).min().unwrap_or(0);
    let point = |at: usize| {
        let sum = runs.iter().map(|run| run[at].get(column)).sum::<Option<f64>>()?;
        Some((at as f64 + 1.0, sum / runs.len() as f64))
    };
    (0..lines).filter_map(point).collect()
}

//! What training writes down: metrics.jsonl under TRL's names, equal to the byte between equal runs, and timing.jsonl, which
//! holds what the clock and the system say: seconds since the line before, tokens a second, bytes of memory held.
//!
//! A line covers the steps since the line before. `loss` is the mean of the steps' losses; `rewards/*`, `logps/*` and `nll_loss` are means
//! over the pairs that took part in passes; `weights/*` and `distances/mean` cover all pairs, those of weight 0 too, and `weights/ess` is the
//! effective sample size (sum w)^2 / sum w^2, in pairs; `learning_rate` and `grad_norm` (before clipping) are the last step's; `tokens` counts
//! all tokens that went through the policy since the start.

use crate::{
    Result,
    files::{Journal, make_dir},
    machine,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{path::Path, time::Instant};

/// Sums since the last line; part of a checkpoint, so that a line may straddle it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Name, sum, count: in order of first use.
    means: Vec<(String, f64, f64)>,
    weights: Option<Weights>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Weights {
    count: u64,
    sum: f64,
    squares: f64,
    min: f32,
    max: f32,
}

impl Window {
    /// Adds a value to a mean.
    pub fn add(&mut self, name: &str, value: f64) {
        self.add_many(name, value, 1.0);
    }

    /// Adds the sum of `count` values to a mean.
    pub fn add_many(&mut self, name: &str, sum: f64, count: f64) {
        match self.means.iter_mut().find(|(n, ..)| n == name) {
            Some((_, sums, counts)) => {
                *sums += sum;
                *counts += count;
            }
            None => self.means.push((name.to_owned(), sum, count)),
        }
    }

    /// Adds a pair's weight.
    pub fn add_weight(&mut self, weight: f32) {
        let w = f64::from(weight);
        let all = self.weights.get_or_insert(Weights { count: 0, sum: 0.0, squares: 0.0, min: weight, max: weight });
        all.count += 1;
        all.sum += w;
        all.squares += w * w;
        all.min = all.min.min(weight);
        all.max = all.max.max(weight);
    }

    /// The mean of a name so far.
    pub fn mean(&self, name: &str) -> Option<f64> {
        self.means.iter().find(|(n, ..)| n == name).map(|(_, sum, count)| sum / count)
    }

    fn write(&self, line: &mut Map<String, Value>) {
        for (name, sum, count) in &self.means {
            line.insert(name.clone(), json!(sum / count));
        }
        if let Some(w) = &self.weights {
            let ess = if w.squares > 0.0 { w.sum * w.sum / w.squares } else { 0.0 };
            line.insert("weights/mean".into(), json!(w.sum / w.count as f64));
            line.insert("weights/min".into(), json!(f64::from(w.min)));
            line.insert("weights/max".into(), json!(f64::from(w.max)));
            line.insert("weights/ess".into(), json!(ess));
        }
    }
}

/// What a step says of itself beside the window.
#[derive(Debug, Clone, Copy)]
pub struct StepFacts {
    /// Steps done.
    pub step: u64,
    /// Epochs done.
    pub epoch: f64,
    /// Rate of the last step.
    pub learning_rate: f64,
    /// Norm of the last step's gradient before clipping.
    pub grad_norm: f64,
    /// Tokens since the start.
    pub tokens: u64,
}

/// The two files, a line each at a time.
pub struct Metrics {
    metrics: Journal,
    timing: Journal,
    since: (Instant, u64),
}

impl Metrics {
    /// Opens the files in `dir` and cuts them back to the `lines` lines of the checkpoint gone on from.
    pub fn open(dir: &Path, lines: usize, tokens: u64) -> Result<Self> {
        make_dir(dir)?;
        let open = |name| -> Result<Journal> {
            let mut journal = Journal::open(&dir.join(name), |_| Ok(()))?;
            journal.truncate(lines)?;
            Ok(journal)
        };
        Ok(Self { metrics: open("metrics.jsonl")?, timing: open("timing.jsonl")?, since: (Instant::now(), tokens) })
    }

    /// Writes a line to each file.
    pub fn push(&mut self, facts: StepFacts, window: &Window) -> Result<()> {
        let mut line = Map::new();
        line.insert("step".into(), json!(facts.step));
        line.insert("epoch".into(), json!(facts.epoch));
        line.insert("learning_rate".into(), json!(facts.learning_rate));
        line.insert("grad_norm".into(), json!(facts.grad_norm));
        line.insert("tokens".into(), json!(facts.tokens));
        window.write(&mut line);
        self.metrics.push(&line)?;
        let seconds = self.since.0.elapsed().as_secs_f64();
        let rate = (facts.tokens - self.since.1) as f64 / seconds.max(1e-9);
        self.timing.push(&json!({
            "step": facts.step, "seconds": seconds, "tokens_per_second": rate, "resident_bytes": machine::resident(),
        }))?;
        self.since = (Instant::now(), facts.tokens);
        Ok(())
    }

    /// Makes all lines durable, before a checkpoint counts on them.
    pub fn sync(&self) -> Result<()> {
        self.metrics.sync()?;
        self.timing.sync()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_line_holds_means_weights_and_facts_in_a_fixed_order() {
        let dir = tempfile::tempdir().unwrap();
        let mut window = Window::default();
        for (x, w) in [(1.0, 0.5), (4.0, 1.5)] {
            window.add("loss", x);
            window.add_weight(w);
        }
        let window: Window = serde_json::from_str(&serde_json::to_string(&window).unwrap()).unwrap();
        let facts = StepFacts { step: 3, epoch: 0.25, learning_rate: 1e-6, grad_norm: 2.0, tokens: 64 };
        let mut metrics = Metrics::open(dir.path(), 0, 0).unwrap();
        metrics.push(facts, &window).unwrap();
        metrics.push(facts, &Window::default()).unwrap();
        let line = concat!(
            r#"{"step":3,"epoch":0.25,"learning_rate":1e-6,"grad_norm":2.0,"tokens":64,"loss":2.5,"#,
            r#""weights/mean":1.0,"weights/min":0.5,"weights/max":1.5,"weights/ess":1.6}"#
        );
        let text = std::fs::read_to_string(dir.path().join("metrics.jsonl")).unwrap();
        assert_eq!(text.lines().next().unwrap(), line);
        drop(Metrics::open(dir.path(), 1, 0).unwrap());
        for name in ["metrics.jsonl", "timing.jsonl"] {
            assert_eq!(std::fs::read_to_string(dir.path().join(name)).unwrap().lines().count(), 1);
        }
    }
}

//! What training writes down: metrics.jsonl under TRL's names, equal to the byte between equal runs, and timing.jsonl
//! beside it, which holds what the clock and the system say.
//!
//! A line covers the steps since the line before. Names of its columns are in [`column`]; which are there depends on
//! what was trained.

use super::LinesFile;
use crate::{
    Result,
    files::{self, Journal},
    machine,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{path::PathBuf, time::Instant};

/// Names of the columns of metrics.jsonl: TRL's, where it has one.
pub mod column {
    /// Steps done.
    pub const STEP: &str = "step";
    /// Epochs done.
    pub const EPOCH: &str = "epoch";
    /// Learning rate of the last step.
    pub const LEARNING_RATE: &str = "learning_rate";
    /// Norm of the last step's gradient, before clipping.
    pub const GRAD_NORM: &str = "grad_norm";
    /// All tokens that went through the policy since the start.
    pub const TOKENS: &str = "tokens";
    /// Mean of the steps' losses.
    pub const LOSS: &str = "loss";
    /// Mean implicit reward of the chosen responses, over the pairs that took part in passes; so are the other rewards
    /// and `logps`.
    pub const CHOSEN_REWARD: &str = "rewards/chosen";
    /// The same of the rejected responses.
    pub const REJECTED_REWARD: &str = "rewards/rejected";
    /// Share of those pairs whose chosen response has the higher reward.
    pub const REWARD_ACCURACY: &str = "rewards/accuracies";
    /// Mean of chosen less rejected reward.
    pub const REWARD_MARGIN: &str = "rewards/margins";
    /// Mean log-probability of the chosen responses, nats per response.
    pub const CHOSEN_LOGP: &str = "logps/chosen";
    /// The same of the rejected responses.
    pub const REJECTED_LOGP: &str = "logps/rejected";
    /// Negative log-likelihood of the chosen responses, nats per token.
    pub const NLL: &str = "nll_loss";
    /// Mean distance of all pairs, those of weight 0 too; so are the weights.
    pub const MEAN_DISTANCE: &str = "distances/mean";
    /// Mean weight.
    pub const MEAN_WEIGHT: &str = "weights/mean";
    /// Smallest weight.
    pub const MIN_WEIGHT: &str = "weights/min";
    /// Largest weight.
    pub const MAX_WEIGHT: &str = "weights/max";
    /// Effective sample size of the weights, (sum w)^2 / sum w^2, in pairs.
    pub const EFFECTIVE_PAIRS: &str = "weights/ess";
}

/// A line of metrics.jsonl: numbers by name, in the order in which they stand there. What is not finite is null.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MetricsLine(Map<String, Value>);

impl MetricsLine {
    /// A column's value; None where the line has none, or null.
    pub fn get(&self, column: &str) -> Option<f64> {
        self.0.get(column).and_then(Value::as_f64)
    }

    /// All columns, those of other versions too, with what [`get`](Self::get) says of them.
    pub fn columns(&self) -> impl Iterator<Item = (&str, Option<f64>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_f64()))
    }
}

/// A line of train/timing.jsonl, for the line of metrics.jsonl of the same step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepTimingLine {
    /// Steps done.
    pub step: u64,
    /// Wall-clock time since the line before, or since training began or went on.
    pub seconds: f64,
    /// Tokens that went through the policy in that time, a second.
    pub tokens_per_second: f64,
    /// Memory held, where the system says.
    pub resident_bytes: Option<u64>,
}

/// What training says of the steps since the last line, beside their means.
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

/// The two files, written a line each at a time.
pub struct MetricsWriter {
    metrics: Journal,
    timing: Journal,
    since: (Instant, u64),
    path: PathBuf,
    /// All lines of the metrics as they were written, whatever has become of the file.
    text: Vec<u8>,
}

impl MetricsWriter {
    /// Opens the files of a training for those who go on after `history`, the lines of a checkpoint's metrics, by which
    /// `tokens` had gone through the policy. The metrics become these lines, whatever is there; that they had been lost
    /// or changed is said.
    pub fn open(
        metrics: &LinesFile<MetricsLine>,
        timing: &LinesFile<StepTimingLine>,
        history: Vec<u8>,
        tokens: u64,
    ) -> Result<Self> {
        let found = if metrics.exists() { files::read(metrics.path())? } else { vec![] };
        if !found.starts_with(&history) {
            let path = metrics.path().display();
            tracing::warn!("{path} is missing or not what was written there; its lines are the checkpoint's again");
        }
        files::write(metrics.path(), &history)?;
        let mut timing = Journal::open(timing.path())?;
        timing.truncate(history.iter().filter(|b| **b == b'\n').count())?;
        let path = metrics.path().to_owned();
        Ok(Self { metrics: Journal::open(&path)?, timing, since: (Instant::now(), tokens), path, text: history })
    }

    /// All lines of metrics.jsonl.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Writes a line to each file: the facts, then the means by name.
    pub fn push(&mut self, facts: StepFacts, means: impl IntoIterator<Item = (String, f64)>) -> Result<()> {
        let facts_by_name = [
            (column::STEP, json!(facts.step)),
            (column::EPOCH, json!(facts.epoch)),
            (column::LEARNING_RATE, json!(facts.learning_rate)),
            (column::GRAD_NORM, json!(facts.grad_norm)),
            (column::TOKENS, json!(facts.tokens)),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        let means = means.into_iter().map(|(name, value)| (name, json!(value)));
        let line = self.metrics.push(&MetricsLine(facts_by_name.into_iter().chain(means).collect()))?;
        self.text.extend_from_slice(line.as_bytes());
        let seconds = self.since.0.elapsed().as_secs_f64();
        let tokens_per_second = (facts.tokens - self.since.1) as f64 / seconds.max(1e-9);
        let resident_bytes = machine::resident();
        self.timing.push(&StepTimingLine { step: facts.step, seconds, tokens_per_second, resident_bytes })?;
        self.since = (Instant::now(), facts.tokens);
        Ok(())
    }

    /// Makes all lines durable, at the end of the training: its record will vouch for what the file holds then. Where
    /// somebody has changed it meanwhile, it becomes what was written.
    pub fn finish(self) -> Result<()> {
        self.timing.sync()?;
        self.metrics.sync()?;
        if files::read(&self.path).is_ok_and(|found| found == self.text) {
            return Ok(());
        }
        tracing::warn!("{} was changed during the training; it is written anew", self.path.display());
        files::write(&self.path, &self.text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_line_holds_facts_and_means_in_their_order_and_is_read_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let (metrics, timing) =
            (LinesFile::new(dir.path().join("metrics.jsonl")), LinesFile::new(dir.path().join("timing.jsonl")));
        let facts = StepFacts { step: 3, epoch: 0.25, learning_rate: 1e-6, grad_norm: 2.0, tokens: 64 };
        let mut writer = MetricsWriter::open(&metrics, &timing, vec![], 0).unwrap();
        let means = [(column::LOSS, 2.5), ("b", f64::NAN), ("a", 1.0)].map(|(name, value)| (name.to_owned(), value));
        writer.push(facts, means).unwrap();
        writer.push(StepFacts { step: 4, ..facts }, []).unwrap();
        let line = concat!(
            r#"{"step":3,"epoch":0.25,"learning_rate":1e-6,"grad_norm":2.0,"tokens":64,"#,
            r#""loss":2.5,"b":null,"a":1.0}"#
        );
        let text = std::fs::read_to_string(metrics.path()).unwrap();
        assert_eq!(text.lines().next().unwrap(), line);
        let lines: Vec<MetricsLine> = metrics.lines().unwrap().collect::<Result<_>>().unwrap();
        let read = ["step", "loss", "b", "c"].map(|column| lines[0].get(column));
        assert_eq!(read, [Some(3.0), Some(2.5), None, None]);
        assert_eq!(lines[0].columns().last(), Some(("a", Some(1.0))));
        assert_eq!((lines[1].get(column::STEP), lines[1].get(column::LOSS)), (Some(4.0), None));
        assert_eq!(writer.text(), text.as_bytes());
        for found in [text.clone(), text.replace("2.5", "2.6"), format!("{text}{line}\n")] {
            let writer = MetricsWriter::open(&metrics, &timing, text.clone().into_bytes(), 0).unwrap();
            std::fs::write(metrics.path(), found).unwrap();
            writer.finish().unwrap();
            assert_eq!(std::fs::read_to_string(metrics.path()).unwrap(), text);
        }
        // Gone on from a checkpoint after the first line, whatever the file holds by then.
        let first = format!("{line}\n").into_bytes();
        for damaged in [text.clone(), text.replace("2.5", "2.6"), text[..9].to_owned(), String::new()] {
            std::fs::write(metrics.path(), damaged).unwrap();
            MetricsWriter::open(&metrics, &timing, first.clone(), 0).unwrap();
            assert_eq!(std::fs::read(metrics.path()).unwrap(), first);
        }
        let timing: Vec<_> = timing.lines().unwrap().collect::<Result<_>>().unwrap();
        assert_eq!(timing.iter().map(|line| line.step).collect::<Vec<_>>(), [3]);
    }
}

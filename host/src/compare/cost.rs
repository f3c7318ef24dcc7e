//! What runs have cost, so that arms can be held against each other at equal cost: tokens sampled and trained on, time.

use crate::{
    Result,
    rundir::{Layout, column},
};
use serde::Serialize;

/// Names of the columns.
pub const COLUMNS: [&str; 3] = ["sampled tokens", "trained tokens", "seconds"];

/// How to read them.
pub const EXPLANATION: &str = "Cost of a run, mean over an arm's runs, evaluation aside: tokens of its own responses, tokens that went \
     through the policy in training (prompts included), and seconds of its rounds' stages on this machine, of SFT of its training steps. \
     What runs with one seed have in common is done once and counts for each.";

/// What a run has cost, or the mean of several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Tokens of the model's own responses, their ends included, over all rounds.
    pub sampled_tokens: f64,
    /// Tokens that went through the policy in training, prompts included, over all rounds.
    pub trained_tokens: f64,
    /// Of all stages; of SFT, which has no others, of the training steps. Not written: it is never twice the same.
    #[serde(skip)]
    pub seconds: f64,
}

impl Cost {
    /// Of a finished run of so many rounds, as its files say.
    pub fn of(dir: &Layout, rounds: u64) -> Result<Self> {
        let mut cost = Self::default();
        for round in (1..=rounds).map(|round| dir.round(round)) {
            if round.generations().exists() {
                for line in round.generations().lines()? {
                    cost.sampled_tokens += line?.ids.len() as f64;
                }
            }
            let last = round.train().metrics().lines()?.last().transpose()?;
            cost.trained_tokens += last.and_then(|line| line.get(column::TOKENS)).unwrap_or(0.0);
            if round.timing().exists() {
                for line in round.timing().lines()? {
                    cost.seconds += line?.seconds.unwrap_or(0.0);
                }
            } else if round.train().timing().exists() {
                for line in round.train().timing().lines()? {
                    cost.seconds += line?.seconds;
                }
            }
        }
        Ok(cost)
    }

    /// The mean of some; None of none.
    pub fn mean(costs: &[Self]) -> Option<Self> {
        let mean = |of: fn(&Self) -> f64| costs.iter().map(of).sum::<f64>() / costs.len() as f64;
        (!costs.is_empty()).then(|| Self {
            sampled_tokens: mean(|cost| cost.sampled_tokens),
            trained_tokens: mean(|cost| cost.trained_tokens),
            seconds: mean(|cost| cost.seconds),
        })
    }

    /// The figures under [`COLUMNS`].
    pub fn cells(cost: Option<Self>) -> [String; 3] {
        match cost {
            Some(Self { sampled_tokens, trained_tokens, seconds }) => {
                [format!("{sampled_tokens:.0}"), format!("{trained_tokens:.0}"), format!("{seconds:.1}")]
            }
            None => COLUMNS.map(|_| "-".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn a_run_costs_what_its_files_say() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let generated = "{\"index\":0,\"ids\":[5,6,3],\"text\":\"\",\"stop\":\"stop\"}\n{\"index\":0,\"sample\":1,\"ids\":[5],\"text\":\"\",\"stop\":\"length\"}\n";
        write("round-1/generations.jsonl", generated);
        write("round-1/train/metrics.jsonl", "{\"step\":1,\"tokens\":40}\n{\"step\":2,\"tokens\":90}\n");
        write(
            "round-1/train/timing.jsonl",
            "{\"step\":1,\"seconds\":9.0,\"tokens_per_second\":1.0,\"resident_bytes\":1}\n",
        );
        let begun = "{\"stage\":\"generate\",\"seconds\":null,\"peak_bytes\":null}\n";
        write("round-1/timing.jsonl", &format!("{begun}{begun}{}", begun.replace("null,", "2.5,")));
        // Another round, of SFT: it samples nothing and has its training's clock alone.
        write("round-2/train/metrics.jsonl", "{\"step\":1,\"tokens\":10}\n");
        write(
            "round-2/train/timing.jsonl",
            "{\"step\":1,\"seconds\":0.5,\"tokens_per_second\":1.0,\"resident_bytes\":1}\n",
        );
        let cost = Cost::of(&Layout::new(dir.path()), 2).unwrap();
        assert_eq!(cost, Cost { sampled_tokens: 4.0, trained_tokens: 100.0, seconds: 3.0 });
        assert_eq!(Cost::mean(&[cost, Cost::default()]).map(|mean| mean.seconds), Some(1.5));
        assert_eq!(Cost::mean(&[]), None);
        assert_eq!(Cost::cells(Some(cost)), ["4", "100", "3.0"]);
    }
}

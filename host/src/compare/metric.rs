//! What is measured of a run, as parts that a bootstrap can resample, and how it is said.

use super::figures::Parts;
use crate::rundir::{MetricsLine, Outcome, column};
use serde::Serialize;

/// A figure of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Share of held-out rows whose sampled response is right.
    SampledAccuracy,
    /// Share of held-out rows whose greedy response is right.
    GreedyAccuracy,
    /// Negative log-likelihood of the held-out rows' chosen responses, nats per token.
    HeldOutNll,
    /// Share of held-out rows whose sampled response lies nearer to the chosen one than the starting model's, equal
    /// distances counting half.
    NearerThanStart,
    /// Mean tokens of a sampled response, its end included.
    ResponseTokens,
    /// Implicit reward of chosen less rejected responses, over the last quarter of the last round's steps.
    RewardMargin,
    /// Share of those pairs in which the chosen response has the higher implicit reward.
    RewardAccuracy,
}

impl Metric {
    /// All, in the order of tables.
    pub const ALL: [Self; 7] = [
        Self::SampledAccuracy,
        Self::GreedyAccuracy,
        Self::HeldOutNll,
        Self::NearerThanStart,
        Self::ResponseTokens,
        Self::RewardMargin,
        Self::RewardAccuracy,
    ];

    /// As it stands in a table's head.
    pub fn name(self) -> &'static str {
        match self {
            Self::SampledAccuracy => "sampled accuracy",
            Self::GreedyAccuracy => "greedy accuracy",
            Self::HeldOutNll => "held-out NLL",
            Self::NearerThanStart => "nearer than start",
            Self::ResponseTokens => "response tokens",
            Self::RewardMargin => "reward margin",
            Self::RewardAccuracy => "reward accuracy",
        }
    }

    /// How to read it.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::SampledAccuracy => {
                "Held-out rows whose response, drawn at the evaluation's temperature, is right: bad habits show here."
            }
            Self::GreedyAccuracy => {
                "Held-out rows whose likeliest response is right: what the model can do at its best."
            }
            Self::HeldOutNll => {
                "Nats per token of the held-out rows' chosen responses. Plain SFT trains exactly this number; preference training does not."
            }
            Self::NearerThanStart => {
                "Held-out rows whose sampled response lies nearer to the chosen one than the starting model's; equal counts half."
            }
            Self::ResponseTokens => "Mean length of the sampled responses to held-out rows.",
            Self::RewardMargin => {
                "β · log-ratio of chosen less rejected responses at the end of training. Its size depends on the arm's β."
            }
            Self::RewardAccuracy => {
                "Training pairs whose chosen response has the higher reward at the end of training. Pairs of weight 0 are left out and equal pairs never count, so arms that weigh equal pairs look worse."
            }
        }
    }

    fn is_share(self) -> bool {
        !matches!(self, Self::HeldOutNll | Self::ResponseTokens | Self::RewardMargin)
    }

    /// A value in words.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::ResponseTokens => format!("{value:.1}"),
            _ if self.is_share() => format!("{:.1} %", 100.0 * value),
            _ => format!("{value:.3}"),
        }
    }

    /// A difference without its unit; of shares in percentage points.
    pub fn show_difference(self, value: f64) -> String {
        match self {
            Self::ResponseTokens => format!("{value:+.1}"),
            _ if self.is_share() => format!("{:+.1}", 100.0 * value),
            _ => format!("{value:+.3}"),
        }
    }
}

/// What was measured of a run, under [`Metric::ALL`].
pub struct Measured(pub [Parts; Metric::ALL.len()]);

impl Measured {
    /// `distances` are those of the run's and of the start's responses, by row.
    pub fn of(outcomes: &[Outcome], distances: [&[Option<f32>]; 2], rewards: Option<[f64; 2]>) -> Self {
        let by_row = |of: fn(&Outcome) -> [f64; 2]| Parts(outcomes.iter().map(of).collect());
        let share = |right: bool| [f64::from(u8::from(right)), 1.0];
        let nearer = distances[0].iter().zip(distances[1]).map(|(end, start)| match (end, start) {
            (Some(end), Some(start)) if end == start => [0.5, 1.0],
            (Some(end), Some(start)) => share(end < start),
            _ => [0.0, 0.0],
        });
        let whole = |of: usize| Parts(rewards.iter().map(|rewards| [rewards[of], 1.0]).collect());
        Self(Metric::ALL.map(|metric| match metric {
            Metric::SampledAccuracy => by_row(|o| [f64::from(u8::from(o.sampled.right)), 1.0]),
            Metric::GreedyAccuracy => by_row(|o| [f64::from(u8::from(o.greedy.right)), 1.0]),
            Metric::HeldOutNll => by_row(|o| [o.nll, o.tokens as f64]),
            Metric::NearerThanStart => Parts(nearer.clone().collect()),
            Metric::ResponseTokens => by_row(|o| [o.sampled.ids.len() as f64, 1.0]),
            Metric::RewardMargin => whole(0),
            Metric::RewardAccuracy => whole(1),
        }))
    }

    /// The parts of one metric.
    pub fn parts(&self, metric: Metric) -> &Parts {
        &self.0[metric as usize]
    }
}

/// Reward margin and accuracy at the end of a round, over the last quarter of its lines; None where there are no
/// rewards.
pub fn rewards(lines: &[MetricsLine]) -> Option<[f64; 2]> {
    let both = |line: &MetricsLine| Some([line.get(column::REWARD_MARGIN)?, line.get(column::REWARD_ACCURACY)?]);
    let rewards: Vec<[f64; 2]> = lines.iter().filter_map(both).collect();
    let last = &rewards[rewards.len() - rewards.len().div_ceil(4)..];
    let mean = |of: usize| last.iter().map(|r| r[of]).sum::<f64>() / last.len() as f64;
    (!last.is_empty()).then(|| [mean(0), mean(1)])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::rundir::Answer;

    fn outcome(row: usize, right: bool, tokens: usize) -> Outcome {
        let sampled = Answer { right, ids: vec![7; tokens], text: String::new() };
        Outcome { row, nll: tokens as f64 * 0.5, tokens, greedy: Answer { right: true, ..Answer::default() }, sampled }
    }

    #[test]
    fn every_metric_by_hand() {
        let outcomes = [outcome(0, true, 2), outcome(1, false, 4), outcome(2, false, 0)];
        let (end, start) = ([Some(1.0), Some(2.0), None], [Some(3.0), Some(2.0), None]);
        let measured = Measured::of(&outcomes, [&end, &start], Some([1.5, 0.75]));
        let figures = Metric::ALL.map(|metric| measured.parts(metric).figure().unwrap());
        assert_eq!(figures, [1.0 / 3.0, 1.0, 0.5, 0.75, 2.0, 1.5, 0.75]);
        let without = Measured::of(&outcomes, [&end, &start], None);
        assert_eq!(without.parts(Metric::RewardMargin).figure(), None);
    }

    #[test]
    fn rewards_are_those_of_the_last_quarter() {
        let line = |margin: Option<f64>| -> MetricsLine {
            serde_json::from_value(serde_json::json!({"rewards/margins": margin, "rewards/accuracies": 1.0})).unwrap()
        };
        let lines: Vec<MetricsLine> = (1..=8).map(|n| line(Some(f64::from(n)))).collect();
        assert_eq!(rewards(&lines), Some([7.5, 1.0]));
        assert_eq!(rewards(&lines[..1]), Some([1.0, 1.0]));
        assert_eq!(rewards(&[line(None)]), None);
    }

    #[test]
    fn values_are_said_in_their_units() {
        assert_eq!(Metric::SampledAccuracy.show(0.785), "78.5 %");
        assert_eq!(Metric::SampledAccuracy.show_difference(-0.007), "-0.7");
        assert_eq!(Metric::HeldOutNll.show_difference(0.0123), "+0.012");
        assert_eq!(Metric::ALL.map(|m| m as usize), [0, 1, 2, 3, 4, 5, 6]);
    }
}

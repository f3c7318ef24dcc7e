//! Which of a prompt's responses become pairs: rules over the distances between them.
//!
//! A prompt has its golden response y and candidates y_1..y_n, different responses of the model itself, each with the
//! number of times it was sampled. d(a, b) is the distance plugin's, with a in the golden response's place.
//!
//! *Golden* and *own* tell where a response comes from, the data or the model; *chosen* and *rejected* are the sides of
//! a pair, which a rule makes of them. Where pairs are measured that no rule has made yet, the golden response is on
//! the chosen side.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// How pairs are made of a prompt's responses. The formula gives chosen, rejected and the pair's distance, which is
/// what the schedule weighs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// y over the one sample y_1, d(y, y_1): the reading of the paper, and with equal weights SPIN.
    GoldenOverOwn,
    /// y over the y_k of the largest d(y, y_k), which is the pair's distance.
    #[default]
    GoldenOverFarthest,
    /// The y_i of the smallest d(y, y_i) over the y_k of the largest; their distance is d(y, y_k) - d(y, y_i). The
    /// golden response is a measure and is not trained on.
    NearestOverFarthest,
    /// With r_k the mean of d(y_j, y_k) over the other samples (minimum Bayes risk): the y_i of the smallest r_i over
    /// the y_k of the largest, r_k - r_i. Looks at no golden response.
    MedoidOverOutlier,
    /// y over every sample, d(y, y_k), a sample drawn twice twice.
    All,
}

/// Distances that a rule chooses by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// None: it takes what there is.
    Nothing,
    /// Of each own sample from the golden response.
    FromGolden,
    /// Between the own samples of a prompt.
    BetweenOwn,
}

/// Samples of a prompt at most.
pub const MOST_SAMPLES: usize = 256;

/// A rule and the candidates that it may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Form", into = "Full")]
#[schemars(with = "Form")]
pub struct Pairing {
    /// The rule.
    pub rule: Rule,
    /// Leaves out candidates that equal the golden response.
    pub drop_equal: bool,
    /// Leaves out candidates that were cut at `max_new_tokens`, or at the rows' `max_length`.
    pub drop_cut: bool,
    /// Leaves out candidates nearer than this to the golden response.
    pub min_distance: f32,
}

/// How a pairing is written: a rule alone, or with what is left out.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Form {
    Rule(Rule),
    Full(Full),
}

/// A rule with what is left out.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Full {
    /// Which of a prompt's responses become pairs.
    #[serde(default)]
    rule: Rule,
    /// Leaves out candidates that equal the golden response.
    #[serde(default)]
    drop_equal: bool,
    /// Leaves out candidates that were cut at `max_new_tokens`, or at the rows' `max_length`.
    #[serde(default)]
    drop_cut: bool,
    /// Leaves out candidates nearer than this to the golden response.
    #[serde(default)]
    #[schemars(range(min = 0))]
    min_distance: f32,
}

impl From<Form> for Pairing {
    fn from(form: Form) -> Self {
        match form {
            Form::Rule(rule) => Self { rule, ..Self::default() },
            Form::Full(Full { rule, drop_equal, drop_cut, min_distance }) => {
                Self { rule, drop_equal, drop_cut, min_distance }
            }
        }
    }
}

impl From<Pairing> for Full {
    fn from(Pairing { rule, drop_equal, drop_cut, min_distance }: Pairing) -> Self {
        Self { rule, drop_equal, drop_cut, min_distance }
    }
}

/// What is known of one of a prompt's different samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// How often it was sampled, at least once.
    pub count: u32,
    /// Whether it equals the golden response.
    pub equal: bool,
    /// Whether it was cut at the length limit.
    pub cut: bool,
    /// d(y, y_k); anything where the rule does not ask for it.
    pub distance: f32,
}

/// A response of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Response {
    /// The golden one.
    Golden,
    /// The candidate of this index.
    Own(usize),
}

/// A pair that a rule made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// Preferred.
    pub chosen: Response,
    /// Not preferred.
    pub rejected: Response,
    /// What the schedule weighs.
    pub distance: f32,
}

/// What a rule made of a prompt.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Made {
    /// None where no candidate is left, or the best is the worst too.
    pub pairs: Vec<Pair>,
    /// Whether several candidates share the extreme that decided; the first sampled was taken.
    pub tie: bool,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::GoldenOverOwn, Self::GoldenOverFarthest, Self::NearestOverFarthest, Self::MedoidOverOutlier, Self::All];

    /// As configs name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::GoldenOverOwn => "golden-over-own",
            Self::GoldenOverFarthest => "golden-over-farthest",
            Self::NearestOverFarthest => "nearest-over-farthest",
            Self::MedoidOverOutlier => "medoid-over-outlier",
            Self::All => "all",
        }
    }

    /// Its pairs in words, chosen over rejected.
    pub fn formula(self) -> &'static str {
        match self {
            Self::GoldenOverOwn => "the golden response over the model's own",
            Self::GoldenOverFarthest => "the golden response over the sample farthest from it",
            Self::NearestOverFarthest => "the sample nearest to the golden response over the one farthest from it",
            Self::MedoidOverOutlier => {
                "the sample of the smallest mean distance from the others over the one of the largest"
            }
            Self::All => "the golden response over every sample",
        }
    }

    /// Samples a prompt that it takes, and how many where the config does not say.
    pub fn samples(self) -> (RangeInclusive<usize>, usize) {
        match self {
            Self::GoldenOverOwn => (1..=1, 1),
            Self::GoldenOverFarthest | Self::All => (1..=MOST_SAMPLES, 4),
            Self::NearestOverFarthest => (2..=MOST_SAMPLES, 4),
            // Of two, each is as far from the other.
            Self::MedoidOverOutlier => (3..=MOST_SAMPLES, 4),
        }
    }

    /// Whether the golden response is one of a pair's two.
    pub fn trains_golden(self) -> bool {
        match self {
            Self::GoldenOverOwn | Self::GoldenOverFarthest | Self::All => true,
            Self::NearestOverFarthest | Self::MedoidOverOutlier => false,
        }
    }

    /// The distances by which it chooses, whatever the weights depend on.
    pub fn asks(self) -> Asked {
        match self {
            Self::GoldenOverOwn | Self::All => Asked::Nothing,
            Self::GoldenOverFarthest | Self::NearestOverFarthest => Asked::FromGolden,
            Self::MedoidOverOutlier => Asked::BetweenOwn,
        }
    }
}

impl Pairing {
    /// The pairs of a prompt. `own` has d(y_j, y_k) at [j * n + k] where the rule [asks](Rule::asks) for it. Ties go to
    /// the candidate that comes first.
    pub fn pairs(&self, candidates: &[Candidate], own: &[f32]) -> Made {
        let kept: Vec<usize> = (0..candidates.len()).filter(|&k| self.keeps(&candidates[k])).collect();
        if kept.is_empty() {
            return Made::default();
        }
        let distance = |k: usize| candidates[k].distance;
        let golden_over =
            |k: usize| Pair { chosen: Response::Golden, rejected: Response::Own(k), distance: distance(k) };
        match self.rule {
            Rule::GoldenOverOwn => Made { pairs: vec![golden_over(kept[0])], tie: false },
            Rule::All => {
                let times = |k: &usize| std::iter::repeat_n(golden_over(*k), candidates[*k].count as usize);
                Made { pairs: kept.iter().flat_map(times).collect(), tie: false }
            }
            Rule::GoldenOverFarthest => {
                let (far, tie) = largest(&kept, |k| distance(k).into());
                Made { pairs: vec![golden_over(far)], tie }
            }
            Rule::NearestOverFarthest => extremes(&kept, |k| distance(k).into()),
            Rule::MedoidOverOutlier => {
                let others: f64 = kept.iter().map(|&j| f64::from(candidates[j].count)).sum::<f64>() - 1.0;
                let risk = |k: usize| {
                    let of = |&j: &usize| f64::from(candidates[j].count) * f64::from(own[j * candidates.len() + k]);
                    kept.iter().filter(|j| **j != k).map(of).sum::<f64>() / others
                };
                extremes(&kept, risk)
            }
        }
    }

    fn keeps(&self, candidate: &Candidate) -> bool {
        !(self.drop_equal && candidate.equal
            || self.drop_cut && candidate.cut
            || self.min_distance > 0.0 && candidate.distance < self.min_distance)
    }
}

/// The one of the smallest value over the one of the largest.
fn extremes(kept: &[usize], value: impl Fn(usize) -> f64) -> Made {
    let (best, tied) = largest(kept, |k| -value(k));
    let (worst, tie) = largest(kept, &value);
    if best == worst {
        return Made { pairs: vec![], tie: kept.len() > 1 };
    }
    let (chosen, rejected) = (Response::Own(best), Response::Own(worst));
    let distance = (value(worst) - value(best)) as f32;
    Made { pairs: vec![Pair { chosen, rejected, distance }], tie: tied || tie }
}

/// The first of the largest value, and whether another has it too.
fn largest(kept: &[usize], value: impl Fn(usize) -> f64) -> (usize, bool) {
    let mut best = kept[0];
    for &k in &kept[1..] {
        if value(k) > value(best) {
            best = k;
        }
    }
    let top = value(best);
    (best, kept.iter().any(|&k| k != best && value(k) == top))
}

#[cfg(test)]
mod tests;

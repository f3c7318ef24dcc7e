//! What a distance's accuracy means for a rule that chooses among a prompt's samples by it.

use super::Figure;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Pairwise accuracy, over all prompts, below which choosing by a distance harmed or gained little, and above which it
/// gained, in the comparisons of `examples/when-it-pays` (docs/when-it-pays.md): toys, whose golden rows were the
/// start's own training rows.
pub const HARMS: f64 = 0.55;
/// See [`HARMS`].
pub const GAINS: f64 = 0.62;

/// What pairwise accuracy says of choosing by a distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Below [`HARMS`], and the interval ends below [`GAINS`].
    DoNot,
    /// Neither.
    Unclear,
    /// Above [`GAINS`], and the interval begins above [`HARMS`].
    MayUse,
}

impl Verdict {
    /// Of an accuracy; unclear where it has no interval.
    pub fn of(accuracy: &Figure) -> Self {
        match (accuracy.value, accuracy.interval) {
            (Some(value), Some([_, high])) if value < HARMS && high < GAINS => Self::DoNot,
            (Some(value), Some([low, _])) if value > GAINS && low > HARMS => Self::MayUse,
            _ => Self::Unclear,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DoNot => "do not choose by it",
            Self::Unclear => "unclear",
            Self::MayUse => "may be used",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(value: f64, low: f64, high: f64) -> Figure {
        Figure { value: Some(value), interval: Some([low, high]) }
    }

    #[test]
    fn a_verdict_needs_its_value_and_its_interval() {
        let of = |value, low, high| Verdict::of(&figure(value, low, high));
        assert_eq!(of(0.71, 0.66, 0.76), Verdict::MayUse);
        assert_eq!(of(0.64, 0.58, 0.70), Verdict::MayUse);
        assert_eq!(of(0.71, 0.50, 0.90), Verdict::Unclear);
        assert_eq!(of(0.60, 0.56, 0.64), Verdict::Unclear);
        assert_eq!(of(0.51, 0.46, 0.57), Verdict::DoNot);
        assert_eq!(of(0.51, 0.30, 0.70), Verdict::Unclear);
        assert_eq!(Verdict::of(&Figure { value: Some(0.9), interval: None }), Verdict::Unclear);
        assert_eq!(Verdict::of(&Figure::default()), Verdict::Unclear);
    }
}

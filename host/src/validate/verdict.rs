//! What a distance's accuracy means for a rule that chooses among a prompt's samples by it.

use super::{Figure, Line};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Pairwise accuracy below which choosing by a distance harmed, and above which it gained, in the comparisons of
/// `examples/when-it-pays`: toys, whose golden rows were the start's own training rows.
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

/// What the two accuracies of a line say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdicts {
    /// On all prompts.
    pub all: Verdict,
    /// On those whose golden response is none of the judged; None where no figure of them is there.
    pub apart: Option<Verdict>,
}

impl Verdicts {
    /// Of a line.
    pub fn of(line: &Line) -> Self {
        let Line { measures, .. } = line;
        let apart = measures.accuracy_apart.value.map(|_| Verdict::of(&measures.accuracy_apart));
        Self { all: Verdict::of(&measures.accuracy), apart }
    }

    /// Whether a rule that chooses by the distance is to be refused: all prompts speak against it, and those whose
    /// golden response is none of the judged do not speak for it.
    pub fn forbids(self) -> bool {
        self.all == Verdict::DoNot && self.apart != Some(Verdict::MayUse)
    }
}

impl fmt::Display for Verdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.apart {
            Some(apart) if apart != self.all => write!(f, "{}; golden apart: {apart}", self.all),
            _ => write!(f, "{}", self.all),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::Measures;

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

    #[test]
    fn a_line_is_refused_where_its_apart_prompts_do_not_speak_for_it() {
        let (bad, good) = (figure(0.4, 0.35, 0.45), figure(0.8, 0.75, 0.85));
        let of = |accuracy, accuracy_apart| {
            let [auc, label_correlation, length_correlation] = [Figure::default(); 3];
            let measures = Measures { accuracy, accuracy_apart, auc, label_correlation, length_correlation };
            let verdicts = Verdicts::of(&Line { encoder: None, distance: "d".into(), measures, verdict: None });
            (verdicts.forbids(), verdicts.to_string())
        };
        assert_eq!(of(bad, bad), (true, "do not choose by it".into()));
        assert_eq!(of(bad, good), (false, "do not choose by it; golden apart: may be used".into()));
        assert_eq!(of(bad, Figure::default()), (true, "do not choose by it".into()));
        assert_eq!(of(good, bad), (false, "may be used; golden apart: do not choose by it".into()));
    }
}

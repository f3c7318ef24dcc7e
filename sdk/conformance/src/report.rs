//! What came of the checks, for people and for programs.

use crate::Case;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum Verdict {
    /// The plugin keeps the rule.
    Pass,
    /// It does not.
    Fail {
        /// What was seen, with the smallest input that shows it.
        found: String,
    },
    /// The rule does not apply.
    Skip {
        /// Why not.
        why: String,
    },
}

/// One check of one plugin, or of the library.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// The plugin; None for a check of the library.
    #[serde(flatten)]
    pub case: Option<Case>,
    /// Stable id, such as `distance/symmetric`.
    pub check: String,
    /// What is owed.
    pub sentence: String,
    /// What came of it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// All checks of a library, in their order. `Display` is the table for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Seed of the inputs.
    pub seed: u64,
    /// Checks of the library, then of each of its plugins.
    pub checks: Vec<Checked>,
}

impl Report {
    /// Number of checks with a verdict.
    fn count(&self, is: fn(&Verdict) -> bool) -> usize {
        self.checks.iter().filter(|c| is(&c.verdict)).count()
    }
    /// Number of failed checks.
    pub fn failed(&self) -> usize {
        self.count(|v| matches!(v, Verdict::Fail { .. }))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.checks.iter().map(|c| c.check.len()).max().unwrap_or(0);
        let mut before: Option<&Option<Case>> = None;
        for Checked { case, check, sentence, verdict } in &self.checks {
            if before != Some(case) {
                match case {
                    None => writeln!(f, "library")?,
                    Some(Case { kind, id, options, .. }) => {
                        let given = options.as_object().is_some_and(|o| !o.is_empty());
                        writeln!(f, "{kind} `{id}`{}", if given { format!(" with {options}") } else { String::new() })?;
                    }
                }
                before = Some(case);
            }
            match verdict {
                Verdict::Pass => writeln!(f, "  pass  {check:width$}  {sentence}")?,
                Verdict::Skip { why } => writeln!(f, "  skip  {check:width$}  {why}")?,
                Verdict::Fail { found } => {
                    writeln!(f, "  FAIL  {check:width$}  {sentence}\n        {:width$}  found: {found}", "")?;
                }
            }
        }
        let (passed, skipped) = (self.count(|v| *v == Verdict::Pass), self.checks.len());
        let skipped = skipped - passed - self.failed();
        write!(f, "{passed} passed, {} failed, {skipped} skipped (seed {})", self.failed(), self.seed)
    }
}

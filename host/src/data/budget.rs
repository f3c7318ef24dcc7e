//! Fits token rows into the length limits: prompts keep their end, responses their beginning, and nothing becomes
//! empty.

use super::{Dataset, Row};
use crate::{Code, Error, Result, config::DataConfig};
use std::{fmt, path::PathBuf};

/// Largest share of rows that may be dropped before it is an error: a run must not train on a fraction unnoticed.
const MAX_DROPPED: f64 = 0.01;

/// Length limits of the rows of a file, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of prompt and response together.
    pub max_length: usize,
    /// Of a prompt, which keeps its end; 0 for no limit of its own.
    pub max_prompt_length: usize,
}

/// What fitting rows into their limits has cost.
#[derive(Debug, Clone, Default)]
pub struct Budget {
    report: BudgetReport,
}

/// What became of the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct BudgetReport {
    /// Rows seen.
    pub rows: usize,
    /// Prompts that lost their beginning.
    pub cut_prompts: usize,
    /// Responses that lost their end, and with it the token that ends them.
    pub cut_completions: usize,
    /// Rows left out because the prompt leaves no room for a response (or a response has no token at all).
    pub dropped: usize,
}

impl DataConfig {
    /// The length limits of these rows.
    pub fn limits(&self) -> Limits {
        Limits { max_length: self.max_length, max_prompt_length: self.max_prompt_length }
    }
}

impl Limits {
    /// The end of a prompt, at most `max_prompt_length` tokens where that is set.
    pub fn cut_prompt(self, mut prompt: Vec<u32>) -> Vec<u32> {
        if self.max_prompt_length > 0 {
            prompt.drain(..prompt.len().saturating_sub(self.max_prompt_length));
        }
        prompt
    }
}

impl Budget {
    /// Cuts a prompt and each of its responses so that the two together have at most `max_length` tokens; None where
    /// the row is dropped. The prompt comes out the same for all its responses.
    pub fn fit<R>(&mut self, limits: Limits, prompt: Vec<u32>, mut responses: R) -> Option<(Vec<u32>, R)>
    where
        R: AsMut<[Vec<u32>]>,
    {
        let whole = prompt.len();
        let prompt = limits.cut_prompt(prompt);
        self.report.rows += 1;
        if prompt.is_empty() || prompt.len() >= limits.max_length || responses.as_mut().iter().any(|r| r.is_empty()) {
            self.report.dropped += 1;
            return None;
        }
        self.report.cut_prompts += usize::from(prompt.len() < whole);
        let room = limits.max_length - prompt.len();
        for response in responses.as_mut().iter_mut().filter(|r| r.len() > room) {
            self.report.cut_completions += 1;
            response.truncate(room);
        }
        Some((prompt, responses))
    }

    /// What was cut and dropped so far.
    pub fn report(&self) -> &BudgetReport {
        &self.report
    }
}

/// Fits the rows of a data set into their limits: each file has a budget of its own, so that no small one among others
/// is left out unnoticed.
#[derive(Debug)]
pub struct Budgets(Vec<(PathBuf, Budget)>);

impl Budgets {
    /// Of a data set, before its first row.
    pub fn of(data: &Dataset) -> Self {
        Self(data.hashes().map(|(path, _)| (path.to_owned(), Budget::default())).collect())
    }

    /// As [`Budget::fit`], by the limits of the row's file.
    pub fn fit<R>(&mut self, row: &Row, prompt: Vec<u32>, responses: R) -> Option<(Vec<u32>, R)>
    where
        R: AsMut<[Vec<u32>]>,
    {
        self.0[row.file].1.fit(row.limits, prompt, responses)
    }

    /// What was cut and dropped so far, of all files.
    pub fn report(&self) -> BudgetReport {
        self.0.iter().fold(BudgetReport::default(), |sum, (_, budget)| BudgetReport {
            rows: sum.rows + budget.report.rows,
            cut_prompts: sum.cut_prompts + budget.report.cut_prompts,
            cut_completions: sum.cut_completions + budget.report.cut_completions,
            dropped: sum.dropped + budget.report.dropped,
        })
    }

    /// Fails if of a file more than 1 % of the rows were dropped, or all.
    pub fn check(&self) -> Result<()> {
        self.0.iter().try_for_each(|(path, budget)| {
            let checked = budget.report.check();
            if self.0.len() > 1 { checked.map_err(|e| e.at(path.display())) } else { checked }
        })
    }
}

impl BudgetReport {
    /// Fails if more than 1 % of the rows were dropped, or all.
    pub fn check(&self) -> Result<()> {
        let Self { rows, dropped, .. } = *self;
        if dropped == 0 || (dropped < rows && dropped as f64 <= MAX_DROPPED * rows as f64) {
            return Ok(());
        }
        let message = format!("{dropped} of {rows} rows have prompts that leave no room for a response");
        Err(Error::new(Code::DataLength, message).hint(
            "raise data.max_length, set data.max_prompt_length to keep only the end of long prompts, or remove the rows",
        ))
    }
}

impl fmt::Display for BudgetReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cut_prompts, cut_completions, dropped, .. } = self;
        write!(f, "({cut_prompts} prompts cut, {cut_completions} responses cut, {dropped} rows dropped)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn ids() -> impl Strategy<Value = Vec<u32>> {
        prop::collection::vec(any::<u32>(), 1..40)
    }

    proptest! {
        #[test]
        fn prompts_keep_their_end_and_responses_their_beginning(
            prompt in ids(), a in ids(), b in ids(), max_length in 2usize..60, max_prompt in 0usize..60,
        ) {
            let limits = Limits { max_length, max_prompt_length: max_prompt };
            let mut budget = Budget::default();
            let limit = if max_prompt == 0 { usize::MAX } else { max_prompt };
            let fits = prompt.len().min(limit) < max_length;
            let Some((p, responses)) = budget.fit(limits, prompt.clone(), [a.clone(), b.clone()]) else {
                prop_assert!(!fits);
                prop_assert_eq!(*budget.report(), BudgetReport { rows: 1, dropped: 1, ..Default::default() });
                prop_assert!(budget.report().check().is_err());
                return Ok(());
            };
            prop_assert!(fits && !p.is_empty() && p.len() <= limit && prompt.ends_with(&p));
            prop_assert_eq!(&p, &limits.cut_prompt(prompt.clone()));
            let mut cut = 0;
            for (whole, kept) in [a, b].iter().zip(&responses) {
                prop_assert!(!kept.is_empty() && whole.starts_with(kept));
                prop_assert!(p.len() + kept.len() <= max_length);
                // As much is kept as fits.
                prop_assert!(kept.len() == whole.len() || p.len() + kept.len() == max_length);
                cut += usize::from(kept.len() < whole.len());
            }
            let cut_prompts = usize::from(p.len() < prompt.len());
            prop_assert_eq!(*budget.report(), BudgetReport { rows: 1, cut_prompts, cut_completions: cut, dropped: 0 });
        }
    }

    #[test]
    fn one_percent_may_be_dropped() {
        let report = |rows, dropped| BudgetReport { rows, dropped, ..Default::default() };
        assert!(report(100, 1).check().is_ok());
        assert!(report(0, 0).check().is_ok());
        let e = report(100, 2).check().unwrap_err();
        assert_eq!(
            (e.code(), e.message()),
            (Code::DataLength, "2 of 100 rows have prompts that leave no room for a response")
        );
        assert!(report(1, 1).check().is_err());
    }
}

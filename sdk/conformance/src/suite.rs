//! The list of checks, and how one of them is run: here, or as a job in a child process.

use crate::{
    Case, Library, Verdict,
    checks::{calls, distance, encoder, instance, library, options, schedule},
    child::Voice,
    subject::{Calls, Context, Stop},
};
use ldalign_sdk::metadata::KINDS;
use serde::{Deserialize, Serialize};

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The library as a whole.
    Library,
    /// Each of its plugins.
    Plugin,
    /// Each of its plugins of a kind.
    Kind(&'static str),
}

/// One rule.
pub struct Check {
    /// Stable.
    pub id: &'static str,
    /// What is owed.
    pub sentence: &'static str,
    /// Whom it concerns.
    pub about: About,
    /// Looks for a breach.
    pub run: fn(&Context<'_>) -> Result<(), Stop>,
}

impl Check {
    /// Whether it concerns a plugin, or without one the library.
    pub fn concerns(&self, case: Option<&Case>) -> bool {
        match (self.about, case) {
            (About::Library, case) => case.is_none(),
            (About::Plugin, case) => case.is_some_and(|c| KINDS.contains(&&*c.kind)),
            (About::Kind(kind), case) => case.is_some_and(|c| c.kind == kind),
        }
    }
}

/// All checks, in the order of reports.
pub fn all() -> impl Iterator<Item = &'static Check> {
    [
        library::CHECKS,
        options::CHECKS,
        instance::CHECKS,
        calls::CHECKS,
        distance::CHECKS,
        encoder::CHECKS,
        schedule::CHECKS,
    ]
    .into_iter()
    .flatten()
}

/// One check to be run, as it travels to a child process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// Id of the check.
    pub check: String,
    /// The plugin; None for a check of the library.
    pub case: Option<Case>,
    /// Seed of its inputs.
    pub seed: u64,
}

/// What a child says of its job.
#[derive(Debug, Serialize, Deserialize)]
pub enum Said {
    /// A call of the plugin begins.
    Call(String),
    /// The job is done. Runs of the same job give the same fingerprint, where there is one.
    Done(Verdict, Option<u64>),
}

/// Does a job and says how it goes: the child's side.
pub fn answer(library: &dyn Library, job: &Job, voice: &Voice) {
    let (verdict, fingerprint) = perform(library, job, &|call| voice.say(&Said::Call(call.to_owned())));
    voice.say(&Said::Done(verdict, fingerprint));
}

/// Does a job in this process.
pub fn perform(library: &dyn Library, job: &Job, tell: &(dyn Fn(&'static str) + Sync)) -> (Verdict, Option<u64>) {
    let Some(check) = all().find(|check| check.id == job.check) else {
        return (Verdict::Skip { why: "this program does not know the check".into() }, None);
    };
    let calls = Calls::new(tell);
    let context = Context::new(library, job.case.as_ref(), job.seed, &calls);
    let verdict = match (check.run)(&context) {
        Ok(()) => Verdict::Pass,
        Err(Stop::Fail(found)) => Verdict::Fail { found },
        Err(Stop::Skip(why)) => Verdict::Skip { why },
    };
    (verdict, context.fingerprint.get())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_are_unique_and_sentences_are_sentences() {
        let ids: BTreeSet<&str> = all().map(|c| c.id).collect();
        assert_eq!(ids.len(), all().count());
        for Check { id, sentence, .. } in all() {
            assert!(
                id.split('/').count() == 2 && id.bytes().all(|b| b.is_ascii_lowercase() || b"-/".contains(&b)),
                "{id}"
            );
            assert!(!sentence.ends_with('.') && sentence.len() < 120, "{sentence}");
        }
    }
}

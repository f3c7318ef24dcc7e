//! Has the checks run, each in a process of its own, and collects what came of them.

use crate::{
    Case, Checked, Library, Report, Verdict,
    child::Answer,
    suite::{self, Check, Job, Said},
};
use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

/// What is run, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Only checks whose ids match this glob; `*` stands for any text.
    pub filter: Option<String>,
    /// Seed of all inputs.
    pub seed: u64,
    /// Time for each check.
    pub limit: Duration,
    /// Runs the checks here, one after the other: for debuggers. Nothing is contained then.
    pub in_process: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self { filter: None, seed: 0, limit: Duration::from_secs(60), in_process: false }
    }
}

/// Runs the checks on a library and these of its plugins; `ask` has a child process do one job, within the plan's
/// limit.
pub fn run(
    library: &dyn Library,
    cases: &[Case],
    plan: &Plan,
    ask: &(dyn Fn(&Job) -> io::Result<Answer<Said>> + Sync),
) -> Report {
    let subjects = std::iter::once(None).chain(cases.iter().map(Some));
    let jobs: Vec<(&Check, Job)> = subjects
        .flat_map(|case| suite::all().filter(move |check| check.concerns(case)).map(move |check| (check, case)))
        .filter(|(check, _)| plan.filter.as_deref().is_none_or(|glob| matches(glob, check.id)))
        .map(|(check, case)| (check, Job { check: check.id.into(), case: case.cloned(), seed: plan.seed }))
        .collect();
    let verdict = |job: &Job| match plan.in_process {
        true => suite::perform(library, job, &|_| ()).0,
        false => in_children(job, plan.limit, ask),
    };
    let verdicts = match plan.in_process {
        true => jobs.iter().map(|(_, job)| verdict(job)).collect(),
        false => side_by_side(jobs.len(), |i| verdict(&jobs[i].1)),
    };
    let checked = jobs.into_iter().zip(verdicts).map(|((check, job), verdict)| Checked {
        case: job.case,
        check: job.check,
        sentence: check.sentence.into(),
        verdict,
    });
    Report { seed: plan.seed, checks: checked.collect() }
}

fn in_children(job: &Job, limit: Duration, ask: &dyn Fn(&Job) -> io::Result<Answer<Said>>) -> Verdict {
    match in_child(job, limit, ask) {
        // What must come out the same in every process is asked of a second one.
        (Verdict::Pass, Some(first)) => match in_child(job, limit, ask) {
            (Verdict::Pass, second) if second != Some(first) => {
                Verdict::Fail { found: "two processes with the same inputs and seed came to different results".into() }
            }
            (verdict, _) => verdict,
        },
        (verdict, _) => verdict,
    }
}

fn in_child(job: &Job, limit: Duration, ask: &dyn Fn(&Job) -> io::Result<Answer<Said>>) -> (Verdict, Option<u64>) {
    let answer = match ask(job) {
        Ok(answer) => answer,
        Err(e) => return (Verdict::Fail { found: format!("the check cannot be run in a child process: {e}") }, None),
    };
    let found = match answer.said.last() {
        Some(Said::Done(verdict, fingerprint)) => return (verdict.clone(), *fingerprint),
        Some(Said::Call(call)) => format!("it {}{}", answer.how_it_ended(call, limit), answer.complaint()),
        None => format!("the child process did not take up the check{}", answer.complaint()),
    };
    (Verdict::Fail { found }, None)
}

/// Results of `work` for 0..n, as many at once as there are processors.
fn side_by_side<T: Send>(n: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let some = || std::iter::from_fn(|| Some(next.fetch_add(1, Relaxed)).filter(|i| *i < n)).map(|i| (i, work(i)));
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(n);
    let mut done: Vec<(usize, T)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(|| some().collect::<Vec<_>>())).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker does not panic")).collect()
    });
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Whether a glob, in which `*` stands for any text, fits a whole text.
fn matches(glob: &str, text: &str) -> bool {
    match glob.split_once('*') {
        None => glob == text,
        Some((start, rest)) => text
            .strip_prefix(start)
            .is_some_and(|text| (0..=text.len()).any(|i| text.is_char_boundary(i) && matches(rest, &text[i..]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (glob, fits) in
            [("distance/*", true), ("*symm*", true), ("*", true), ("distance/symm", false), ("*x", false)]
        {
            assert_eq!(matches(glob, "distance/symmetric"), fits, "{glob}");
        }
    }

    #[test]
    fn results_come_in_the_order_of_the_work() {
        assert_eq!(side_by_side(50, |i| i * i), (0..50).map(|i| i * i).collect::<Vec<_>>());
        assert!(side_by_side(0, |i| i).is_empty());
    }
}

//! What in a run deserves a second look: the known ways in which this kind of training goes wrong, each by a plain
//! rule.

use super::run::{Generated, Round, Run};
use crate::{diagnose::Verdict, page::Page, rundir::column, stats::mean};

/// Adds the findings, or says that there are none.
pub fn section(page: &mut Page, run: &Run) {
    let findings = findings(run);
    page.heading(2, "Worth a look");
    if run.rounds.is_empty() {
        page.absent("No round has been started yet.");
    } else if findings.is_empty() {
        page.paragraph("None of the known failure signs was found.");
    }
    if !findings.is_empty() {
        page.raw("<ul class=\"watch\">");
        findings.iter().for_each(|f| page.raw(&format!("<li>{}</li>", crate::page::esc(f))));
        page.raw("</ul>");
    }
}

/// Every finding in a sentence with what to do.
pub fn findings(run: &Run) -> Vec<String> {
    let mut found = run.problems.clone();
    for (n, round) in &run.rounds {
        let warnings = round.diagnoses.iter().filter(|d| d.verdict == Verdict::Warning);
        let warnings = warnings.map(|d| format!("{}. To do: {}.", d.finding, d.advice));
        found.extend(warnings.chain(pairs(round)).chain(curves(round)).map(|f| format!("Round {n}: {f}")));
    }
    found.extend(accuracy(run));
    found
}

/// The round's pairs.
fn pairs(round: &Round) -> Vec<String> {
    let mut found = vec![];
    if let Some(Generated { stopped, cut, .. }) = round.generated
        && cut * 10 > stopped + cut
    {
        let share = 100.0 * cut as f64 / (stopped + cut) as f64;
        found.push(format!(
            "{share:.0} % of the responses were cut at max_new_tokens. Raise it, unless the model babbles on."
        ));
    }
    let Some(scores) = &round.scores else { return found };
    let (rows, equal) = (scores.weights.len(), scores.equal_count());
    if equal * 2 > rows {
        found.push(format!(
            "{equal} of {rows} rejected responses equal the chosen ones: there is little left to learn from these rows."
        ));
    }
    found
}

/// The round's training curves.
fn curves(round: &Round) -> Vec<String> {
    let mut found = vec![];
    let broken: Vec<&str> =
        round.metrics.iter().filter(|(_, v)| v.iter().any(|x| !x.is_finite())).map(|(k, _)| k.as_str()).collect();
    if !broken.is_empty() {
        found.push(format!("not every value is a finite number in {}.", broken.join(", ")));
    }
    // The last quarter, so that one odd batch does not decide.
    let late = |name: &str| round.metrics.get(name).map_or(f64::NAN, |v| mean(&v[v.len() - v.len().div_ceil(4)..]));
    if late(column::REWARD_MARGIN) <= 0.0 {
        found.push(
            "the margin between chosen and rejected responses did not grow. Raise the learning rate or train longer."
                .into(),
        );
    }
    found
}

/// The course of the evaluations.
fn accuracy(run: &Run) -> Option<String> {
    let measured = || run.evals.iter().filter(|(_, e)| e.sampled_accuracy.is_finite());
    let (best, top) = measured().max_by(|a, b| a.1.sampled_accuracy.total_cmp(&b.1.sampled_accuracy))?;
    let (last, end) = measured().next_back()?;
    let lost = top.sampled_accuracy - end.sampled_accuracy;
    // More than twice the standard error of a difference of two such shares.
    let noise = 2.0 * (2.0 * 0.25 / top.rows.max(1) as f64).sqrt();
    (best != last && lost > noise).then(|| {
        format!(
            "Sampled accuracy was best after round {best} and fell by {:.1} points since: use that round's model.",
            100.0 * lost
        )
    })
}

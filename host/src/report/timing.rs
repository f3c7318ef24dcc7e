//! Time, throughput and memory of each round's stages.

use super::run::Run;
use crate::{
    machine::size,
    page::{Page, number},
    rundir::{StepTimingLine, TimingLine, column},
};
use std::collections::BTreeMap;

/// Adds the table, or says that nothing was recorded.
pub fn section(page: &mut Page, run: &Run) {
    page.heading(2, "Time and memory");
    let mut rows = vec![];
    for (n, round) in &run.rounds {
        let pairs = round.scores.as_ref().map(|s| s.weights.len() as u64);
        for (name, stage) in stages(&round.timing) {
            let (amount, unit) = match name {
                "generate" => (round.generated.map(|g| g.tokens), "tokens"),
                "train" => (round.metrics.get(column::TOKENS).and_then(|t| t.last()).map(|t| *t as u64), "tokens"),
                _ => (pairs, "pairs"),
            };
            let amount = amount.filter(|n| *n > 0);
            // How much of an interrupted stage the last beginning did is not known; training counts by itself.
            let rate = match (name, stage.begun) {
                ("train", _) => train_rate(&round.train_timing),
                (_, 1) => amount.zip(stage.seconds).map(|(n, s)| n as f64 / s.max(1e-9)),
                _ => None,
            };
            let time = match (stage.seconds, stage.begun) {
                (Some(s), 1) => duration(s),
                (Some(s), begun) => format!("{} <small>the last of {begun} goes</small>", duration(s)),
                (None, _) => "not finished".into(),
            };
            rows.push(vec![
                format!("{n}"),
                name.into(),
                time,
                amount.map_or("–".into(), |n| format!("{} {unit}", grouped(n))),
                rate.map_or("–".into(), |r| format!("{} {unit}/s", legible(r))),
                stage.peak_bytes.map_or("–".into(), size),
            ]);
        }
    }
    if rows.is_empty() {
        return page.absent("No times were recorded.");
    }
    page.table(&["Round", "Stage", "Time", "Work", "Throughput", "Peak memory"], &rows, false);
    page.paragraph(
        "Tokens of generation are those sampled; tokens of training are all that went through the policy, prompts included, and its rate \
         leaves out the reference log-probabilities, which its time holds. Peak memory is the most that the process held at once during the stage.",
    );
}

/// Tokens a second of all training steps.
fn train_rate(lines: &[StepTimingLine]) -> Option<f64> {
    let seconds: f64 = lines.iter().map(|l| l.seconds).sum();
    let tokens: f64 = lines.iter().map(|l| l.tokens_per_second * l.seconds).sum();
    (seconds > 0.0).then(|| tokens / seconds)
}

/// What is known of a stage.
#[derive(Default)]
struct Stage {
    begun: u64,
    seconds: Option<f64>,
    peak_bytes: Option<u64>,
}

/// The stages in the order in which they were begun.
fn stages(lines: &[TimingLine]) -> Vec<(&str, Stage)> {
    let mut order = vec![];
    let mut stages = BTreeMap::<&str, Stage>::new();
    for line in lines {
        let stage = stages.entry(&line.stage).or_insert_with(|| {
            order.push(line.stage.as_str());
            Stage::default()
        });
        stage.begun += u64::from(line.seconds.is_none());
        (stage.seconds, stage.peak_bytes) = (line.seconds, line.peak_bytes);
    }
    order.into_iter().filter_map(|name| Some((name, stages.remove(name)?))).collect()
}

/// Seconds as a person says them.
fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        _ if seconds < 1.0 => format!("{:.0} ms", 1000.0 * seconds),
        0..10 => format!("{seconds:.1} s"),
        10..120 => format!("{whole} s"),
        120..7200 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A rate: whole from 1,000 on.
fn legible(rate: f64) -> String {
    if rate >= 1000.0 { grouped(rate.round() as u64) } else { number(rate) }
}

/// A whole number with its thousands apart.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_begun_twice_is_told_by_its_last_end() {
        let line = |stage: &str, seconds, peak_bytes| TimingLine { stage: stage.into(), seconds, peak_bytes };
        let lines = [
            line("score", None, None),
            line("score", None, None),
            line("score", Some(4.0), Some(9)),
            line("generate", None, None),
        ];
        let told: Vec<_> =
            stages(&lines).into_iter().map(|(name, s)| (name, s.begun, s.seconds, s.peak_bytes)).collect();
        assert_eq!(told, [("score", 2, Some(4.0), Some(9)), ("generate", 1, None, None)]);
    }

    #[test]
    fn times_and_counts_are_legible() {
        assert_eq!(
            [0.04, 9.34, 61.2, 150.0, 7384.0].map(duration),
            ["40 ms", "9.3 s", "61 s", "2 min 30 s", "2 h 3 min"]
        );
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([3.98731, 861.27, 9461.8].map(legible), ["3.987", "861.3", "9,462"]);
    }
}

//! What the intervals say, in a paragraph.

use super::{Comparison, Figure, Metric, Outcomes};

/// What the verdict goes by.
const BY: [Metric; 2] = [Metric::SampledAccuracy, Metric::GreedyAccuracy];

/// Whether an interval leaves nothing on one side of 0: the sign of a difference that has been shown.
pub fn shown(difference: &Figure) -> Option<f64> {
    difference.interval.and_then(|[low, high]| match () {
        () if low > 0.0 => Some(1.0),
        () if high < 0.0 => Some(-1.0),
        () => None,
    })
}

/// The paragraph.
pub fn verdict(c: &Comparison) -> String {
    let mut out = vec![format!("{} and {}.", count(c.seeds.len(), "seed"), count(c.rows, "held-out row"))];
    for arm in c.arms.iter().filter(|arm| arm.name != c.reference) {
        out.extend(BY.map(|metric| against(c, arm, metric)));
    }
    let held = c.arms.len().saturating_sub(1) * BY.len();
    if held > 1 {
        out.push(format!(
            "These are {held} comparisons: of twenty between equal arms one would show a difference by chance."
        ));
    }
    if c.seeds.len() == 1 {
        out.push(
            "With one seed the intervals say what other rows might have given, and nothing about other seeds.".into(),
        );
    } else if c.seeds.len() < 5 {
        out.push("With fewer than five seeds the intervals are too narrow for what other seeds might give.".into());
    }
    let budget = |arm: &Outcomes| arm.budget.iter().product::<u64>();
    if c.arms.iter().any(|arm| budget(arm) != budget(&c.arms[0])) {
        let budgets: Vec<String> = c.arms.iter().map(|arm| format!("{} {}", arm.name, budget(arm))).collect();
        out.push(format!("The arms do not have the same budget of rows trained on: {}.", budgets.join(", ")));
    }
    let failures = c.failures().len();
    if failures > 0 {
        out.push(format!("{} failed and could not be counted.", count(failures, "run")));
    }
    out.join(" ")
}

fn against(c: &Comparison, arm: &Outcomes, metric: Metric) -> String {
    let (name, reference, of) = (&arm.name, &c.reference, metric.name());
    let (Some(difference), Some([low, high])) = (
        arm.differences.get(&metric).copied(),
        arm.differences.get(&metric).and_then(|difference| difference.interval),
    ) else {
        return format!("{name} cannot be held against {reference} by {of}: there is no seed that both have finished.");
    };
    let verdict = match shown(&difference) {
        Some(sign) if sign > 0.0 => format!("{name} is above {reference}"),
        Some(_) => format!("{name} is below {reference}"),
        None => format!("{name} and {reference}: no difference shown"),
    };
    let value = difference.value.map_or(String::new(), |value| metric.show_difference(value));
    format!(
        "By {of}, {verdict} ({value} points, {:.0} % interval {} to {}).",
        100.0 * c.level,
        metric.show_difference(low),
        metric.show_difference(high)
    )
}

/// `1 seed`, `5 seeds`.
fn count(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::compare::{Method, RunOutcome};
    use std::collections::BTreeMap;

    fn arm(name: &str, difference: Option<[f64; 3]>) -> Outcomes {
        let figure = |[low, value, high]: [f64; 3]| Figure { value: Some(value), interval: Some([low, high]) };
        let differences = difference.map(figure).into_iter().flat_map(|f| BY.map(|metric| (metric, f))).collect();
        Outcomes {
            name: name.into(),
            note: String::new(),
            method: Method::Run,
            budget: [3, 20, 64],
            runs: vec![],
            figures: BTreeMap::new(),
            differences,
            rounds: vec![],
            steps: [vec![], vec![]],
        }
    }

    fn comparison(arms: Vec<Outcomes>) -> Comparison {
        Comparison {
            ldalign: String::new(),
            seeds: vec![1, 2, 3, 4, 5],
            rows: 400,
            reference: "spin".into(),
            nearness: ["policy-states".into(), "euclidean".into()],
            draws: 1000,
            level: 0.95,
            start: BTreeMap::new(),
            arms,
            verdict: String::new(),
        }
    }

    #[test]
    fn a_difference_is_shown_where_the_interval_leaves_zero_and_not_else() {
        let of = |difference| verdict(&comparison(vec![arm("spin", None), arm("other", Some(difference))]));
        assert!(of([0.011, 0.02, 0.03]).contains(
            "By sampled accuracy, other is above spin (+2.0 points, 95 % interval +1.1 to +3.0). By greedy accuracy, other is above spin"
        ));
        assert!(of([-0.03, -0.02, -0.01]).contains("other is below spin (-2.0 points"));
        for none in [[-0.01, 0.02, 0.05], [0.0, 0.0, 0.0], [0.0, 0.01, 0.02]] {
            assert!(of(none).contains("By sampled accuracy, other and spin: no difference shown"), "{none:?}");
        }
    }

    #[test]
    fn what_weakens_a_verdict_is_said() {
        let mut c = comparison(vec![arm("spin", None), arm("other", None)]);
        assert!(verdict(&c).starts_with("5 seeds and 400 held-out rows. other cannot be held against spin by sampled"));
        c.seeds.truncate(1);
        c.arms[1].budget[0] = 2;
        c.arms[1].runs.push(RunOutcome {
            seed: 1,
            directory: "other/seed-1".into(),
            failure: Some("lost".into()),
            figures: BTreeMap::new(),
        });
        let said = verdict(&c);
        for part in ["With one seed", "same budget of rows trained on: spin 3840, other 2560.", "1 run failed"] {
            assert!(said.contains(part), "{said}");
        }
    }
}

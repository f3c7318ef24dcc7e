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
    let others: Vec<&Outcomes> = c.arms.iter().filter(|arm| arm.name != c.reference).collect();
    if !others.is_empty() {
        out.extend(BY.map(|metric| by(c, &others, metric)));
    }
    let held = others.len() * BY.len();
    if held > 1 {
        out.push(format!(
            "These are {held} comparisons: of twenty between equal arms one would show a difference by chance."
        ));
    }
    match c.seeds.len() {
        1 => out.push(
            "With one seed the intervals say what other rows might have given, and nothing about other seeds.".into(),
        ),
        2..5 => {
            out.push("With fewer than five seeds the intervals are too narrow for what other seeds might give.".into())
        }
        _ => {}
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

/// Who is above the reference by a metric, who below, and of whom that cannot be said.
fn by(c: &Comparison, arms: &[&Outcomes], metric: Metric) -> String {
    let mut groups: [(&str, Vec<String>); 4] =
        ["above it", "below it", "no difference shown", "without a seed that both have finished"]
            .map(|name| (name, vec![]));
    for arm in arms {
        let difference = arm.differences.get(&metric);
        let group = match (difference, difference.and_then(shown)) {
            (None, _) => 3,
            (_, None) => 2,
            (_, Some(sign)) if sign > 0.0 => 0,
            _ => 1,
        };
        let Some(Figure { value: Some(value), interval: Some([low, high]) }) = difference else {
            groups[group].1.push(arm.name.clone());
            continue;
        };
        let [value, low, high] = [value, low, high].map(|x| metric.show_difference(*x));
        groups[group].1.push(format!("{} ({value} points, {low} to {high})", arm.name));
    }
    let said: Vec<String> = groups
        .into_iter()
        .filter(|(_, arms)| !arms.is_empty())
        .map(|(name, arms)| format!("{name}: {}", arms.join(", ")))
        .collect();
    let (level, reference) = (100.0 * c.level, &c.reference);
    format!("By {}, against {reference} with {level:.0} % intervals, {}.", metric.name(), said.join("; "))
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
            cost: None,
            differences,
            rounds: vec![],
            curves: [vec![], vec![]],
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
            "By sampled accuracy, against spin with 95 % intervals, above it: other (+2.0 points, +1.1 to +3.0). By greedy accuracy, "
        ));
        assert!(of([-0.03, -0.02, -0.01]).contains("below it: other (-2.0 points, -3.0 to -1.0)."));
        for none in [[-0.01, 0.02, 0.05], [0.0, 0.0, 0.0], [0.0, 0.01, 0.02]] {
            let said = of(none);
            assert!(said.contains("no difference shown: other (") && !said.contains("it: "), "{said}");
        }
        let three = vec![
            arm("spin", None),
            arm("a", Some([0.1, 0.2, 0.3])),
            arm("b", Some([-0.1, 0.0, 0.1])),
            arm("c", Some([0.2, 0.3, 0.4])),
        ];
        let said = verdict(&comparison(three));
        assert!(
            said.contains(
                "above it: a (+20.0 points, +10.0 to +30.0), c (+30.0 points, +20.0 to +40.0); no difference shown: b ("
            ),
            "{said}"
        );
        assert!(said.contains("These are 6 comparisons"));
    }

    #[test]
    fn what_weakens_a_verdict_is_said() {
        let mut c = comparison(vec![arm("spin", None), arm("other", None)]);
        assert!(verdict(&c).contains("95 % intervals, without a seed that both have finished: other."));
        c.seeds.truncate(1);
        c.arms[1].budget[0] = 2;
        c.arms[1].runs.push(RunOutcome {
            seed: 1,
            directory: "other/seed-1".into(),
            failure: Some("lost".into()),
            figures: BTreeMap::new(),
            cost: None,
        });
        let said = verdict(&c);
        for part in ["With one seed", "same budget of rows trained on: spin 3840, other 2560.", "1 run failed"] {
            assert!(said.contains(part), "{said}");
        }
    }
}

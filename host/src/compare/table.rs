//! The figures as plain text: what each arm comes to, how the arms differ from the reference, and the verdict.

use super::{
    Comparison, Cost, Figure, Metric,
    cost::{self, COLUMNS},
};
use std::collections::BTreeMap;

/// The metrics that some arm has.
pub fn metrics(c: &Comparison) -> Vec<Metric> {
    let has = |metric: &Metric| c.arms.iter().any(|arm| arm.figures.contains_key(metric));
    Metric::ALL.into_iter().filter(has).collect()
}

/// A figure in words; `-` where there is none.
pub fn value(figures: &BTreeMap<Metric, Figure>, metric: Metric) -> String {
    figures.get(&metric).and_then(|f| f.value).map_or("-".into(), |value| metric.show(value))
}

/// A difference and its interval, if it has one; `-` where there is none.
pub fn difference(differences: &BTreeMap<Metric, Figure>, metric: Metric) -> String {
    let Some(Figure { value: Some(value), interval }) = differences.get(&metric) else { return "-".into() };
    let show = |x: f64| metric.show_difference(x);
    let interval = interval.map_or(String::new(), |[low, high]| format!(" [{}, {}]", show(low), show(high)));
    show(*value) + &interval
}

/// What the columns of differences are.
pub fn differences_title(c: &Comparison) -> String {
    format!("Less {}: difference [{:.0} % interval], shares in percentage points", c.reference, 100.0 * c.level)
}

/// The whole as plain text.
pub fn text(c: &Comparison) -> String {
    let metrics = metrics(c);
    let head = |first: &[&str]| {
        let names = metrics.iter().map(|metric| metric.name());
        first.iter().copied().chain(names).map(str::to_owned).collect::<Vec<String>>()
    };
    let mut rows = vec![[head(&["", "runs"]), COLUMNS.map(str::to_owned).into()].concat()];
    let values = |name: &str, runs: String, figures| {
        [name.to_owned(), runs].into_iter().chain(metrics.iter().map(|m| value(figures, *m))).collect::<Vec<_>>()
    };
    rows.push([values("start", String::new(), &c.start), COLUMNS.map(|_| String::new()).into()].concat());
    for arm in &c.arms {
        let finished = arm.runs.iter().filter(|run| run.failure.is_none()).count();
        let figures = values(&arm.name, format!("{finished}/{}", arm.runs.len()), &arm.figures);
        rows.push([figures, Cost::cells(arm.cost).into()].concat());
    }
    let mut out = format!("{}{}\n", columns(&rows), cost::EXPLANATION);
    let others: Vec<_> = c.arms.iter().filter(|arm| arm.name != c.reference).collect();
    if !others.is_empty() {
        let mut rows = vec![head(&[""])];
        rows.extend(others.iter().map(|arm| {
            std::iter::once(arm.name.clone()).chain(metrics.iter().map(|m| difference(&arm.differences, *m))).collect()
        }));
        out += &format!("\n{}\n\n{}", differences_title(c), columns(&rows));
    }
    format!("{out}\n{}", c.verdict)
}

/// Cells one below the other, as wide as the widest.
fn columns(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

//! The comparison as one HTML page: verdict, tables, a plot for each metric, curves, and every run.

use super::{
    Comparison, Cost, Metric, Outcomes,
    cost::{COLUMNS, EXPLANATION},
    table::{difference, differences_title, metrics, value},
    verdict::shown,
};
use crate::page::{Interval, Page, Plot, esc, intervals};

/// The whole file.
pub fn html(c: &Comparison, title: &str, lead: &str) -> String {
    let mut page = Page::new(title);
    page.raw(&format!("<header><h1>{}</h1></header>", esc(title)));
    if !lead.is_empty() {
        page.paragraph(lead);
    }
    page.paragraph(&c.verdict);
    figures(&mut page, c);
    differences(&mut page, c);
    page.heading(2, "Every run");
    plots(&mut page, c);
    page.paragraph("Small dots are runs, one for each seed; the line above is the interval of their mean.");
    curves(&mut page, c);
    runs(&mut page, c);
    page.heading(2, "How it was measured");
    measured(&mut page, c);
    page.finish()
}

fn figures(page: &mut Page, c: &Comparison) {
    let metrics = metrics(c);
    let head: Vec<&str> = ["arm", "runs"].into_iter().chain(metrics.iter().map(|m| m.name())).chain(COLUMNS).collect();
    let cell = |figures, metric: Metric| {
        let interval =
            |[low, high]: [f64; 2]| format!("<br><small>[{}, {}]</small>", metric.show(low), metric.show(high));
        let of: &std::collections::BTreeMap<Metric, super::Figure> = figures;
        let interval = of.get(&metric).and_then(|f| f.interval).map_or(String::new(), interval);
        esc(&value(of, metric)) + &interval
    };
    let row = |name: &str, runs: String, figures, cost: [String; 3]| {
        let figures = metrics.iter().map(|m| cell(figures, *m));
        [esc(name), runs].into_iter().chain(figures).chain(cost).collect::<Vec<_>>()
    };
    let arms = c.arms.iter().map(|arm| {
        let finished = arm.runs.iter().filter(|run| run.failure.is_none()).count();
        row(&arm.name, format!("{finished}/{}", arm.runs.len()), &arm.figures, Cost::cells(arm.cost))
    });
    let start = row("start", String::new(), &c.start, COLUMNS.map(|_| String::new()));
    page.table(&head, &std::iter::once(start).chain(arms).collect::<Vec<_>>(), false);
    page.paragraph(EXPLANATION);
}

fn differences(page: &mut Page, c: &Comparison) {
    let others: Vec<&Outcomes> = c.arms.iter().filter(|arm| arm.name != c.reference).collect();
    if others.is_empty() {
        return;
    }
    let metrics = metrics(c);
    let head: Vec<&str> = std::iter::once("arm").chain(metrics.iter().map(|m| m.name())).collect();
    let cell = |arm: &Outcomes, metric: &Metric| {
        let text = esc(&difference(&arm.differences, *metric)).replacen(" [", "<br><small>[", 1);
        let text = if text.contains("<small>") { format!("{text}</small>") } else { text };
        match arm.differences.get(metric).and_then(shown) {
            Some(_) => format!("<strong>{text}</strong>"),
            None => text,
        }
    };
    let row = |arm: &&Outcomes| std::iter::once(esc(&arm.name)).chain(metrics.iter().map(|m| cell(arm, m))).collect();
    page.heading(2, &format!("Against {}", c.reference));
    page.table(&head, &others.iter().map(row).collect::<Vec<_>>(), false);
    page.paragraph(&format!("{}; bold where the interval leaves 0 out.", differences_title(c)));
}

/// Each metric with its runs and interval for each arm, against the reference.
fn plots(page: &mut Page, c: &Comparison) {
    page.raw("<div class=\"figures\">");
    for metric in metrics(c) {
        let row = |arm: &Outcomes| {
            let figure = arm.figures.get(&metric)?;
            let value = figure.value?;
            let dots = arm.runs.iter().filter_map(|run| run.figures.get(&metric).copied()).collect();
            Some(Interval { name: arm.name.clone(), value, ends: figure.interval.unwrap_or([value; 2]), dots })
        };
        let rows: Vec<Interval> = c.arms.iter().filter_map(row).collect();
        let reference =
            c.arms.iter().find(|arm| arm.name == c.reference).and_then(|arm| arm.figures.get(&metric)?.value);
        let reference = reference.or(rows.first().map(|row| row.value)).unwrap_or(0.0);
        let svg = intervals(metric.name(), &rows, reference, &format!("m{}", metric as usize));
        let (head, caption) = (esc(metric.name()), esc(metric.explanation()));
        page.raw(&format!("<figure><h4>{head}</h4>{svg}<figcaption>{caption}</figcaption></figure>"));
    }
    page.raw("</div>");
}

fn curves(page: &mut Page, c: &Comparison) {
    let by_round = |title: &str, y: &str, of: usize| {
        let empty = Plot::new(title, &format!("{title} of each arm, mean over its runs"), "round", y).whole_x();
        c.arms
            .iter()
            .filter(|arm| !arm.rounds.is_empty())
            .fold(empty, |plot, arm| plot.dots(&arm.name, points(&arm.rounds, of)))
    };
    let by_line = |title: &str, y: &str, of: usize| {
        let empty =
            Plot::new(title, &format!("{title} of each arm, mean over its runs"), "line of metrics", y).whole_x();
        let arms = c.arms.iter().filter(|arm| !arm.curves[of].is_empty());
        arms.fold(empty, |plot, arm| plot.line(&arm.name, arm.curves[of].clone()))
    };
    page.heading(2, "In training");
    page.figures(&[
        (by_round("Sampled accuracy by round", "share right", 0), "Before the first round, and after each."),
        (by_round("Greedy accuracy by round", "share right", 1), "Before the first round, and after each."),
        (
            by_round("Held-out NLL by round", "nats per token", 2),
            "A steep rise means that steps are too large, or beta too small.",
        ),
        (by_line("Reward margin", "margin", 1), "Over all rounds; each begins at 0, being its own reference."),
        (by_line("Loss", "loss", 0), "Over all rounds. Losses of SFT and of preference training do not compare."),
    ]);
}

fn runs(page: &mut Page, c: &Comparison) {
    page.heading(2, "The runs");
    let metrics = metrics(c);
    let head: Vec<&str> = std::iter::once("run").chain(metrics.iter().map(|m| m.name())).collect();
    let rows: Vec<Vec<String>> = c
        .arms
        .iter()
        .flat_map(|arm| &arm.runs)
        .map(|run| {
            let name = esc(&run.directory);
            let first = match &run.failure {
                None => format!("<a href=\"{name}/report.html\">{name}</a>"),
                Some(why) => format!("{name} <span class=\"wrong\">failed: {}</span>", esc(why)),
            };
            let shown = |m: &Metric| run.figures.get(m).map_or("-".into(), |value| m.show(*value));
            std::iter::once(first).chain(metrics.iter().map(shown)).collect()
        })
        .collect();
    page.details(&format!("{} runs", rows.len()), false, |page| page.table(&head, &rows, false));
}

fn measured(page: &mut Page, c: &Comparison) {
    page.raw("<dl>");
    for arm in &c.arms {
        let [rounds, steps, rows] = arm.budget;
        let note = if arm.note.is_empty() { String::new() } else { format!("{} ", esc(&arm.note)) };
        let directory = esc(&arm.name);
        page.raw(&format!("<dt>{directory}</dt><dd>{note}{rounds} rounds of {steps} steps of {rows} rows.</dd>"));
    }
    page.raw("</dl>");
    let seeds: Vec<String> = c.seeds.iter().map(u64::to_string).collect();
    let [encoder, distance] = &c.nearness;
    page.paragraph(&format!(
        "Seeds {}; {} held-out rows, the same for all. Intervals: {:.0} % bootstrap percentiles of {} resamples of seeds and rows, each drawn \
         once for all arms, so that what is hard for all cancels in differences. Nearness by {encoder} of the starting model and {distance}. \
         LD-Align {}.",
        seeds.join(", "),
        c.rows,
        100.0 * c.level,
        c.draws,
        c.ldalign
    ));
}

/// One figure by round, those that were measured.
fn points(rounds: &[[f64; 3]], of: usize) -> Vec<(f64, f64)> {
    let all = rounds.iter().enumerate().map(|(round, figures)| (round as f64, figures[of]));
    all.filter(|(_, figure)| figure.is_finite()).collect()
}

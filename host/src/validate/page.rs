//! The figures as one HTML page with their plot.

use super::{
    Validation,
    table::{basis, figures, judged, legend, legend_of_splits, splits},
};
use crate::page::{Interval, Page, esc, intervals};

/// The whole file.
pub fn html(v: &Validation) -> String {
    let mut page = Page::new("LD-Align validation");
    let title = if v.judged { "Does nearer mean better?" } else { "How distances split samples" };
    page.raw(&format!("<header><h1>{title}</h1><p>{}</p></header>", esc(&basis(v))));
    if v.judged {
        page.paragraph(&legend(v).join(" "));
        judgements(&mut page, v);
    }
    page.heading(2, "How distances split a prompt's responses");
    page.paragraph(&legend_of_splits(v).join(" "));
    table(&mut page, &splits(v));
    if !v.fits.is_empty() {
        page.heading(2, "What the encoders reported of their fit");
        let figures = |fit: &std::collections::BTreeMap<String, f64>| {
            fit.iter().map(|(name, value)| esc(&format!("{name} {value:.4}"))).collect::<Vec<_>>().join("<br>")
        };
        let rows: Vec<_> = v.fits.iter().map(|(encoder, fit)| vec![esc(encoder), figures(fit)]).collect();
        page.table(&["encoder", "figures"], &rows, false);
    }
    page.heading(2, "What was measured");
    let source = |what: &str, name: String, sha256: &str| {
        vec![esc(what), esc(&name), format!("<code>{}</code>", esc(&sha256[..sha256.len().min(12)]))]
    };
    let mut rows = vec![
        source("model", v.model.path.display().to_string(), &v.model.sha256),
        source("rows", v.data.path.display().to_string(), &v.data.sha256),
    ];
    let plugins = v.encoders.iter().chain(&v.distances);
    rows.extend(
        plugins.map(|p| source(p.kind.name(), format!("{} ({} {})", super::name(p), p.name, p.version), &p.sha256)),
    );
    page.table(&["", "name", "SHA-256"], &rows, false);
    page.paragraph(&format!("Seed {}, LD-Align {}.", v.seed, v.ldalign));
    page.finish()
}

/// What the judgements say, as plots and as a table.
fn judgements(page: &mut Page, v: &Validation) {
    const PLOTS: [(usize, &str, f64, &str); 3] = [
        (
            0,
            "Pairwise accuracy",
            0.5,
            "Right of the line: the better of a prompt's responses is nearer more often than not.",
        ),
        (
            1,
            "Pairwise accuracy, golden apart",
            0.5,
            "The same on prompts none of whose responses equals the golden one.",
        ),
        (4, "Rank correlation with length", 0.0, "Far from the line: the distance follows the difference in length."),
    ];
    page.raw("<div class=\"figures\">");
    for (column, title, reference, caption) in PLOTS {
        figure(page, v, column, title, reference, caption);
    }
    page.raw("</div>");
    table(page, &judged(v));
}

/// Rows of cells, the first of them the names of the columns; a cell's second part below its first.
fn table(page: &mut Page, rows: &[Vec<[String; 2]>]) {
    let (head, rows) = rows.split_at(1);
    let head: Vec<&str> = head[0].iter().map(|cell| cell[0].as_str()).collect();
    let cell = |[value, more]: &[String; 2]| match more.is_empty() {
        true => esc(value),
        false => format!("{}<br><small>{}</small>", esc(value), esc(more)),
    };
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(cell).collect()).collect();
    page.table(&head, &rows, false);
}

/// One column of the table as a plot.
fn figure(page: &mut Page, v: &Validation, column: usize, title: &str, reference: f64, caption: &str) {
    let rows: Vec<Interval> = v
        .lines
        .iter()
        .filter_map(|line| {
            let figure = figures(line)[column];
            let value = figure.value?;
            Some(Interval { name: line.name(), value, ends: figure.interval.unwrap_or([value; 2]), dots: vec![] })
        })
        .collect();
    let svg = intervals(title, &rows, reference, &format!("v{column}"));
    page.raw(&format!("<figure><h4>{}</h4>{svg}<figcaption>{}</figcaption></figure>", esc(title), esc(caption)));
}

//! What `validate` found on annotated rows, where its files lie in the run directory.

use crate::page::{Page, esc};
use crate::validate::{Line, table};
use serde::Deserialize;
use std::path::Path;

/// The part of validate.json that is shown.
#[derive(Deserialize)]
pub struct Validation {
    prompts: usize,
    responses: usize,
    lines: Vec<Line>,
}

/// Adds accuracy and verdict of every distance, with a link to the whole page, which lies at `html` as seen from this
/// one.
pub fn section(page: &mut Page, validation: &Validation, html: &Path) {
    page.heading(2, "Does nearer mean better?");
    page.paragraph(&format!(
        "Held against judgements: {} responses to {} annotated prompts. Pairwise accuracy is the share of a prompt's pairs in which the better \
         response is nearer to the chosen one, 0.5 by chance; in brackets its bootstrap interval.",
        validation.responses, validation.prompts
    ));
    let rows: Vec<_> = validation
        .lines
        .iter()
        .map(|line| {
            let [value, interval] = table::show(&table::figures(line)[0]);
            vec![
                esc(line.encoder.as_deref().unwrap_or("–")),
                esc(&line.distance),
                format!("{value} <small>{interval}</small>"),
                table::verdict(line).into(),
            ]
        })
        .collect();
    page.table(&["Encoder", "Distance", "Pairwise accuracy", "Verdict"], &rows, false);
    page.raw(&format!("<p><a href=\"{}\">All figures and their plots</a>.</p>", esc(&html.display().to_string())));
}

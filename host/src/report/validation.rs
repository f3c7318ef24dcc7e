//! What `validate` found on judged responses, where its files lie in the run directory.

use crate::page::{Page, esc};
use crate::validate::{Found, table};
use std::path::Path;

/// Adds accuracy and verdict of every distance, with a link to the whole page, which lies at `html` as seen from this
/// one.
pub fn section(page: &mut Page, validation: &Found, html: &Path) {
    let whole = format!("<a href=\"{}\">All figures and their plots</a>", esc(&html.display().to_string()));
    if validation.lines.iter().all(|line| line.measures.accuracy.value.is_none()) {
        page.heading(2, "How distances split samples");
        page.raw(&format!(
            "<p>Looked at without judgements, so that nothing says whether nearer is better. {whole}.</p>"
        ));
        return;
    }
    page.heading(2, "Does nearer mean better?");
    page.paragraph(&format!(
        "Held against judgements: {} responses to {} judged prompts. Pairwise accuracy is the share of a prompt's pairs in which the better \
         response is nearer to the chosen one, 0.5 by chance, and golden apart the same where no response equals that one; in brackets \
         their bootstrap intervals. The verdict is for a rule that chooses among a prompt's samples by the distance.",
        validation.responses, validation.prompts
    ));
    let rows: Vec<_> = validation
        .lines
        .iter()
        .map(|line| {
            let [accuracy, apart, ..] = table::figures(line).map(|figure| {
                let [value, interval] = table::show(&figure);
                format!("{value} <small>{interval}</small>")
            });
            vec![
                esc(line.encoder.as_deref().unwrap_or("–")),
                esc(&line.distance),
                accuracy,
                apart,
                esc(&table::verdict(line)),
            ]
        })
        .collect();
    page.table(&["Encoder", "Distance", "Pairwise accuracy", "Golden apart", "Verdict"], &rows, false);
    page.raw(&format!("<p>{whole}.</p>"));
}

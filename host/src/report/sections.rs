//! The sections about a run as a whole: header, results, sample texts, what was run.

use super::run::Run;
use crate::{
    page::{Page, Plot, esc, text},
    rundir::Evaluation,
};
use serde_json::Value;

/// Held-out rows shown with the responses before and after.
const SHOWN_SAMPLES: usize = 12;

/// Title and, above all else, what came of it.
pub fn header(page: &mut Page, title: &str, run: &Run) {
    let manifest = run.manifest.as_ref().unwrap_or(&Value::Null);
    let file = |value: &Value| value.as_str().and_then(|p| p.rsplit('/').find(|s| !s.is_empty())).map(str::to_owned);
    let model = file(&manifest["model"]["path"]).unwrap_or_else(|| "unknown model".into());
    let data = one_or_more(&manifest["data"]).iter().filter_map(|data| file(&data["path"]));
    let data = data.collect::<Vec<_>>().join(", ");
    let data = if data.is_empty() { "unknown data".into() } else { data };
    page.raw(&format!("<header><h1>{}</h1><p>{}</p></header>", esc(title), esc(&format!("{model} on {data}"))));
    let (Some(start), Some((&last, end))) = (run.evals.get(&0), run.evals.last_key_value()) else {
        page.absent("There is no evaluation yet.");
        return;
    };
    let rounds = format!(
        "{} → {}",
        if last == 0 { "start" } else { "before" },
        if last == 1 { "after round 1".into() } else { format!("after {last} rounds") }
    );
    let tile = |name: &str, of: fn(&Evaluation) -> f64, show: fn(f64) -> String| {
        let value = if last == 0 { show(of(start)) } else { format!("{} → {}", show(of(start)), show(of(end))) };
        (name.to_owned(), value, if last == 0 { "before training".into() } else { rounds.clone() })
    };
    page.tiles(&[
        tile("Sampled accuracy", |e| e.sampled_accuracy, percent),
        tile("Greedy accuracy", |e| e.greedy_accuracy, percent),
        tile("Held-out NLL", |e| e.nll, nats),
    ]);
}

/// The values of a list, or the one that is none.
fn one_or_more(value: &Value) -> &[Value] {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice)
}

/// A share as a percentage.
fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.1} %", 100.0 * share) } else { "–".into() }
}

/// Nats per token.
fn nats(nll: f64) -> String {
    if nll.is_finite() { format!("{nll:.3}") } else { "–".into() }
}

/// A share with its standard error over `rows` rows and a bar as long.
fn share_cell(share: f64, rows: usize) -> String {
    if !share.is_finite() {
        return "–".into();
    }
    let error = (share * (1.0 - share) / rows.max(1) as f64).sqrt();
    let bar = format!("<i class=\"bar\" style=\"width:{:.1}%\"></i>", 100.0 * share.clamp(0.0, 1.0));
    format!("{} <small>± {:.1}</small>{bar}", percent(share), 100.0 * error)
}

fn eval_cells(eval: &Evaluation) -> [String; 3] {
    [share_cell(eval.sampled_accuracy, eval.rows), share_cell(eval.greedy_accuracy, eval.rows), nats(eval.nll)]
}

const HOW_TO_READ: &str = "Sampled accuracy counts responses drawn at the evaluation's temperature: it sees bad habits that greedy \
     decoding hides. ± is one standard error over the held-out rows. NLL is the negative log-likelihood of the chosen responses, nats per token; \
     preference training is allowed to raise it a little, since it moves probability rather than fits text.";

/// Accuracy and likelihood after each round.
pub fn results(page: &mut Page, run: &Run) {
    page.heading(2, "Results");
    if run.evals.is_empty() {
        page.absent("No evaluation was written: the config has no eval section, or the run has not come that far.");
        return;
    }
    let rows: Vec<_> = run
        .evals
        .iter()
        .map(|(n, eval)| {
            [vec![if *n == 0 { "before".into() } else { format!("round {n}") }], eval_cells(eval).to_vec()].concat()
        })
        .collect();
    page.table(&["Model", "Sampled accuracy", "Greedy accuracy", "Held-out NLL"], &rows, false);
    page.paragraph(HOW_TO_READ);
    if run.evals.len() > 1 {
        let curve = |of: fn(&Evaluation) -> f64| run.evals.iter().map(|(n, e)| (*n as f64, of(e))).collect::<Vec<_>>();
        let accuracy = Plot::new(
            "Accuracy by round",
            "Sampled and greedy accuracy before training and after each round",
            "round",
            "share right",
        )
        .whole_x()
        .y_range(0.0, 1.0)
        .dots("sampled", curve(|e| e.sampled_accuracy))
        .dots("greedy", curve(|e| e.greedy_accuracy));
        let nll = Plot::new(
            "Held-out NLL by round",
            "Negative log-likelihood of the held-out rows' chosen responses by round",
            "round",
            "nats per token",
        )
        .whole_x()
        .dots("NLL", curve(|e| e.nll));
        page.figures(&[
            (accuracy, "Where the two lines meet, the model says the same however it is asked: its bad habits are gone."),
            (nll, "A slow rise beside rising accuracy is the price of moving probability; a steep one means beta is too low or the steps too large."),
        ]);
    }
}

/// The same held-out rows before and after.
pub fn samples(page: &mut Page, run: &Run) {
    page.heading(2, "Responses before and after");
    let (Some(start), Some((&last, end))) = (run.evals.get(&0), run.evals.last_key_value().filter(|(n, _)| **n > 0))
    else {
        page.absent("Needs the evaluations before training and after a round.");
        return;
    };
    let mark = |right: bool, response: &str| {
        let (class, sign, word) = if right { ("right", "✓", "right") } else { ("wrong", "✗", "wrong") };
        format!("<span class=\"{class}\" role=\"img\" aria-label=\"{word}\">{sign}</span> {}", text(response))
    };
    let both = start.samples.iter().zip(&end.samples).filter(|(a, b)| a.prompt == b.prompt);
    let rows: Vec<_> = both
        .take(SHOWN_SAMPLES)
        .map(|(a, b)| vec![text(&a.prompt), text(&a.golden), mark(a.right, &a.response), mark(b.right, &b.response)])
        .collect();
    if rows.is_empty() {
        page.absent("The evaluations hold no sample texts.");
        return;
    }
    page.table(&["Prompt", "Chosen", "Before", &format!("After round {last}")], &rows, true);
    page.paragraph("Sampled responses to the first held-out rows, in the file's order: not a selection.");
}

/// Who vouches for a plugin, as words after its version.
fn origin(origin: &Value) -> String {
    let text = |key: &str| origin[key].as_str().map(esc);
    let state = text("state").map(|state| format!(", {state}")).unwrap_or_default();
    let key = text("key_id").map(|key| format!(" by <code>{key}</code>")).unwrap_or_default();
    state + &key
}

/// Model, data, plugins, config.
pub fn what_was_run(page: &mut Page, run: &Run) {
    page.heading(2, "What was run");
    let Some(manifest) = &run.manifest else {
        page.absent("There is no manifest.json yet.");
        return;
    };
    let string = |value: &Value| value.as_str().map_or("–".into(), esc);
    let hash = |value: &Value| {
        value.as_str().map_or("–".into(), |h| format!("<code>{}</code>", esc(h.get(..12).unwrap_or(h))))
    };
    let mut rows = vec![];
    let parts = ["model", "data", "eval"];
    let parts = parts.iter().flat_map(|part| one_or_more(&manifest[part]).iter().map(move |v| (*part, v)));
    for (part, v) in parts.filter(|(_, v)| !v.is_null()) {
        rows.push(vec![
            part.into(),
            string(&v["path"]),
            v["rows"].as_u64().map_or("–".into(), |n| format!("{n} rows")),
            hash(&v["sha256"]),
        ]);
    }
    for plugin in manifest["plugins"].as_array().into_iter().flatten() {
        let named = format!("{} <small>{}</small>", string(&plugin["id"]), string(&plugin["name"]));
        rows.push(vec![
            string(&plugin["kind"]),
            named,
            format!("version {}{}", string(&plugin["version"]), origin(&plugin["origin"])),
            hash(&plugin["sha256"]),
        ]);
    }
    page.table(&["Part", "What", "Size or version", "SHA-256"], &rows, true);
    let started = manifest["created"].as_str().map_or(String::new(), |when| format!(", started {}", esc(when)));
    page.raw(&format!("<p>ldalign {}{started}.</p>", string(&manifest["ldalign"])));
    let config = serde_json::to_string_pretty(&manifest["config"]).unwrap_or_default();
    page.details("Resolved config", false, |page| page.raw(&format!("<pre>{}</pre>", esc(&config))));
}

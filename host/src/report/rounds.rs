//! The section about each round: training curves, distances and weights, the farthest and nearest pairs.

use super::{
    choices, latents,
    run::{Generated, Round, Run},
    scores::{Pair, Scores},
};
use crate::{
    diagnose::Verdict,
    page::{Page, Plot, esc, histogram, number, text},
    rundir::column,
    stats::{effective_size, mean},
};

/// Adds every round, the newest open.
pub fn section(page: &mut Page, run: &Run) {
    page.heading(2, "Rounds");
    if run.rounds.is_empty() {
        page.absent("No round has been started yet.");
    }
    let last = run.rounds.last_key_value().map(|(n, _)| *n);
    for (n, round) in &run.rounds {
        page.details(&format!("Round {n}"), Some(*n) == last, |page| {
            page.heading(3, "Training");
            training(page, round);
            page.heading(3, "Distances and weights");
            scores(page, round);
            if let Some(found) = &round.choices {
                choices::section(page, found, *n);
            }
            page.heading(3, "Diagnostics");
            diagnostics(page, round);
        });
    }
}

fn training(page: &mut Page, round: &Round) {
    let Some(steps) = round.metrics.get(column::STEP) else {
        page.absent("This round's training has not written metrics yet.");
        return;
    };
    // A column with its name in the legend, if the run has it.
    let with = |plot: Plot, names: &[(&str, &str)]| {
        names.iter().fold(plot, |plot, (column, name)| match round.metrics.get(*column) {
            Some(values) => plot.line(name, steps.iter().copied().zip(values.iter().copied()).collect()),
            None => plot,
        })
    };
    let plot = |title: &str, description: &str, y: &str| Plot::new(title, description, "step", y).whole_x();
    let figures = [
        (
            with(plot("Loss", "Training loss by step", "weighted DPO loss"), &[(column::LOSS, "loss")]),
            "Should fall. The sigmoid loss starts at 0.693, a coin toss, since the model starts as its own reference; near 0 after a few steps means \
             the pairs were easy or the learning rate is high.",
        ),
        (
            with(
                plot("Rewards", "Mean rewards of chosen and rejected responses by step", "β · log-ratio"),
                &[(column::CHOSEN_REWARD, "chosen"), (column::REJECTED_REWARD, "rejected")],
            ),
            "How far each response's log-probability moved since the round began, times β. Only the gap is trained: a falling chosen curve is normal \
             while the rejected one falls faster. If both fall alike, raise β or set sft_weight.",
        ),
        (
            with(
                plot("Reward margin", "Chosen less rejected reward by step", "margin"),
                &[(column::REWARD_MARGIN, "margin")],
            ),
            "The gap between the two curves: should rise from 0 and level off. Growth without end means the model drifts far from its start.",
        ),
        (
            with(
                plot("Reward accuracy", "Share of pairs ranked right by step", "share"),
                &[(column::REWARD_ACCURACY, "accuracy")],
            )
            .y_range(0.0, 1.0),
            "Share of the step's pairs in which the chosen response gained more than the rejected one. It tells whether the pairs are learned, \
             not whether answers are right.",
        ),
        (
            with(
                plot(
                    "Log-probabilities",
                    "Mean summed log-probabilities of chosen and rejected responses by step",
                    "nats per response",
                ),
                &[(column::CHOSEN_LOGP, "chosen"), (column::REJECTED_LOGP, "rejected")],
            ),
            "Sums over a response, so long responses lie lower: compare each curve with its own start. Waves come from the batches' different rows.",
        ),
        (
            with(
                plot("Gradient norm", "Norm of the gradient before clipping by step", "norm"),
                &[(column::GRAD_NORM, "norm")],
            ),
            "Before clipping. Single spikes are harmless; steady growth asks for a lower learning rate.",
        ),
    ];
    page.figures(&figures);
}

fn scores(page: &mut Page, round: &Round) {
    if let Some(encoder) = &round.encoder {
        let [slots, dim] = encoder.shape;
        let fit: String = encoder.fit.iter().map(|(name, figure)| format!("; {name} {}", number(*figure))).collect();
        page.paragraph(&format!("Encoder {}, latents of {slots} × {dim}{fit}.", encoder.id));
    }
    let Some(scores) = round.scores.as_ref().filter(|s| !s.distances.is_empty()) else {
        page.absent("This round's pairs have not been scored yet.");
        return;
    };
    page.raw(&format!("<p>{}</p>", esc(&summary(round, scores))));
    let bars = |title: &str, x: &str, values: &[f64]| {
        Plot::new(title, &format!("{title} over the round's pairs"), x, "share of pairs").bars(x, histogram(values))
    };
    let pair = |a: &[f64], b: &[f64]| a.iter().copied().zip(b.iter().copied()).collect::<Vec<_>>();
    let size = format!(
        "How much each pair counts at the first step. All at 1 would be SPIN; a long tail means few pairs decide. Effective sample size: {} of {}.",
        number(effective_size(&scores.weights)),
        scores.weights.len()
    );
    let (map, plane) = round.latents.as_ref().map(latents::figure).unzip();
    let plane = plane.unwrap_or_default();
    let mut figures = vec![
        (
            bars("Distances", "distance", &scores.distances),
            "How far rejected responses lie from the chosen ones in the encoder's space. At 0 the two are the same.",
        ),
        (bars("Weights", "weight", &scores.weights), size.as_str()),
        (
            Plot::new("Weight by distance", "Each pair's weight against its distance", "distance", "weight")
                .cloud("pairs", pair(&scores.distances, &scores.weights)),
            "What the schedule makes of distances.",
        ),
        (
            Plot::new(
                "Distance by difference in length",
                "Each pair's distance against its difference in length",
                "chosen less rejected tokens",
                "distance",
            )
            .cloud("pairs", pair(&scores.length_differences, &scores.distances)),
            "A narrow V would mean that the distance measures length and little else.",
        ),
    ];
    figures.extend(map.map(|map| (map, plane.as_str())));
    // Without distances (equal weights, or weights that came with the data) there is one thing to draw.
    page.figures(if scores.measured() { &figures } else { &figures[1..2] });
    pairs(page, "Farthest pairs", &scores.farthest);
    pairs(page, "Nearest pairs that differ", &scores.nearest);
}

fn diagnostics(page: &mut Page, round: &Round) {
    if round.diagnoses.is_empty() {
        return page.absent("This round has not been diagnosed yet.");
    }
    let figure = |x: Option<f64>| x.map_or("–".into(), |x| format!("{x:.3}"));
    let rows: Vec<_> = round
        .diagnoses
        .iter()
        .map(|d| {
            let (verdict, advice) = match d.verdict {
                Verdict::Healthy => ("healthy", String::new()),
                Verdict::Warning => ("<strong>warning</strong>", format!(" {}.", capital(&d.advice))),
                Verdict::Unknown => ("unknown", format!(" {}.", capital(&d.advice))),
            };
            let says = format!("{}.{advice}", capital(&d.finding));
            vec![esc(d.sign.name()), verdict.into(), figure(d.figure), figure(d.limit), esc(&says)]
        })
        .collect();
    page.table(&["Sign", "Verdict", "Figure", "Limit", "What it says"], &rows, true);
}

/// With a capital at the start, as a sentence has.
fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

fn summary(round: &Round, scores: &Scores) -> String {
    let (rows, equal) = (scores.distances.len(), scores.equal_count());
    let size = effective_size(&scores.weights);
    let generated = round.generated.map_or(String::new(), |Generated { stopped, cut, .. }| {
        format!(" {stopped} responses ended by themselves, {cut} were cut at the limit.")
    });
    let distance = match scores.measured() {
        true => format!("mean distance {}", number(mean(&scores.distances))),
        false => "distances not measured, since the weights do not depend on them".into(),
    };
    format!(
        "{rows} pairs, {distance}; {equal} rejected responses equal the chosen ones and teach nothing.{generated} The weights count like {} equal \
         ones (effective sample size).",
        number(size)
    )
}

fn pairs(page: &mut Page, title: &str, pairs: &[Pair]) {
    if pairs.is_empty() {
        return;
    }
    let rows: Vec<_> = pairs
        .iter()
        .map(|p| {
            vec![
                format!("{} <small>weight {}, {}</small>", number(p.distance), number(p.weight), p.place),
                text(&p.prompt),
                text(&p.chosen),
                text(&p.rejected),
            ]
        })
        .collect();
    page.details(title, true, |page| page.table(&["Distance", "Prompt", "Chosen", "Rejected"], &rows, true));
}

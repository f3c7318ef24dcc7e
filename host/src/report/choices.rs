//! What a round's rule made of its prompts' samples: counts of all prompts, and a few prompts' samples on a line.

use crate::{
    page::{Page, Spot, esc, number, strip, text},
    rundir::{ChoiceLine, GenerationLine, ScoreLine},
};

/// Prompts whose samples are shown.
const SHOWN: usize = 8;

/// Choices of a round.
#[derive(Default)]
pub struct Choices {
    prompts: usize,
    /// Pairs made.
    pairs: usize,
    /// Prompts without a pair.
    without: usize,
    /// Prompts of which several samples are as near or as far as one that was taken.
    ties: usize,
    /// The first prompts whose samples differ and that have a pair.
    shown: Vec<Shown>,
}

/// A prompt whose samples are shown.
struct Shown {
    line: ChoiceLine,
    /// Index of its first pair.
    pair: usize,
    prompt: String,
    /// Token ids and text of each candidate, in order.
    texts: Vec<(Vec<u32>, String)>,
}

impl Choices {
    /// Adds a line of choices.jsonl.
    pub fn add(&mut self, line: ChoiceLine) {
        let pair = self.pairs;
        self.prompts += 1;
        self.pairs += line.pairs.len();
        self.without += usize::from(line.pairs.is_empty());
        self.ties += usize::from(line.tie);
        let differ = line.distances.as_ref().is_some_and(|d| d.len() > 1 && d.iter().all(|d| d.is_finite()));
        if self.shown.len() < SHOWN && differ && !line.pairs.is_empty() {
            self.shown.push(Shown { line, pair, prompt: String::new(), texts: vec![] });
        }
    }

    /// Takes the text of a response that is shown; all choices were added before. Equal ones are one candidate.
    pub fn add_text(&mut self, line: &GenerationLine) {
        let shown = self.shown.iter_mut().find(|shown| shown.line.row == line.index);
        if let Some(shown) = shown.filter(|shown| shown.texts.iter().all(|(ids, _)| *ids != line.ids)) {
            shown.texts.push((line.ids.clone(), line.text.clone()));
        }
    }

    /// Takes the prompt of a pair that is shown; all choices were added before.
    pub fn add_prompt(&mut self, line: &ScoreLine<f64>) {
        if let Some(shown) = self.shown.iter_mut().find(|shown| shown.pair == line.index) {
            shown.prompt.clone_from(&line.prompt);
        }
    }
}

/// Adds the counts and the lines of the few; `round` makes the figures' names unique.
pub fn section(page: &mut Page, choices: &Choices, round: u64) {
    let Choices { prompts, pairs, without, ties, shown } = choices;
    page.heading(3, "Samples and choices");
    page.paragraph(&format!(
        "{pairs} pairs of {prompts} prompts; {without} prompts without a pair, {ties} with a tie, in which the first sampled was taken."
    ));
    if shown.is_empty() {
        return;
    }
    // One scale, so that prompts can be held against each other; at 0 lies the chosen response of the data.
    let distances = shown.iter().flat_map(|shown| shown.line.distances.iter().flatten());
    let farthest = distances.fold(0f64, |most, d| most.max(f64::from(*d)));
    let rows: Vec<_> = shown
        .iter()
        .enumerate()
        .map(|(i, shown)| {
            let (line, texts) = lines(shown, farthest, &format!("c{round}-{i}"));
            vec![text(&shown.prompt), line, texts]
        })
        .collect();
    page.table(&["Prompt", "Distance from the golden response", "Samples, nearest first"], &rows, true);
    page.paragraph(
        "The first prompts in the data's order whose samples differ and that have a pair: not a selection. At 0 lies the golden response. If \
         chosen samples are no better than rejected ones here, do not expect training to see more.",
    );
}

/// The line of a prompt and its texts.
fn lines(shown: &Shown, farthest: f64, id: &str) -> (String, String) {
    let ChoiceLine { counts, distances, pairs, .. } = &shown.line;
    let distances = distances.as_deref().unwrap_or_default();
    let is = |k: Option<usize>, side: usize| pairs.iter().any(|pair| pair[side] == k);
    let spot = |k: Option<usize>| {
        let value = k.map_or(0.0, |k| f64::from(distances[k]));
        Spot { value, chosen: is(k, 0), rejected: is(k, 1) }
    };
    let own = (0..distances.len()).map(|k| spot(Some(k)));
    let golden = spot(None);
    let spots: Vec<Spot> = own.chain(golden.chosen.then_some(golden)).collect();
    let mut order: Vec<usize> = (0..distances.len()).collect();
    order.sort_by(|a, b| distances[*a].total_cmp(&distances[*b]));
    let sample = |k: &usize| {
        let times = counts.get(*k).filter(|n| **n > 1).map_or(String::new(), |n| format!(" ×{n}"));
        let mark = match (is(Some(*k), 0), is(Some(*k), 1)) {
            (true, _) => " <span class=\"right\">chosen</span>",
            (_, true) => " <span class=\"wrong\">rejected</span>",
            _ => "",
        };
        let response = shown.texts.get(*k).map_or("–".into(), |(_, response)| text(response));
        format!("<small>{}{times}</small>{mark} {response}", esc(&number(distances[*k].into())))
    };
    let title = format!("Distances of {} samples from the golden response", distances.len());
    let texts = order.iter().map(sample).collect::<Vec<_>>().join("<br>");
    (strip(&title, &spots, [0.0, farthest.max(f64::MIN_POSITIVE)], id), texts)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn choice(value: serde_json::Value) -> ChoiceLine {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn samples_lie_on_a_line_with_what_became_of_them() {
        let mut choices = Choices::default();
        // Samples that do not differ; a prompt with a pair; one whose two samples are as far, without a pair.
        choices.add(choice(json!({"row": 0, "counts": [3], "distances": [1.0], "pairs": [], "tie": false})));
        let distances = [4.0, 1.0, 2.0];
        choices.add(choice(
            json!({"row": 1, "counts": [1, 1, 2], "distances": distances, "pairs": [[1, 0]], "tie": true}),
        ));
        choices.add(choice(json!({"row": 2, "counts": [1, 1], "distances": [1.0, 1.0], "pairs": [], "tie": true})));
        choices.add(choice(
            json!({"row": 3, "counts": [1, 1], "distances": [3.0, 2.0], "pairs": [[null, 0]], "tie": false}),
        ));
        for (index, ids, text) in
            [(0, 9, "unseen"), (1, 5, "far <b>"), (1, 6, "near"), (1, 7, "twice"), (1, 7, "twice"), (3, 5, "three")]
        {
            let line = json!({"index": index, "ids": [ids], "text": text, "stop": "stop"});
            choices.add_text(&serde_json::from_value(line).unwrap());
        }
        let score = json!({"index": 0, "line": 2, "distance": 3.0, "weight": 1.0, "chosen_tokens": 1, "rejected_tokens": 1,
            "prompt": "Say it.", "chosen": "near", "rejected": "far <b>"});
        choices.add_prompt(&serde_json::from_value(score).unwrap());
        let mut page = Page::new("t");
        section(&mut page, &choices, 2);
        let html = page.finish();
        assert!(html.contains("2 pairs of 4 prompts; 2 prompts without a pair, 2 with a tie"), "{html}");
        let row = &html[html.find("Say it.").unwrap()..];
        let order = ["near", "twice", "far &lt;b&gt;"].map(|text| row.find(text).unwrap());
        assert!(order.is_sorted() && !html.contains("unseen"), "{html}");
        for part in [
            "<small>1</small> <span class=\"right\">chosen</span>",
            "<small>2 ×2</small> <bdi",
            "<small>4</small> <span class=\"wrong\">rejected</span>",
        ] {
            assert!(row.contains(part), "{part}: {row}");
        }
        // From 0 at 26 to the farthest of all, 4, at 334.
        for part in ["s1\" d=\"M103.0 24h0", "s7\" d=\"M180.0 24h0", "s2\" d=\"M334.0 24h0", ">rejected</text>"] {
            assert!(row.contains(part), "{part}: {row}");
        }
        // The golden response of the other is chosen: it lies at 0.
        assert!(html.contains("s1\" d=\"M26.0 24h0") && html.matches("<svg").count() == 2);
        assert!(html.contains("c2-0-t") && html.contains("c2-1-t"));
    }
}

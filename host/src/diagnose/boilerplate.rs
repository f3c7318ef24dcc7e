//! Boilerplate: one text that is chosen, or rejected, for many prompts.

use super::{Diagnosis, Sign, unknown, warn_if};
use std::{
    cmp::Reverse,
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

/// Characters of a text that a finding quotes.
const QUOTED: usize = 40;

/// Different texts that are counted at once.
const COUNTED: usize = 4096;

/// How often texts come up on one side of the pairs. White space around a text and case do not count; texts that differ
/// by a letter are different.
///
/// Memory does not grow with the pairs: where more than [`COUNTED`] texts are seen, counts are too low by at most the
/// number of all texts divided by that (Misra and Gries 1982), which a text of any weight survives.
#[derive(Debug, Default)]
pub struct Texts {
    /// By hash of the text.
    counts: HashMap<u64, Counted>,
    all: usize,
}

#[derive(Debug)]
struct Counted {
    count: usize,
    /// When it came first: among equals the first is named.
    first: usize,
    quoted: String,
}

impl Texts {
    /// Adds a text.
    pub fn add(&mut self, text: &str) {
        // Fixed keys: the same texts give the same figure in every process.
        let mut hasher = DefaultHasher::new();
        text.trim().chars().flat_map(char::to_lowercase).for_each(|c| c.hash(&mut hasher));
        let hash = hasher.finish();
        self.all += 1;
        if let Some(counted) = self.counts.get_mut(&hash) {
            counted.count += 1;
        } else if self.counts.len() < COUNTED {
            self.counts.insert(hash, Counted { count: 1, first: self.all, quoted: quote(text.trim()) });
        } else {
            self.counts.retain(|_, counted| {
                counted.count -= 1;
                counted.count > 0
            });
        }
    }

    /// Share of the commonest text among all, 0 of none, and its beginning in quotes.
    pub fn commonest(&self) -> (f64, String) {
        let commonest = self.counts.values().max_by_key(|counted| (counted.count, Reverse(counted.first)));
        commonest.map_or((0.0, "\"\"".into()), |text| (text.count as f64 / self.all as f64, text.quoted.clone()))
    }

    fn says(&self) -> String {
        let (share, quoted) = self.commonest();
        format!("{quoted} has {:.1} %", 100.0 * share)
    }
}

fn quote(text: &str) -> String {
    let more = if text.chars().nth(QUOTED).is_some() { "…" } else { "" };
    format!("{:?}", text.chars().take(QUOTED).chain(more.chars()).collect::<String>())
}

/// The sign, of the texts of both sides of the pairs that differ.
pub fn diagnosis(chosen: &Texts, rejected: &Texts, limit: f64) -> Diagnosis {
    // Of few pairs one text has many.
    if chosen.all as f64 * limit < 2.0 {
        return unknown(Sign::Boilerplate, "there are too few pairs that differ", "look at some pairs in the report");
    }
    let share = chosen.commonest().0.max(rejected.commonest().0);
    Diagnosis {
        sign: Sign::Boilerplate,
        verdict: warn_if(share > limit),
        figure: Some(share),
        limit: Some(limit),
        finding: format!(
            "of the chosen texts the commonest, {}; of the rejected, {} (white space around and case aside)",
            chosen.says(),
            rejected.says()
        ),
        advice: "if it is no answer that prompts ask for, leave rows with it out of the data; where it is both chosen and \
                 rejected, golden rows that have it call it near: hold the distance against judgements with `ldalign validate`"
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_common_text_survives_among_more_different_ones_than_are_counted() {
        let mut texts = Texts::default();
        for i in 0..10 * COUNTED {
            texts.add(&if i % 5 == 0 { " No IDEA.".to_owned() } else { format!("answer {i}") });
        }
        assert!(texts.counts.len() <= COUNTED);
        let share = texts.commonest().0;
        assert!(share <= 0.2 && share > 0.2 - 2.0 / COUNTED as f64, "{share}");
        assert!(
            texts.says().starts_with("\"No IDEA.\" has 20.0 %") || texts.says().starts_with("\"No IDEA.\" has 19.9 %")
        );
    }
}

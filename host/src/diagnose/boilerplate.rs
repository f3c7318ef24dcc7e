//! Boilerplate: one text that is chosen, or rejected, for many prompts.

use super::{Diagnosis, Sign, unknown, warn_if};
use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

/// Characters of a text that a finding quotes.
const QUOTED: usize = 40;

/// How often texts come up on one side of the pairs. White space around a text and case do not count; texts that differ
/// by a letter are different. Of each different text a hash and a count stay in memory, 8 bytes.
#[derive(Debug, Default)]
pub struct Texts {
    /// By hash of 32 bits: of a million texts one in four thousand shares its hash with another and adds 1 to a count.
    counts: HashMap<u32, u32>,
    all: usize,
    /// The commonest so far: its hash, count and text.
    commonest: (u32, u32, String),
}

impl Texts {
    /// Adds a text.
    pub fn add(&mut self, text: &str) {
        // Fixed keys: the same texts give the same figure in every process.
        let mut hasher = DefaultHasher::new();
        text.trim().chars().flat_map(char::to_lowercase).for_each(|c| c.hash(&mut hasher));
        let hash = hasher.finish() as u32;
        let count = self.counts.entry(hash).or_default();
        *count += 1;
        self.all += 1;
        let commonest = &mut self.commonest;
        if *count > commonest.1 {
            if commonest.0 != hash || commonest.1 == 0 {
                *commonest = (hash, 0, quote(text.trim()));
            }
            commonest.1 = *count;
        }
    }

    /// Share of the commonest among all; 0 of none.
    fn share(&self) -> f64 {
        f64::from(self.commonest.1) / self.all.max(1) as f64
    }

    fn says(&self) -> String {
        format!("{} has {:.1} %", self.commonest.2, 100.0 * self.share())
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
    let share = chosen.share().max(rejected.share());
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

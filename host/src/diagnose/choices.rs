//! Signs that show among several samples of a prompt: whether they differ, what orders them, and which is taken.

use super::{Diagnosis, Sign, unknown, warn_if};
use crate::{
    config::Limits,
    pairs::{Candidate, Made, Response},
};

/// What the samples of a round's prompts say; numbers alone, however many prompts there are.
#[derive(Debug, Default)]
pub struct Choices {
    prompts: u64,
    /// Prompts with one different sample.
    same: u64,
    /// Pairs of one prompt's samples that differ in distance and in length from the golden response, and those of them
    /// of which the farther is the one that differs more in length.
    comparable: u64,
    concordant: u64,
    /// Prompts of which one sample came more often than any other and one was chosen; those of which it was
    /// that one; how many those would be if each different sample were as likely to be chosen.
    decided: u64,
    likeliest: u64,
    chance: f64,
}

impl Choices {
    /// Adds a prompt: its different samples, the length of each less the golden response's in tokens, without sign, and
    /// what the rule made of them. `measured` says whether distances are known.
    pub fn add(&mut self, candidates: &[Candidate], length_differences: &[usize], measured: bool, made: &Made) {
        self.prompts += 1;
        self.same += u64::from(candidates.len() == 1);
        let both: Vec<_> = candidates.iter().map(|c| c.distance).zip(length_differences).collect();
        for (i, (distance, length)) in both.iter().enumerate().filter(|_| measured) {
            for (other, other_length) in both[i + 1..].iter().filter(|(d, l)| d != distance && l != length) {
                self.comparable += 1;
                self.concordant += u64::from((distance < other) == (length < other_length));
            }
        }
        let most = candidates.iter().map(|c| c.count).max().unwrap_or(0);
        let likeliest = candidates.iter().filter(|c| c.count == most).count() == 1 && candidates.len() > 1;
        if let Some(Response::Own(k)) = made.pairs.first().map(|pair| pair.chosen)
            && likeliest
        {
            self.decided += 1;
            self.likeliest += u64::from(candidates[k].count == most);
            self.chance += 1.0 / candidates.len() as f64;
        }
    }
}

/// The signs.
pub fn diagnoses(choices: &Choices, limits: &Limits) -> [Diagnosis; 3] {
    [
        same(choices, limits.max_same_samples),
        length(choices, limits.max_length_correlation),
        likeliest(choices, limits.max_likeliest_excess),
    ]
}

fn same(choices: &Choices, limit: f64) -> Diagnosis {
    let share = choices.same as f64 / choices.prompts.max(1) as f64;
    Diagnosis {
        sign: Sign::SameSamples,
        verdict: warn_if(share > limit),
        figure: Some(share),
        limit: Some(limit),
        finding: format!("{:.1} % of the prompts have samples that are all the same", 100.0 * share),
        advice: "raise generate.temperature; where the model has come to one answer, further rounds change little"
            .into(),
    }
}

fn length(choices: &Choices, limit: f64) -> Diagnosis {
    let sign = Sign::LengthWithinPrompts;
    if choices.comparable == 0 {
        let finding = "no two samples of a prompt differ both in distance and in length";
        return unknown(sign, finding, "look at some prompts' samples in the report");
    }
    let share = choices.concordant as f64 / choices.comparable as f64;
    // Goodman and Kruskal's gamma, over pairs within prompts.
    let gamma = 2.0 * share - 1.0;
    Diagnosis {
        sign,
        verdict: warn_if(gamma > limit),
        figure: Some(gamma),
        limit: Some(limit),
        finding: format!(
            "of two samples of a prompt the farther is in {:.1} % the one whose length differs more from the golden response's \
             (rank correlation within prompts {gamma:.2}; 1: length alone)",
            100.0 * share
        ),
        advice: "the rule chooses by length: use another encoder, layer or pooling".into(),
    }
}

fn likeliest(choices: &Choices, limit: f64) -> Diagnosis {
    let sign = Sign::LikeliestChosen;
    if choices.decided == 0 {
        let finding = "of no prompt is one of samples chosen that come unequally often";
        return unknown(
            sign,
            finding,
            "nothing, where the golden response is what is chosen; else sample more a prompt",
        );
    }
    let of = |count: f64| count / choices.decided as f64;
    let (share, chance) = (of(choices.likeliest as f64), of(choices.chance));
    Diagnosis {
        sign,
        verdict: warn_if(share - chance > limit),
        figure: Some(share - chance),
        limit: Some(limit),
        finding: format!(
            "of {} prompts with one sample more frequent than the others it is chosen in {:.1} %, by chance {:.1} %",
            choices.decided,
            100.0 * share,
            100.0 * chance
        ),
        advice: "the rule teaches what the model says most already: hold its distance against judgements with `ldalign validate`, \
                 above all where that is boilerplate"
            .into(),
    }
}

//! The ways in which the method is known to fail, looked for in every round: after scoring, from latents, distances and
//! weights; after training, from its metrics. Each sign has a figure, a limit ([`Limits`]) and advice.

mod boilerplate;
mod choices;
mod latents;
mod prompts;

pub use boilerplate::Texts;
pub use choices::Choices;
pub use latents::{effective_rank, evenly_spaced};
pub use prompts::Prompts;

use crate::{
    Result,
    config::{Limits, TrainConfig},
    stats::{Weights, mean, rank_correlation},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path};

/// A sign of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sign {
    /// The encoder's latents do not help to reconstruct responses, so distances between them mean nothing.
    Reconstruction,
    /// Distances do not follow preference.
    Preference,
    /// A few pairs have most of the weight.
    Outliers,
    /// Latents lie on a line or in a point.
    CollapsedLatents,
    /// Many prompts are nearly the same.
    DuplicatePrompts,
    /// Distance measures length.
    Length,
    /// One text is chosen, or rejected, for many prompts.
    Boilerplate,
    /// A prompt's samples are all the same.
    SameSamples,
    /// Distance orders a prompt's samples by length.
    LengthWithinPrompts,
    /// The sample chosen is the one that the model says most.
    LikeliestChosen,
    /// Chosen responses lose likelihood.
    Displacement,
}

impl Sign {
    /// Its name in files, messages and reports.
    pub fn name(self) -> &'static str {
        match self {
            Sign::Reconstruction => "reconstruction",
            Sign::Preference => "preference",
            Sign::Outliers => "outliers",
            Sign::CollapsedLatents => "collapsed-latents",
            Sign::DuplicatePrompts => "duplicate-prompts",
            Sign::Length => "length",
            Sign::Boilerplate => "boilerplate",
            Sign::SameSamples => "same-samples",
            Sign::LengthWithinPrompts => "length-within-prompts",
            Sign::LikeliestChosen => "likeliest-chosen",
            Sign::Displacement => "displacement",
        }
    }
}

/// What was found of a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The figure is within its limit.
    Healthy,
    /// It is not.
    Warning,
    /// This run has nothing to measure it on.
    Unknown,
}

/// A sign looked for in a round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// Which.
    pub sign: Sign,
    /// What was found.
    pub verdict: Verdict,
    /// The figure, None where it is unknown.
    pub figure: Option<f64>,
    /// The limit it is held against, None where it is unknown.
    pub limit: Option<f64>,
    /// The figure in a sentence.
    pub finding: String,
    /// What to do if it is a warning, or to have it measured.
    pub advice: String,
}

/// What the pairs of a round say, collected one by one. Of a pair 8 bytes stay in memory, and of each different text 8.
#[derive(Debug)]
pub struct Pairs {
    /// Of the pairs whose responses differ and that were measured: equal ones have distance 0 and length difference 0,
    /// and would make any encoder look as if it measured length and any schedule as if it served few.
    distances: Vec<f32>,
    /// Of the same, tokens of chosen less tokens of rejected, without sign.
    length_differences: Vec<u32>,
    /// Of all pairs whose responses differ.
    weights: Weights,
    /// Of the same, what is chosen and what is rejected.
    texts: [Texts; 2],
    prompts: Prompts,
}

impl Pairs {
    /// For at most so many pairs; what does not stay in memory lies in unnamed files in `dir`.
    pub fn new(dir: &Path, most: usize) -> Result<Self> {
        let prompts = Prompts::new(dir, most)?;
        let (weights, texts) = Default::default();
        Ok(Self { distances: vec![], length_differences: vec![], weights, texts, prompts })
    }

    /// Adds a pair by its chosen and rejected text and their tokens; `distance` is None where none was measured.
    pub fn add(&mut self, texts: [&str; 2], tokens: [usize; 2], distance: Option<f32>, weight: f32) {
        if texts[0] != texts[1] {
            self.texts.iter_mut().zip(texts).for_each(|(all, text)| all.add(text));
            self.weights.add(weight.into());
            self.distances.extend(distance);
            self.length_differences.extend(distance.map(|_| tokens[0].abs_diff(tokens[1]) as u32));
        }
    }

    /// Adds a prompt, once however many pairs it has.
    pub fn add_prompt(&mut self, prompt: &str) -> Result<()> {
        self.prompts.add(prompt)
    }
}

/// What a round's latents say: the encoder's report on its fit, and the effective rank of chosen and rejected latents
/// together.
#[derive(Debug)]
pub struct Latents {
    /// Figures of the fit by name.
    pub fit: BTreeMap<String, f64>,
    /// See [`effective_rank`].
    pub rank: f64,
}

/// The signs that show before training. `latents` is None where weights do not depend on distances, `choices` where
/// each prompt has one response beside the golden one.
pub fn scored(pairs: &Pairs, latents: Option<&Latents>, choices: Option<&Choices>, limits: &Limits) -> Vec<Diagnosis> {
    let mut all = vec![];
    if let Some(latents) = latents {
        all.push(reconstruction(&latents.fit, limits.min_latent_gain));
        all.push(unknown(
            Sign::Preference,
            "whether nearer means better needs rows on which people (or a checker) have said which response is better",
            "name such rows in the config and run `ldalign validate` before trusting distances",
        ));
        let rank = latents.rank;
        all.push(Diagnosis {
            sign: Sign::CollapsedLatents,
            verdict: warn_if(rank < limits.min_latent_rank),
            figure: Some(rank),
            limit: Some(limits.min_latent_rank),
            finding: format!("the latents spread over {rank:.1} directions (effective rank)"),
            advice: "use another encoder, layer or pooling; of a trained encoder, fit it longer or with other options"
                .into(),
        });
        all.push(length(pairs, limits.max_length_correlation));
    }
    all.push(outliers(pairs, limits.min_effective_share));
    let share = pairs.prompts.duplicate_share();
    all.push(Diagnosis {
        sign: Sign::DuplicatePrompts,
        verdict: warn_if(share > limits.max_duplicate_prompts),
        figure: Some(share),
        limit: Some(limits.max_duplicate_prompts),
        finding: format!("{:.1} % of the prompts nearly repeat an earlier one", 100.0 * share),
        advice: "thin the data out, or sample more responses of different prompts".into(),
    });
    let [chosen, rejected] = &pairs.texts;
    all.push(boilerplate::diagnosis(chosen, rejected, limits.max_boilerplate));
    all.extend(choices.into_iter().flat_map(|choices| choices::diagnoses(choices, limits)));
    all
}

/// The sign that shows in training: `rewards` are the steps' means of chosen responses, `tokens` those responses' mean
/// length.
pub fn trained(rewards: &[f64], tokens: f64, config: &TrainConfig, limits: &Limits) -> Diagnosis {
    let limit = limits.max_likelihood_drop;
    // The last quarter, so that one odd batch does not decide.
    let late = &rewards[rewards.len() - rewards.len().div_ceil(4)..];
    let drop = -mean(late) / config.beta / tokens;
    if !drop.is_finite() {
        return unknown(Sign::Displacement, "training wrote no rewards", "raise max_steps or lower logging_steps");
    }
    Diagnosis {
        sign: Sign::Displacement,
        verdict: warn_if(drop > limit),
        figure: Some(drop),
        limit: Some(limit),
        finding: match drop > 0.0 {
            true => format!("golden responses lost {drop:.3} nats of log-probability a token"),
            false => format!("golden responses gained {:.3} nats of log-probability a token", -drop),
        },
        advice: "lower learning_rate, raise beta, or set sft_weight, which holds golden responses up".into(),
    }
}

fn reconstruction(fit: &BTreeMap<String, f64>, limit: f64) -> Diagnosis {
    let sign = Sign::Reconstruction;
    let Some(&gain) = fit.get("latent_gain") else {
        return unknown(
            sign,
            "this encoder reconstructs nothing, so what its latents carry is not known",
            "use an encoder that reports `latent_gain`, such as guided",
        );
    };
    let shuffled = match (fit.get("nll_shuffled_latent"), fit.get("nll_with_latent")) {
        (Some(shuffled), Some(with)) => {
            format!("; another response's latent costs {:.3} nats a token more than the right one", shuffled - with)
        }
        _ => String::new(),
    };
    Diagnosis {
        sign,
        verdict: warn_if(gain < limit),
        figure: Some(gain),
        limit: Some(limit),
        finding: format!("the latent saves {gain:.3} nats a token of the response{shuffled}"),
        advice: "train the encoder longer or make it larger; until then its distances mean little".into(),
    }
}

fn length(pairs: &Pairs, limit: f64) -> Diagnosis {
    let Some(rho) = rank_correlation(&pairs.distances, &pairs.length_differences) else {
        return unknown(
            Sign::Length,
            "all pairs are alike in distance or in length",
            "look at some pairs in the report",
        );
    };
    Diagnosis {
        sign: Sign::Length,
        verdict: warn_if(rho > limit),
        figure: Some(rho),
        limit: Some(limit),
        finding: format!("the rank correlation of distance with difference in length is {rho:.2} (1: length alone)"),
        advice: "use another encoder, layer or pooling".into(),
    }
}

fn outliers(pairs: &Pairs, limit: f64) -> Diagnosis {
    let Weights { count: n, sum, largest, .. } = pairs.weights;
    let size = pairs.weights.effective_size();
    if size == 0.0 {
        return unknown(Sign::Outliers, "no pair that differs has any weight", "look at some pairs in the report");
    }
    let (share, largest) = (size / n as f64, largest / sum);
    Diagnosis {
        sign: Sign::Outliers,
        verdict: warn_if(share < limit),
        figure: Some(share),
        limit: Some(limit),
        finding: format!(
            "the weights count like {size:.0} equal ones of {n} pairs that differ; the largest has {:.1} % of all weight",
            100.0 * largest
        ),
        advice: "clip the schedule, or use rank weights".into(),
    }
}

fn warn_if(wrong: bool) -> Verdict {
    if wrong { Verdict::Warning } else { Verdict::Healthy }
}

fn unknown(sign: Sign, finding: &str, advice: &str) -> Diagnosis {
    let (finding, advice) = (finding.to_owned(), advice.to_owned());
    Diagnosis { sign, verdict: Verdict::Unknown, figure: None, limit: None, finding, advice }
}

/// Logs each warning with its advice.
pub fn warn(round: u64, all: &[Diagnosis]) {
    for d in all.iter().filter(|d| d.verdict == Verdict::Warning) {
        tracing::warn!("round {round}, {}: {}. Advice: {}", d.sign.name(), d.finding, d.advice);
    }
}

#[cfg(test)]
mod tests;

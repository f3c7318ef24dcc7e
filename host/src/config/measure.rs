//! What a run is measured by: held-out rows, annotated rows, and limits of what looks wrong.

use super::{DataConfig, GenerateConfig, OneOrMore, PluginChoice};
use crate::checker::Checker;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Held-out rows with checkable answers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct EvalConfig {
    /// Rows, read like the training rows. Weights that they bring do not count: each row is one of all.
    pub data: OneOrMore<DataConfig>,
    /// How a generated response is compared with the golden one.
    #[serde(default)]
    pub checker: Checker,
    /// Sampling for the sampled accuracy; the run's `generate` by default. Greedy responses are measured besides.
    #[serde(default)]
    pub generate: Option<GenerateConfig>,
    /// Measures the model before the first and after the last round alone.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub last_round_only: bool,
}

impl EvalConfig {
    /// Whether the model after `round` (0: before the first) of so many is measured.
    pub fn measures(&self, round: u64, rounds: u64) -> bool {
        !self.last_round_only || round == 0 || round == rounds
    }
}

/// Judged responses on which distances are held against the judgements, and what is held against them. The judgements
/// are in rows of their own, `data`, or a `checker` makes them; or there are none, `unjudged`: one of the three.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ValidateConfig {
    /// Rows of `prompt`, `golden` and either `better` and `worse`, or `responses`, each a `text` with a `label` (true
    /// or false, or a number: the higher, the better). `fields` maps these names; that of `responses` may be several
    /// keys with commas between, each a response or a list of them. `turns` does not apply.
    #[serde(default)]
    pub data: Option<DataConfig>,
    /// Judges the run's own samples of its first round to the training rows, those of `ldalign generate`: good is what
    /// says what the golden response says. Where that is wrong, so is the judgement.
    #[serde(default)]
    pub checker: Option<Checker>,
    /// Takes the run's own samples as they are. Then it is said how a distance splits them, and whether others agree,
    /// but nothing of whether nearer is better.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub unjudged: bool,
    /// Encoders; the config's `encoder` where there is none.
    #[serde(default)]
    pub encoders: Vec<PluginChoice>,
    /// Distances, each tried with every encoder; the config's `distance` where there is none.
    #[serde(default)]
    pub distances: Vec<PluginChoice>,
}

/// Limits of the signs that training is going wrong ([`crate::diagnose`]).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Nats a token that the encoder's latent must save in reconstructing responses, where the encoder reports it.
    pub min_latent_gain: f64,
    /// Effective sample size of the weights over the number of pairs that differ.
    #[schemars(range(min = 0, max = 1))]
    pub min_effective_share: f64,
    /// Effective rank of the latents.
    #[schemars(range(min = 0))]
    pub min_latent_rank: f64,
    /// Share of prompts that nearly repeat an earlier one.
    #[schemars(range(min = 0, max = 1))]
    pub max_duplicate_prompts: f64,
    /// Rank correlation of distance with difference in length, over all pairs, and over the samples of each prompt.
    #[schemars(range(min = -1, max = 1))]
    pub max_length_correlation: f64,
    /// Share of the pairs that one text may have on either side.
    #[schemars(range(min = 0, max = 1))]
    pub max_boilerplate: f64,
    /// Share of prompts whose samples may be all the same.
    #[schemars(range(min = 0, max = 1))]
    pub max_same_samples: f64,
    /// Share of prompts whose chosen sample may be the most frequent one, above what chance would choose.
    #[schemars(range(min = -1, max = 1))]
    pub max_likeliest_excess: f64,
    /// Nats a token that golden responses may lose in a round's training.
    pub max_likelihood_drop: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            min_latent_gain: 0.02,
            min_effective_share: 0.25,
            min_latent_rank: 2.0,
            max_duplicate_prompts: 0.1,
            max_length_correlation: 0.7,
            max_boilerplate: 0.1,
            max_same_samples: 0.5,
            max_likeliest_excess: 0.3,
            max_likelihood_drop: 0.1,
        }
    }
}

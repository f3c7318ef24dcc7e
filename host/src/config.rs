//! The typed configuration of a run. What a YAML file may say is exactly these structs: the schema that finds a file's
//! faults is derived from them.
//!
//! Relative paths, also those given by `--set`, start at the directory of the config file.

mod device;
mod load;
mod rules;
mod schema;
mod source;

pub use device::gpu;
pub(crate) use load::report;
pub use schema::{Fault, check, suggest};
pub(crate) use source::Source;

use crate::ops::Precision;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Everything `ldalign run` needs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Directory of the starting model, Hugging Face layout.
    #[schemars(extend("format" = "directory"))]
    pub model: PathBuf,
    /// Where the run writes everything.
    #[schemars(extend("format" = "path"))]
    pub output_dir: PathBuf,
    /// Rounds of generate, encode, weigh, train.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub rounds: u64,
    /// Seed of everything random.
    #[serde(default)]
    pub seed: u64,
    /// `cpu`, or `cuda:N` where built with the feature `cuda`. With the feature `flash-attn` attention is rounded to bf16 there,
    /// whatever `bf16` says.
    #[serde(default = "cpu")]
    pub device: String,
    /// Rounds the operands of all matrix products to bfloat16, which is faster where the processor has instructions for it.
    /// Sums and weights that are trained stay f32; frozen weights take half the memory.
    #[serde(default)]
    pub bf16: bool,
    /// Threads; 0 for one per core.
    #[serde(default)]
    pub threads: usize,
    /// The SFT (or preference) rows.
    pub data: DataConfig,
    /// How losers are sampled. Unused where the data has rejected responses.
    #[serde(default)]
    pub generate: GenerateConfig,
    /// Encoder plugin.
    #[serde(default = "default_encoder")]
    pub encoder: PluginChoice,
    /// Distance plugin.
    #[serde(default = "default_distance")]
    pub distance: PluginChoice,
    /// Schedule plugin.
    #[serde(default = "default_schedule")]
    pub schedule: PluginChoice,
    /// Deals the distances of a round's pairs out among them by a seeded shuffle: an ablation, in which weights have the same values
    /// and say nothing about their pairs. Pairs whose two responses are equal keep theirs, since no weight moves anything there.
    #[serde(default, skip_serializing_if = "is_false")]
    pub permute_distances: bool,
    /// Weighted DPO.
    #[serde(default)]
    pub train: TrainConfig,
    /// Held-out evaluation before the first and after every round.
    #[serde(default)]
    pub eval: Option<EvalConfig>,
    /// Annotated rows for `ldalign validate`; a run does not use them.
    #[serde(default)]
    pub validate: Option<ValidateConfig>,
    /// From where on a round's figures are warned about.
    #[serde(default)]
    pub diagnostics: Limits,
    /// Directories searched for plugins named without a path.
    #[serde(default)]
    #[schemars(extend("items" = {"type": "string", "format": "directory"}))]
    pub plugin_path: Vec<PathBuf>,
    /// Lock file of the installed plugins; `ldalign.lock` beside the config by default, where there is one.
    #[serde(default)]
    #[schemars(extend("format" = "file"))]
    pub plugin_lock: Option<PathBuf>,
    /// Names of installed plugins to use although no trusted key has signed them, or although they were modified.
    #[serde(default)]
    pub allow_plugins: Vec<String>,
}

impl RunConfig {
    /// Number format of the products' operands.
    pub fn precision(&self) -> Precision {
        if self.bf16 { Precision::Bf16 } else { Precision::F32 }
    }
}

fn one() -> u64 {
    1
}
fn is_false(value: &bool) -> bool {
    !value
}
fn cpu() -> String {
    "cpu".into()
}
fn default_encoder() -> PluginChoice {
    PluginChoice::bundled("policy-states")
}
fn default_distance() -> PluginChoice {
    PluginChoice::bundled("euclidean")
}
fn default_schedule() -> PluginChoice {
    PluginChoice::bundled("linear")
}

/// A plugin and its options: `euclidean`, or `{plugin: ./libmine.so, id: mine, options: {...}}`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(from = "ChoiceForm")]
pub struct PluginChoice {
    /// Bundled id, name on the search path or of an installed plugin, or path of a library.
    pub plugin: String,
    /// Which of the library's ids, where it provides several of the kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The plugin's own options, checked against its schema before a model is loaded.
    pub options: serde_json::Map<String, serde_json::Value>,
}

/// How a choice is written: a name alone, or with its id and options.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
enum ChoiceForm {
    Name(String),
    Map {
        plugin: String,
        #[serde(default)]
        id: Option<String>,
        #[serde(default)]
        options: serde_json::Map<String, serde_json::Value>,
    },
}

impl From<ChoiceForm> for PluginChoice {
    fn from(form: ChoiceForm) -> Self {
        match form {
            ChoiceForm::Name(plugin) => Self { plugin, id: None, options: Default::default() },
            ChoiceForm::Map { plugin, id, options } => Self { plugin, id, options },
        }
    }
}

impl PluginChoice {
    /// A bundled plugin with its default options.
    pub fn bundled(id: &str) -> Self {
        Self { plugin: id.into(), id: None, options: Default::default() }
    }
}

/// Rows and how to read them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// JSONL (or, with the feature, Parquet) file.
    #[schemars(extend("format" = "file"))]
    pub path: PathBuf,
    /// Our field -> the file's field, e.g. `{prompt: question, completion: answer}`.
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
    /// Which assistant turns of a conversation become pairs.
    #[serde(default)]
    pub turns: Turns,
    /// Use only the first N rows; 0 for all.
    #[serde(default)]
    pub max_rows: usize,
    /// System message put before prompts that have none.
    #[serde(default)]
    pub system: Option<String>,
    /// Tokens of prompt and completion together.
    #[serde(default = "max_length")]
    #[schemars(range(min = 2))]
    pub max_length: usize,
    /// Tokens kept of a prompt, its end; 0 for no limit of its own.
    #[serde(default)]
    pub max_prompt_length: usize,
}

impl DataConfig {
    /// All rows of a file, with every default.
    pub fn of(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            fields: BTreeMap::new(),
            turns: Turns::default(),
            max_rows: 0,
            system: None,
            max_length: max_length(),
            max_prompt_length: 0,
        }
    }
}

fn max_length() -> usize {
    1024
}

/// Assistant turns that become pairs.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Turns {
    /// Every assistant turn, with the turns before as prompt.
    All,
    /// The last assistant turn.
    #[default]
    Last,
}

/// Sampling.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct GenerateConfig {
    /// Tokens sampled at most.
    #[schemars(range(min = 1))]
    pub max_new_tokens: usize,
    /// 0 is greedy.
    #[schemars(range(min = 0))]
    pub temperature: f32,
    /// Keep the k likeliest tokens; 0 for all.
    pub top_k: usize,
    /// Keep the smallest set of tokens with at least this probability.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub top_p: f32,
    /// Sequences decoded together.
    #[schemars(range(min = 1))]
    pub batch_size: usize,
}

impl Default for GenerateConfig {
    fn default() -> Self {
        Self { max_new_tokens: 256, temperature: 1.0, top_k: 0, top_p: 1.0, batch_size: 16 }
    }
}

/// Weighted DPO (and, for `sft`, the part that applies there). Names are TRL's where TRL has one.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// sigmoid, hinge or ipo.
    pub loss_type: LossType,
    /// Strength of the pull to the reference.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub beta: f64,
    /// cDPO: probability that a label is wrong, in 0..0.5.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 0.5))]
    pub label_smoothing: f64,
    /// Weight of the SFT loss on chosen responses (RPO's alpha); 0 for none.
    #[schemars(range(min = 0))]
    pub sft_weight: f64,
    /// Peak learning rate.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub learning_rate: f64,
    /// constant, linear or cosine, after warm-up.
    pub lr_scheduler_type: LrSchedulerType,
    /// Share of the steps that warm up.
    #[schemars(range(min = 0, max = 1))]
    pub warmup_ratio: f64,
    /// Decoupled weight decay.
    #[schemars(range(min = 0))]
    pub weight_decay: f64,
    /// Adam's betas.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub adam_beta1: f64,
    /// See `adam_beta1`.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub adam_beta2: f64,
    /// Adam's epsilon.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub adam_epsilon: f64,
    /// Gradients are scaled to this norm at most; 0 for never.
    #[schemars(range(min = 0))]
    pub max_grad_norm: f64,
    /// Passes over the pairs.
    #[schemars(range(min = 1))]
    pub num_train_epochs: u64,
    /// Optimizer steps; overrides epochs where above 0.
    pub max_steps: u64,
    /// Rows in one forward and backward pass.
    #[schemars(range(min = 1))]
    pub per_device_train_batch_size: usize,
    /// Passes summed before an optimizer step.
    #[schemars(range(min = 1))]
    pub gradient_accumulation_steps: usize,
    /// Steps between checkpoints; 0 for only at the end of an epoch.
    pub save_steps: u64,
    /// Checkpoints kept.
    #[schemars(range(min = 1))]
    pub save_total_limit: usize,
    /// Steps between metric lines.
    #[schemars(range(min = 1))]
    pub logging_steps: u64,
    /// Low-rank adapters instead of full fine-tuning.
    pub lora: Option<LoraConfig>,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            loss_type: LossType::Sigmoid,
            beta: 0.1,
            label_smoothing: 0.0,
            sft_weight: 0.0,
            learning_rate: 1e-6,
            lr_scheduler_type: LrSchedulerType::Linear,
            warmup_ratio: 0.1,
            weight_decay: 0.0,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            max_grad_norm: 1.0,
            num_train_epochs: 1,
            max_steps: 0,
            per_device_train_batch_size: 4,
            gradient_accumulation_steps: 4,
            save_steps: 50,
            save_total_limit: 2,
            logging_steps: 1,
            lora: None,
        }
    }
}

/// DPO's loss of beta times the difference of log-ratios.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LossType {
    /// -log sigmoid (DPO, SPIN).
    Sigmoid,
    /// max(0, 1 - x) (SLiC, SPIN's other loss).
    Hinge,
    /// Squared distance to 1/(2 beta) of length-averaged log-ratios, as TRL.
    Ipo,
}

/// Shape of the learning rate after warm-up.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LrSchedulerType {
    /// Stays at the peak.
    Constant,
    /// Falls to 0 in a line.
    Linear,
    /// Falls to 0 along half a cosine.
    Cosine,
}

/// Low-rank adapters, PEFT's names.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// Rank.
    #[schemars(range(min = 1))]
    pub r: usize,
    /// Scale is lora_alpha / r.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub lora_alpha: f64,
    /// Module names such as q_proj; `all-linear` for every linear layer but the head.
    #[schemars(length(min = 1))]
    pub target_modules: Vec<String>,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self { r: 16, lora_alpha: 32.0, target_modules: vec!["all-linear".into()] }
    }
}

/// Held-out rows with checkable answers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct EvalConfig {
    /// Rows, read like the training rows.
    pub data: DataConfig,
    /// How a generated response is compared with the golden one.
    #[serde(default)]
    pub checker: Checker,
    /// Sampling for the sampled accuracy; the run's `generate` by default. Greedy responses are measured besides.
    #[serde(default)]
    pub generate: Option<GenerateConfig>,
}

/// Annotated rows on which distances are held against judgements, and what is held against them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ValidateConfig {
    /// Rows of `prompt`, `golden` and either `better` and `worse`, or `responses`, each a `text` with a `label` (true or false, or a
    /// number: the higher, the better). `fields` maps these names; that of `responses` may be several keys with commas between, each
    /// a response or a list of them. `turns` does not apply.
    pub data: DataConfig,
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
    /// Rank correlation of distance with difference in length.
    #[schemars(range(min = -1, max = 1))]
    pub max_length_correlation: f64,
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
            max_likelihood_drop: 0.1,
        }
    }
}

/// When a response counts as right.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Checker {
    /// Equal after trimming white space.
    #[default]
    Exact,
    /// The last number in the text is equal (GSM8K).
    LastNumber,
    /// `{regex: 'answer is (\w+)'}`: what the expression's first match holds in its first group (all of it where there is no group) is
    /// equal; a golden response without a match is the answer itself.
    Regex(String),
}

#[cfg(test)]
mod tests;

//! The typed configuration of a run. What a YAML file may say is exactly these structs: the schema that finds a file's
//! faults is derived from them.
//!
//! Relative paths, also those given by `--set`, start at the directory of the config file.

mod data;
mod device;
mod load;
mod losses;
mod measure;
mod names;
mod one_or_more;
mod other_trainers;
mod preset;
mod quantize;
mod reference;
mod rules;
mod sampling;
mod schema;
mod source;
mod train;

pub use data::{DataConfig, Turns};
pub use device::gpu;
pub(crate) use load::report;
pub use losses::{LossType, Losses};
pub use measure::{EvalConfig, Limits, ValidateConfig};
pub use names::{ANNOTATED_FIELDS, LOCK_FILE, ROW_FIELDS, long_key};
pub use one_or_more::OneOrMore;
pub use preset::Preset;
pub use quantize::Quantize;
pub use reference::markdown;
pub use sampling::{Bounds, GenerateConfig};
pub(crate) use schema::at_home;
pub use schema::{Fault, check, suggest};
pub(crate) use source::ConfigText;
pub use train::{LoraConfig, LrSchedulerType, SchedulerKwargs, TrainConfig};

use crate::{ops::Precision, pairs::Pairing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Everything `ldalign run` needs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Where its relative paths start, those in options of plugins among them.
    #[serde(skip)]
    pub directory: PathBuf,
    /// The starting model: a directory as Hugging Face has it, a PEFT adapter's, or a GGUF file.
    #[schemars(extend("format" = "model"))]
    pub model: PathBuf,
    /// Where the run writes everything.
    #[schemars(extend("format" = "path"))]
    pub output_dir: PathBuf,
    /// Rounds of generate, encode, weigh, train.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = train::MOST))]
    pub rounds: u64,
    /// Seed of everything random.
    #[serde(default)]
    pub seed: u64,
    /// `cpu`, or `cuda:N` where built with the feature `cuda`. With the feature `flash-attn` attention is rounded to
    /// bf16 there, whatever `bf16` says.
    #[serde(default = "cpu")]
    pub device: String,
    /// Rounds the operands of all matrix products to bfloat16, which is faster where the processor has instructions for
    /// it. Sums and weights that are trained stay f32; frozen weights take half the memory.
    #[serde(default)]
    pub bf16: bool,
    /// Makes the matrices of the model's linear modules, which `train.lora` leaves frozen, into 4 bits while they are
    /// loaded (QLoRA): `nf4`, with double quantisation as bitsandbytes has it. Embedding, head, norms and biases stay.
    /// On the CPU, for models without experts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantize: Option<Quantize>,
    /// Threads; 0 for one per core.
    #[serde(default)]
    #[schemars(range(max = 4096))]
    pub threads: usize,
    /// A method by its name, in place of `generate.samples`, `pairs` and `schedule`: `paper` or `spin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// The SFT (or preference) rows: of one file, or of a list of files, whose rows follow each other. Either all files
    /// bring rejected responses or none, and the same of weights.
    pub data: OneOrMore<DataConfig>,
    /// How the model's own responses are sampled. Unused where the data has rejected responses.
    #[serde(default)]
    pub generate: GenerateConfig,
    /// Which of a prompt's responses become pairs: a rule, or
    /// `{rule: ..., drop_equal: ..., drop_cut: ..., min_distance: ...}`. Unused where the data has rejected responses.
    #[serde(default)]
    pub pairs: Pairing,
    /// Encoder plugin.
    #[serde(default = "default_encoder")]
    pub encoder: PluginChoice,
    /// Distance plugin.
    #[serde(default = "default_distance")]
    pub distance: PluginChoice,
    /// Schedule plugin. In a file that names none it is `linear`, and `uniform` for the rules `nearest-over-farthest`
    /// and `medoid-over-outlier`.
    #[serde(default = "default_schedule")]
    pub schedule: PluginChoice,
    /// Randomly permutes the distances of a round's pairs among them, by the seed: an ablation, in which weights have
    /// the same values and say nothing about their pairs. Pairs whose two responses are equal keep theirs, since no
    /// weight moves anything there. With a rule that chooses among several samples, the choice is random too.
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
    /// Uses no plugins but those that came with the program and those that the lock file pins.
    #[serde(default, skip_serializing_if = "is_false")]
    pub locked: bool,
    /// Seconds in which a plugin that was called must return or ask something of the host, be it to show its progress;
    /// 0 for no limit.
    #[serde(default = "an_hour")]
    pub plugin_timeout: u64,
    /// MiB that the process may hold while a plugin is called, the model's included; 0 for no limit.
    #[serde(default)]
    pub plugin_memory: u64,
}

impl RunConfig {
    /// Responses that are sampled to each prompt.
    pub fn samples(&self) -> usize {
        self.generate.samples.unwrap_or_else(|| self.pairs.rule.samples().1)
    }

    /// Files and directories that a run reads as a whole: the model's, the data's, and those that plugins' options
    /// name.
    pub fn reads(&self) -> Vec<&Path> {
        let eval = self.eval.iter().flat_map(|eval| eval.data.iter());
        let validate = self.validate.iter().filter_map(|validate| validate.data.as_ref());
        let data = self.data.iter().chain(eval).chain(validate).map(|data| data.path.as_path());
        let choices = [&self.encoder, &self.distance, &self.schedule].into_iter();
        let options = choices.flat_map(|choice| choice.options.values()).filter_map(|value| value.as_str());
        // A word is no path, whatever lies there.
        let options = options.filter(|text| text.contains('/')).map(Path::new);
        [self.model.as_path()].into_iter().chain(data).chain(options).collect()
    }

    /// Number format of the products' operands.
    pub fn precision(&self) -> Precision {
        if self.bf16 { Precision::Bf16 } else { Precision::F32 }
    }
}

fn one() -> u64 {
    1
}
fn an_hour() -> u64 {
    3600
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

#[cfg(test)]
mod tests;

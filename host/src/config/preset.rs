//! Keys that a file may leave out because others say them: a preset, a method's name, stands for a few, and the rule
//! for pairs brings the schedule along.

use super::RunConfig;
use crate::pairs::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A method by its name. It stands for `generate.samples`, `pairs` and `schedule`, where the file does not give them;
/// a file that gives them otherwise contradicts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Latent Distance Guided Alignment (arXiv 2404.06390): one sample a prompt, the golden response over it, weighted
    /// linearly by the distance between the two.
    Paper,
    /// SPIN (Chen et al. 2024, arXiv 2401.01335): the same pairs, every one counting the same.
    Spin,
}

/// What every preset samples, and how it makes pairs.
const SAMPLES: usize = 1;
const RULE: Rule = Rule::GoldenOverOwn;

/// Writes what its preset and its rule stand for into a config, where it has nothing of its own.
pub fn fill(config: &mut Value) {
    let default = |section: &mut Value, key: &str, value: Value| {
        if section.is_null() {
            *section = json!({});
        }
        if let Some(map) = section.as_object_mut() {
            map.entry(key).or_insert(value);
        }
    };
    if let Some(preset) = config.get("preset").and_then(named::<Preset>) {
        default(&mut config["generate"], "samples", json!(SAMPLES));
        default(&mut config["pairs"], "rule", json!(RULE.name()));
        default(config, "schedule", json!(preset.schedule()));
    }
    // Weights that grow with the distance take back a part of what such a rule gains (docs/when-it-pays.md).
    let rule = config.get("pairs").and_then(|pairs| named::<Rule>(pairs.get("rule").unwrap_or(pairs)));
    if rule.is_some_and(|rule| !rule.trains_golden()) {
        default(config, "schedule", json!("uniform"));
    }
}

/// What a name means, if it is one; other values are refused where the config is checked.
fn named<T: serde::de::DeserializeOwned>(name: &Value) -> Option<T> {
    serde_json::from_value(name.clone()).ok()
}

impl Preset {
    /// The keys of a config that say another thing, each with what it would have to say.
    pub fn contradictions(self, config: &RunConfig) -> impl Iterator<Item = (&'static str, String)> {
        let keys = [
            ("generate.samples", config.samples() == SAMPLES, SAMPLES.to_string()),
            ("pairs.rule", config.pairs.rule == RULE, RULE.name().to_owned()),
            ("schedule", config.schedule.plugin == self.schedule(), self.schedule().to_owned()),
        ];
        keys.into_iter().filter(|(_, agrees, _)| !agrees).map(|(key, _, value)| (key, value))
    }

    fn schedule(self) -> &'static str {
        match self {
            Self::Paper => "linear",
            Self::Spin => "uniform",
        }
    }
}

//! Presets: methods with a name of their own, as the few keys that make them up.

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

impl Preset {
    /// Writes the keys of the preset that a config names into it, where it has none of its own.
    pub fn fill(config: &mut Value) {
        let Some(preset) = config.get("preset").and_then(|p| serde_json::from_value::<Self>(p.clone()).ok()) else {
            return;
        };
        let default = |section: &mut Value, key: &str, value: Value| {
            if section.is_null() {
                *section = json!({});
            }
            if let Some(map) = section.as_object_mut() {
                map.entry(key).or_insert(value);
            }
        };
        default(&mut config["generate"], "samples", json!(SAMPLES));
        default(&mut config["pairs"], "rule", json!(RULE.name()));
        default(config, "schedule", json!(preset.schedule()));
    }

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

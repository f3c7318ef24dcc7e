//! What a comparison's YAML file may say, and the run configs that come of it, with every fault named by its key.

use crate::{
    Code, Error, Result,
    config::{ConfigText, EvalConfig, Fault, PluginChoice, RunConfig, check, long_key, report, suggest},
    files,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// What is compared.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompareConfig {
    /// Directory of the runs (`ARM/seed-N`), of `compare.json` and of `report.html`.
    #[schemars(extend("format" = "path"))]
    pub output_dir: PathBuf,
    /// The run that the arms vary: the path of its config, or the config itself. Its `eval` section has the rows that
    /// all are measured on. It is checked as `set` changes it. Relative paths in it, and in the arms, start where it is
    /// written.
    #[schemars(extend("anyOf" = [{"type": "string", "format": "file"}, {"type": "object"}]))]
    pub base: Value,
    /// Changes to the base for all arms. Maps are merged into the base's maps, but for a plugin's, which replaces the
    /// one there; all else replaces.
    #[serde(default)]
    pub set: Map<String, Value>,
    /// Each arm is run once for each seed.
    #[serde(default = "one_seed")]
    #[schemars(length(min = 1))]
    pub seeds: Vec<u64>,
    /// The arm that the others are held against; the first by default.
    #[serde(default)]
    pub reference: Option<String>,
    /// How the nearness of responses to the golden ones is measured, in the start's space for all arms.
    #[serde(default)]
    pub nearness: Nearness,
    /// What is compared, by names that are also directories.
    pub arms: BTreeMap<String, ArmConfig>,
}

fn one_seed() -> Vec<u64> {
    vec![0]
}

/// Encoder and distance of a comparison.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Nearness {
    /// The base's by default.
    pub encoder: Option<PluginChoice>,
    /// The base's by default.
    pub distance: Option<PluginChoice>,
}

/// One way of training.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ArmConfig {
    /// `run` or `sft`.
    pub method: Method,
    /// A sentence for the report.
    pub note: String,
    /// Changes to the base, as those for all arms.
    pub set: Map<String, Value>,
}

/// What trains.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// `ldalign run`.
    #[default]
    Run,
    /// As many rounds of `ldalign sft`.
    Sft,
}

/// A comparison that has been checked.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Directory of everything.
    pub output_dir: PathBuf,
    /// Seeds of each arm, all different.
    pub seeds: Vec<u64>,
    /// Index of the arm that the others are held against.
    pub reference: usize,
    /// The base with what is set for all arms; the nearness is measured by its model, encoder and distance.
    pub base: RunConfig,
    /// The base's `eval` section.
    pub eval: EvalConfig,
    /// In the file's order.
    pub arms: Vec<Arm>,
}

/// An arm with its whole config.
#[derive(Debug, Clone)]
pub struct Arm {
    /// Name and directory.
    pub name: String,
    /// What trains.
    pub method: Method,
    /// A sentence for the report, or nothing.
    pub note: String,
    /// The run's config, all but its seed and output directory.
    pub config: RunConfig,
}

/// Keys that the comparison sets itself.
const OURS: [&str; 2] = ["seed", "output_dir"];
/// Keys in which arms may not differ: they would not be measured on the same rows, or not start from one model.
const COMMON: [&str; 2] = ["model", "eval"];

impl Plan {
    /// The base and the config of every arm.
    pub fn configs(&self) -> impl Iterator<Item = &RunConfig> {
        [&self.base].into_iter().chain(self.arms.iter().map(|arm| &arm.config))
    }

    /// Reads a file, applies `overrides` (`key.key=value`) and checks the config of every arm.
    ///
    /// # Errors
    /// All faults of a level at once, each with its key and line: first of the file, then what a base in a file has
    /// wrong and `set` does not mend, then of `set` (and a base in this file), then of the arms.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self> {
        let mut source = ConfigText::parse(path, &files::read_given(path)?)?;
        for assignment in overrides {
            source.set(assignment)?;
        }
        let here = files::parent(path);
        let order: Vec<String> = source.value["arms"].as_object().into_iter().flat_map(Map::keys).cloned().collect();
        let faults = check(&CompareConfig::schema(), &mut source.value, here);
        if !faults.is_empty() {
            return Err(refuse(path, &source, faults));
        }
        let config: CompareConfig = serde_json::from_value(source.value.take()).map_err(|e| {
            Error::new(Code::ConfigInvalid, format!("{}: {e}", path.display())).hint("look at the key that is named")
        })?;
        let fail = |faults: Vec<Fault>| refuse(path, &source, faults);
        let reference = config.rules(&order).map_err(fail)?;
        let Base { value, directory, file } = config.base(here)?;

        let common = resolve(&value, [&config.set], directory).map_err(|found| {
            // What the base itself has wrong and `set` does not mend.
            let own = resolve(&value, [], directory).err().unwrap_or_default();
            let (own, set): (Vec<_>, Vec<_>) = found.into_iter().partition(|fault| own.contains(fault));
            match (own.is_empty(), &file) {
                (true, _) => fail(at("set", set)),
                (false, None) => fail([at("base", own), at("set", set)].concat()),
                (false, Some((file, source))) => refuse(file, source, own),
            }
        })?;
        let base = RunConfig {
            encoder: config.nearness.encoder.clone().unwrap_or(common.encoder.clone()),
            distance: config.nearness.distance.clone().unwrap_or(common.distance.clone()),
            ..common
        };
        let eval = base.eval.clone().ok_or_else(|| {
            let message = "has no `eval` section: the held-out rows that the arms are compared on";
            fail(vec![fault("base", message, Some("add eval: {data: {path: held-out.jsonl}} to it"))])
        })?;
        let (mut arms, mut faults) = (Vec::new(), Vec::new());
        for name in order {
            let ArmConfig { method, note, set } = config.arms[&name].clone();
            match resolve(&value, [&config.set, &set], directory) {
                Ok(config) => arms.push(Arm { name, method, note, config }),
                Err(found) => faults.extend(at(&format!("arms.{name}.set"), found)),
            }
        }
        if !faults.is_empty() {
            return Err(fail(faults));
        }
        Ok(Self { output_dir: config.output_dir, seeds: config.seeds, reference, base, eval, arms })
    }

    /// Downloads what the configs name on the Hub.
    pub fn fetch(&mut self) -> Result<()> {
        for config in std::iter::once(&mut self.base).chain(self.arms.iter_mut().map(|arm| &mut arm.config)) {
            config.fetch()?;
        }
        Ok(())
    }

    /// The run of an arm with a seed.
    pub fn run(&self, arm: &Arm, seed: u64) -> RunConfig {
        RunConfig { seed, output_dir: self.output_dir.join(directory(&arm.name, seed)), ..arm.config.clone() }
    }
}

/// Where a run lies in the comparison's directory.
pub fn directory(arm: &str, seed: u64) -> String {
    format!("{arm}/seed-{seed}")
}

impl CompareConfig {
    /// What a file may say, as a JSON schema.
    pub fn schema() -> Value {
        schemars::schema_for!(Self).to_value()
    }

    /// What the schema cannot say. Returns the index of the reference.
    fn rules(&self, order: &[String]) -> Result<usize, Vec<Fault>> {
        let mut faults = Vec::new();
        if order.is_empty() {
            faults.push(fault("arms", "there is no arm", None));
        }
        for name in order {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
            if name.starts_with('.') || name.is_empty() || !name.chars().all(plain) {
                let message = "the name is also a directory: expected letters, digits and - _ . +";
                faults.push(fault(&format!("arms.{name}"), message, None));
            }
        }
        if self.seeds.iter().collect::<BTreeSet<_>>().len() < self.seeds.len() {
            faults.push(fault("seeds", "a seed is there twice: the two runs would be the same", None));
        }
        let mut forbid = |section: String, set: &Map<String, Value>, keys: &[&str], why: &str| {
            for key in keys.iter().filter(|key| set.contains_key(**key)) {
                faults.push(fault(&format!("{section}.{key}"), why, None));
            }
        };
        let ours = "the comparison sets this itself, by `seeds` and its own `output_dir`";
        forbid("set".into(), &self.set, &OURS, ours);
        for (name, arm) in &self.arms {
            forbid(format!("arms.{name}.set"), &arm.set, &OURS, ours);
            forbid(
                format!("arms.{name}.set"),
                &arm.set,
                &COMMON,
                "all arms have it in common: change the base, or `set`",
            );
        }
        let reference = match &self.reference {
            None => 0,
            Some(name) => order.iter().position(|arm| arm == name).unwrap_or_else(|| {
                let near = suggest(name, order.iter().map(String::as_str));
                let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                faults.push(fault("reference", &format!("there is no arm `{name}`{near}"), None));
                0
            }),
        };
        if faults.is_empty() { Ok(reference) } else { Err(faults) }
    }

    /// Reads the base, which is not checked.
    fn base<'a>(&'a self, here: &'a Path) -> Result<Base<'a>> {
        let Some(file) = self.base.as_str().map(Path::new) else {
            return Ok(Base { value: self.base.clone(), directory: here, file: None });
        };
        let mut source = ConfigText::parse(file, &files::read_text(file)?)?;
        Ok(Base { value: source.value.take(), directory: files::parent(file), file: Some((file, source)) })
    }
}

/// The base as written.
struct Base<'a> {
    value: Value,
    /// Where its paths start.
    directory: &'a Path,
    /// Its file, if it has one of its own.
    file: Option<(&'a Path, ConfigText)>,
}

fn fault(key: &str, message: &str, hint: Option<&str>) -> Fault {
    Fault { key: key.into(), message: message.into(), hint: hint.map(str::to_owned) }
}

/// The error for faults of the comparison's file or of its base, as `set` changes it, which `ldalign check` knows
/// nothing of.
fn refuse(path: &Path, source: &ConfigText, mut faults: Vec<Fault>) -> Error {
    if faults.iter().all(|f| f.hint.is_none())
        && let Some(first) = faults.first_mut()
    {
        first.hint = Some("correct it and run the same command again; nothing has been trained".into());
    }
    report(path, source, faults)
}

/// Faults of a config as faults of a section of the comparison.
fn at(section: &str, faults: Vec<Fault>) -> Vec<Fault> {
    faults.into_iter().map(|f| Fault { key: format!("{section}.{}", f.key), ..f }).collect()
}

/// The base with changes, checked as a run's config.
fn resolve<const N: usize>(
    base: &Value,
    changes: [&Map<String, Value>; N],
    directory: &Path,
) -> Result<RunConfig, Vec<Fault>> {
    let mut value = base.clone();
    if let Some(map) = value.as_object_mut() {
        changes.into_iter().for_each(|set| merge(map, set));
        // In place of the comparison's own.
        map.insert("output_dir".into(), json!("."));
    }
    RunConfig::of_value(value, directory)
}

/// Puts the values of `over` in place of those in `map`; see [`CompareConfig::set`].
fn merge(map: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, new) in over {
        match (map.get_mut(key), new) {
            (Some(Value::Object(old)), Value::Object(new)) if !new.contains_key("plugin") => merge(old, new),
            // Options for `encoder: autoencoder`.
            (Some(Value::String(name)), Value::Object(new)) if !new.contains_key(long_key(key)) => {
                let mut choice = Map::from_iter([(long_key(key).to_owned(), json!(name))]);
                merge(&mut choice, new);
                map.insert(key.clone(), choice.into());
            }
            _ => drop(map.insert(key.clone(), new.clone())),
        }
    }
}

#[cfg(test)]
mod tests;

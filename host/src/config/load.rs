//! From a file and overrides to a checked config, with every fault reported at once.

use super::{DataConfig, Fault, PluginChoice, RunConfig, SftConfig, TrainConfig, rules, schema, source::Source};
use crate::{Error, Result, files};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use std::path::{Path, PathBuf};

/// A config file's type: what its rules and its paths on the Hub are found by.
pub trait Config: Serialize + DeserializeOwned + JsonSchema {
    /// The parts that rules between keys are about.
    fn parts(&mut self) -> Parts<'_>;

    /// The config with all defaults spelled out, as YAML that [`load`] reads back.
    fn to_yaml(&self) -> Result<String> {
        serde_saphyr::to_string(self).map_err(|e| Error::new("config/write", "cannot write the config").caused_by(e))
    }
}

/// The parts that kinds of configs share.
pub struct Parts<'a> {
    pub(super) model: &'a mut PathBuf,
    pub(super) device: &'a str,
    /// Key and section of each data file.
    pub(super) data: Vec<(&'static str, &'a mut DataConfig)>,
    pub(super) train: &'a TrainConfig,
    pub(super) plugins: Vec<&'a mut PluginChoice>,
}

impl Config for RunConfig {
    fn parts(&mut self) -> Parts<'_> {
        let eval = self.eval.iter_mut().map(|e| ("eval.data", &mut e.data));
        Parts {
            model: &mut self.model,
            device: &self.device,
            data: std::iter::once(("data", &mut self.data)).chain(eval).collect(),
            train: &self.train,
            plugins: vec![&mut self.encoder, &mut self.distance, &mut self.schedule],
        }
    }
}

impl Config for SftConfig {
    fn parts(&mut self) -> Parts<'_> {
        Parts {
            model: &mut self.model,
            device: &self.device,
            data: vec![("data", &mut self.data)],
            train: &self.train,
            plugins: vec![],
        }
    }
}

/// Reads a config file, applies `overrides` (`key.key=value`), and makes its paths absolute.
///
/// Fails with every fault at once: unknown keys, wrong types, values out of range, missing files, contradictions.
pub fn load<C: Config>(path: &Path, overrides: &[String]) -> Result<C> {
    let mut source = Source::parse(path, &files::read_text(path)?)?;
    for assignment in overrides {
        source.set(assignment)?;
    }
    let base = path.parent().unwrap_or(Path::new(""));
    let schema = schemars::schema_for!(C).to_value();
    let mut faults = schema::check(&schema, &mut source.value, base);
    // What `check` leaves can be deserialized, so that contradictions are reported along with the rest.
    let mut config: C = serde_json::from_value(source.value.take()).map_err(|e| {
        Error::new("config/invalid", format!("{}: {e}", path.display())).hint("look at the key that is named")
    })?;
    rules::check(config.parts(), base, &mut faults);
    if faults.is_empty() { Ok(config) } else { Err(report(path, &source, faults)) }
}

/// One error for all faults, each with its key and place.
fn report(path: &Path, source: &Source, faults: Vec<Fault>) -> Error {
    let lines: Vec<String> = faults
        .iter()
        .map(|f| match source.place(&f.key) {
            Some(place) => format!("{} ({place}): {}", f.key, f.message),
            None => format!("{}: {}", f.key, f.message),
        })
        .collect();
    let file = path.display();
    let message = match &lines[..] {
        [one] => format!("{file}: {one}"),
        many => format!("{file} has {} faults\n  {}", many.len(), many.join("\n  ")),
    };
    let mut hints: Vec<String> = Vec::new();
    for hint in faults.into_iter().filter_map(|f| f.hint) {
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    if hints.is_empty() {
        hints.push(format!("correct it and test it without running anything: ldalign check {file}"));
    }
    Error::new("config/invalid", message).hint(hints.join("\n"))
}

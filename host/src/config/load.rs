//! From a file and overrides to a checked config, with every fault reported at once.

use super::{ANNOTATED_FIELDS, DataConfig, Fault, ROW_FIELDS, RunConfig, preset, rules, schema, source::ConfigText};
use crate::{Code, Error, Result, files, hub};
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};

impl RunConfig {
    /// Reads a config file, applies `overrides` (`key.key=value`), and makes its paths absolute.
    ///
    /// Fails with every fault at once: unknown keys, wrong types, values out of range, missing files, contradictions.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self> {
        let mut source = ConfigText::parse(path, &files::read_given(path)?)?;
        for assignment in overrides {
            source.set(assignment)?;
        }
        let base = path.parent().unwrap_or(Path::new(""));
        Self::of_value(source.value.take(), base).map_err(|faults| report(path, &source, faults))
    }

    /// Checks a config as it was parsed and makes its paths absolute, relative ones starting at `base`. Fails with all
    /// its faults.
    pub(crate) fn of_value(mut value: Value, base: &Path) -> Result<Self, Vec<Fault>> {
        preset::fill(&mut value);
        let schema = schemars::schema_for!(Self).to_value();
        let mut faults = schema::check(&schema, &mut value, base);
        // What `check` leaves can be deserialized, so that contradictions are reported along with the rest.
        match serde_json::from_value(value) {
            Ok(mut config) => {
                rules::check(&mut config, base, &mut faults);
                if faults.is_empty() { Ok(config) } else { Err(faults) }
            }
            Err(e) => {
                faults.push(Fault { key: String::new(), message: e.to_string(), hint: None });
                Err(faults)
            }
        }
    }

    /// The config with all defaults spelled out, as YAML that [`load`](Self::load) reads back.
    pub fn to_yaml(&self) -> Result<String> {
        serde_saphyr::to_string(self).map_err(|e| Error::new(Code::ConfigWrite, "cannot write the config").caused_by(e))
    }

    /// The sections that name data files, by key, with the fields that their rows may have.
    pub(super) fn data_sections(&self) -> impl Iterator<Item = (&'static str, &DataConfig, &'static [&'static str])> {
        std::iter::once(("data", &self.data, ROW_FIELDS.as_slice()))
            .chain(self.eval.iter().map(|e| ("eval.data", &e.data, ROW_FIELDS.as_slice())))
            .chain(self.validated_rows().map(|data| ("validate.data", data, ANNOTATED_FIELDS.as_slice())))
    }

    fn validated_rows(&self) -> impl Iterator<Item = &DataConfig> {
        self.validate.iter().flat_map(|v| &v.data)
    }

    /// Downloads what the config names on the Hub and puts the local paths in its place. Returns the commit of each, by
    /// key.
    pub fn fetch(&mut self) -> Result<BTreeMap<String, String>> {
        let eval = self.eval.iter_mut().map(|e| ("eval.data.path", &mut e.data.path));
        let validate = self.validate.iter_mut().flat_map(|v| &mut v.data).map(|d| ("validate.data.path", &mut d.path));
        let paths =
            [("model", &mut self.model), ("data.path", &mut self.data.path)].into_iter().chain(eval).chain(validate);
        let mut commits = BTreeMap::new();
        for (key, path) in paths {
            let text = path.to_string_lossy().into_owned();
            if hub::is_hub(&text) {
                let fetched = hub::fetch(&text.parse()?).map_err(|e| e.at(key))?;
                commits.insert(key.to_owned(), fetched.commit);
                *path = fetched.path;
            }
        }
        Ok(commits)
    }
}

/// One error for all faults, each with its key and place.
pub(crate) fn report(path: &Path, source: &ConfigText, faults: Vec<Fault>) -> Error {
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
    Error::new(Code::ConfigInvalid, message).hint(hints.join("\n"))
}

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
        let mut faults = schema::check(&Self::schema(), &mut value, base);
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

    /// What a file may say, as a JSON schema.
    pub fn schema() -> Value {
        schemars::schema_for!(Self).to_value()
    }

    /// The config with all defaults spelled out, as YAML that [`load`](Self::load) reads back.
    pub fn to_yaml(&self) -> Result<String> {
        serde_saphyr::to_string(self).map_err(|e| Error::new(Code::ConfigWrite, "cannot write the config").caused_by(e))
    }

    /// The files of rows that the config names, by key, with the fields that their rows may have.
    pub(super) fn data_sections(&self) -> Vec<(String, &DataConfig, &'static [&'static str])> {
        let mut all = keyed("data", &self.data, &ROW_FIELDS);
        all.extend(self.eval.iter().flat_map(|eval| keyed("eval.data", &eval.data, &ROW_FIELDS)));
        let annotated = self.validate.iter().flat_map(|v| &v.data);
        all.extend(annotated.map(|data| ("validate.data".to_owned(), data, ANNOTATED_FIELDS.as_slice())));
        all
    }

    /// Downloads what the config names on the Hub and puts the local paths in its place. Returns the commit of each, by
    /// key.
    pub fn fetch(&mut self) -> Result<BTreeMap<String, String>> {
        let keys: Vec<String> = self.data_sections().iter().map(|(key, ..)| format!("{key}.path")).collect();
        let eval = self.eval.iter_mut().flat_map(|e| e.data.iter_mut());
        let validate = self.validate.iter_mut().flat_map(|v| &mut v.data);
        let data = self.data.iter_mut().chain(eval).chain(validate).map(|data| &mut data.path);
        let paths = std::iter::once(("model".to_owned(), &mut self.model)).chain(keys.into_iter().zip(data));
        let mut commits = BTreeMap::new();
        for (key, path) in paths {
            let text = path.to_string_lossy().into_owned();
            if hub::is_hub(&text) {
                let fetched = hub::fetch(&text.parse()?).map_err(|e| e.at(&key))?;
                commits.insert(key, fetched.commit);
                *path = fetched.path;
            }
        }
        Ok(commits)
    }
}

/// Each of a section's files with its key: that of the section where there is one alone.
fn keyed<'a>(
    section: &str,
    files: &'a [DataConfig],
    fields: &'static [&'static str],
) -> Vec<(String, &'a DataConfig, &'static [&'static str])> {
    let key = |i| if files.len() == 1 { section.to_owned() } else { format!("{section}.{i}") };
    files.iter().enumerate().map(|(i, data)| (key(i), data, fields)).collect()
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

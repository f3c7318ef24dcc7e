//! What a run is made from, and what of it may change when the run is started again.

use super::{HashedModel, HashedPath, JsonFile};
use crate::{
    Code, Error, Result,
    config::{OneOrMore, RunConfig},
    data::Dataset,
    plugin::PluginRecord,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// What a run is made from. A run directory belongs to one manifest for good.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the host.
    pub ldalign: String,
    /// The resolved configuration.
    pub config: RunConfig,
    /// The starting model.
    pub model: HashedModel,
    /// The files of the data.
    pub data: OneOrMore<HashedPath>,
    /// Files of held-out rows.
    pub eval: Option<OneOrMore<HashedPath>>,
    /// Plugins with options and hashes.
    pub plugins: Vec<PluginRecord>,
}

impl Manifest {
    /// Hashes what a config names.
    pub fn new(config: &RunConfig, data: &Dataset, plugins: Vec<PluginRecord>) -> Result<Self> {
        Ok(Self {
            ldalign: env!("CARGO_PKG_VERSION").into(),
            config: config.clone(),
            model: HashedModel::of(&config.model)?,
            data: data.hashes().map(|(path, hash)| HashedPath { path: path.into(), sha256: hash.into() }).collect(),
            eval: config.eval.as_ref().map(|e| e.data.iter().map(|d| HashedPath::of(&d.path)).collect()).transpose()?,
            plugins,
        })
    }

    /// How the manifest in `file` differs in what may not change: sentences like those of [`differences`].
    pub(super) fn changes(&self, file: JsonFile<Self>) -> Result<Vec<String>> {
        // Whatever version wrote it, so that a key that has come or gone is said as such.
        let old = file.untyped().read()?;
        // Through text, as the file went: a 32-bit 0.7 has other digits as a 64-bit number.
        let new = serde_json::to_string(self).and_then(|text| serde_json::from_str(&text));
        let new = new.map_err(|e| Error::new(Code::RunManifest, "cannot be written").caused_by(e))?;
        let mut changes = Vec::new();
        differences("", &old, &new, &mut changes);
        Ok(changes)
    }
}

/// Adds keys whose values differ, as `config.train.beta was 0.1, is 0.2`. Where the model or data lies may change; its
/// bytes may not.
pub fn differences(key: &str, old: &Value, new: &Value, out: &mut Vec<String>) {
    use Value::{Array, Null, Object};
    match (old, new) {
        _ if old == new || may_change(key) => {}
        (Object(a), Object(b)) => {
            let keys: BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for k in keys {
                let path = if key.is_empty() { k.clone() } else { format!("{key}.{k}") };
                differences(&path, a.get(k).unwrap_or(&Null), b.get(k).unwrap_or(&Null), out);
            }
        }
        (Array(a), Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().for_each(|(i, (a, b))| differences(&format!("{key}[{i}]"), a, b, out));
        }
        _ => out.push(format!("{key} was {old}, is {new}")),
    }
}

fn may_change(key: &str) -> bool {
    MAY_CHANGE.contains(&&*without_indices(key))
}

/// A key without the `[N]` of lists.
fn without_indices(key: &str) -> String {
    key.split('[').map(|part| part.split_once(']').map_or(part, |(_, rest)| rest)).collect()
}

/// What does not change a run's numbers: places (contents are hashed) and how often checkpoints are kept. The model's
/// hash follows from those of its files, which say more.
const MAY_CHANGE: &[&str] = &[
    "config.model",
    "config.output_dir",
    "config.data.path",
    "config.eval.data.path",
    "config.preset",
    "config.validate",
    "config.plugin_path",
    "config.plugin_lock",
    "config.allow_plugins",
    "config.locked",
    "config.plugin_timeout",
    "config.plugin_memory",
    "config.encoder.plugin",
    "config.distance.plugin",
    "config.schedule.plugin",
    "config.train.save_steps",
    "config.train.save_total_limit",
    "model.path",
    "model.sha256",
    "data.path",
    "eval.path",
    "plugins.origin",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_the_key_and_both_values() {
        let a = serde_json::json!({"config": {"seed": 1, "output_dir": "a", "train": {"beta": 0.1}}});
        let b = serde_json::json!({"config": {"seed": 1, "output_dir": "b", "train": {"beta": 0.2, "x": 1}}});
        let mut out = vec![];
        differences("", &a, &b, &mut out);
        assert_eq!(out, ["config.train.beta was 0.1, is 0.2", "config.train.x was null, is 1"]);
        // The same library may come from elsewhere.
        let plugin = |sha, origin| serde_json::json!({"plugins": [{"sha256": sha, "origin": {"state": origin}}]});
        let mut out = vec![];
        differences("", &plugin("a", "local"), &plugin("b", "signed"), &mut out);
        assert_eq!(out, [r#"plugins[0].sha256 was "a", is "b""#]);
        // So may the files of a list, and nothing else about them.
        let data =
            |path, rows| serde_json::json!({"config": {"data": [{"path": path, "max_rows": rows}, {"path": "x"}]}});
        let mut out = vec![];
        differences("", &data("a", 1), &data("b", 2), &mut out);
        assert_eq!(out, ["config.data[0].max_rows was 1, is 2"]);
    }
}

//! What a run is made from, and what of it may change when the run is started again.

use super::{HashedModel, HashedPath, JsonFile};
use crate::{
    Code, Error, Result,
    config::{OneOrMore, RunConfig},
    data::Dataset,
    library::Kind,
    plugin::PluginRecord,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeSet, fmt};

/// What a run is made from. A run directory belongs to one manifest for good, but for what a run [follows](FOLLOWED).
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
    /// What was different from some start on, in sentences, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<String>,
}

/// How the manifest of a directory differs from that of a run that is started there again.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// What may not differ: sentences such as `config.train.beta was 0.1, is 0.2`.
    pub refused: Vec<String>,
    /// What the run follows from now on, in the same words.
    pub followed: Vec<String>,
    /// Whether that is how many rounds there are.
    pub rounds: bool,
    /// Whether that is what models are measured on.
    pub evaluation: bool,
    /// What had been followed before.
    pub history: Vec<String>,
}

impl Manifest {
    /// Hashes what a config names.
    pub fn new(config: &RunConfig, data: &Dataset, plugins: Vec<PluginRecord>) -> Result<Self> {
        let mut config = config.clone();
        for record in &plugins {
            let choice = match record.kind {
                Kind::Encoder => &mut config.encoder,
                Kind::Distance => &mut config.distance,
                Kind::Schedule => &mut config.schedule,
            };
            // With absolute paths, as all of the config.
            if let Value::Object(options) = &record.options {
                choice.options = options.clone();
            }
        }
        Ok(Self {
            ldalign: env!("CARGO_PKG_VERSION").into(),
            model: HashedModel::of(&config.model)?,
            data: data.hashes().map(|(path, hash)| HashedPath { path: path.into(), sha256: hash.into() }).collect(),
            eval: config.eval.as_ref().map(|e| e.data.iter().map(|d| HashedPath::of(&d.path)).collect()).transpose()?,
            plugins,
            history: vec![],
            config,
        })
    }

    /// How the manifest in `file` differs.
    pub(super) fn changes(&self, file: JsonFile<Self>) -> Result<Changes> {
        // Whatever version wrote it, so that a key that has come or gone is said as such.
        let old = file.untyped().read()?;
        // Through text, as the file went: a 32-bit 0.7 has other digits as a 64-bit number.
        let new = serde_json::to_string(self).and_then(|text| serde_json::from_str(&text));
        let new = new.map_err(|e| Error::new(Code::RunManifest, "cannot be written").caused_by(e))?;
        let [old, new] = [old, new].map(|manifest| self.without_places(manifest));
        let (followed, refused): (Vec<_>, Vec<_>) =
            differences(&old, &new).into_iter().partition(|difference| difference.is_in(&FOLLOWED));
        Ok(Changes {
            refused: refused.iter().map(ToString::to_string).collect(),
            rounds: followed.iter().any(|difference| difference.is_in(&[ROUNDS])),
            evaluation: followed.iter().any(|difference| difference.is_in(&EVALUATION)),
            followed: followed.iter().map(ToString::to_string).collect(),
            history: old.get("history").and_then(|all| Deserialize::deserialize(all).ok()).unwrap_or_default(),
        })
    }

    /// A manifest without the places of what options of plugins name: that may lie elsewhere, if it is the same.
    fn without_places(&self, mut manifest: Value) -> Value {
        for (i, plugin) in self.plugins.iter().enumerate() {
            for key in plugin.files.keys() {
                let option = key.replace('[', "/").replace(']', "");
                let places = [
                    format!("/config/{}/options/{option}", plugin.kind),
                    format!("/plugins/{i}/options/{option}"),
                    format!("/plugins/{i}/files/{key}/path"),
                ];
                for place in places {
                    manifest.pointer_mut(&place).map(Value::take);
                }
            }
        }
        manifest
    }
}

/// A value that is not what it was: `config.train.beta was 0.1, is 0.2`.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    key: String,
    old: Value,
    new: Value,
}

impl Difference {
    /// Whether it is one of these sections, or in one.
    fn is_in(&self, sections: &[&str]) -> bool {
        let within = |section| {
            self.key.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        sections.iter().any(within)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, old, new } = self;
        write!(f, "{key} was {old}, is {new}")
    }
}

/// The values that differ, the deepest by which it can be said. Where the model or data lies may differ; its bytes may
/// not.
pub fn differences(old: &Value, new: &Value) -> Vec<Difference> {
    let mut out = Vec::new();
    differ("", old, new, &mut out);
    out
}

fn differ(key: &str, old: &Value, new: &Value, out: &mut Vec<Difference>) {
    use Value::{Array, Null, Object};
    match (old, new) {
        _ if old == new || may_change(key) => {}
        (Object(a), Object(b)) => {
            let keys: BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for k in keys {
                let path = if key.is_empty() { k.clone() } else { format!("{key}.{k}") };
                differ(&path, a.get(k).unwrap_or(&Null), b.get(k).unwrap_or(&Null), out);
            }
        }
        (Array(a), Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().for_each(|(i, (a, b))| differ(&format!("{key}[{i}]"), a, b, out));
        }
        _ => out.push(Difference { key: key.to_owned(), old: old.clone(), new: new.clone() }),
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
    "history",
];

/// What a run that is started again goes by from then on, since nothing that is finished was made from it: how many
/// rounds there are, what is measured and warned of, and the threads, on which no bits depend.
const FOLLOWED: [&str; 5] = [ROUNDS, "config.threads", "config.diagnostics", EVALUATION[0], EVALUATION[1]];

const ROUNDS: &str = "config.rounds";

/// By these every model is measured, and measured again where they change.
const EVALUATION: [&str; 2] = ["config.eval", "eval"];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_run_follows_is_told_from_what_it_may_not() {
        let config = |rounds, path, rows, seed| {
            let eval = json!({"data": {"path": path, "max_rows": rows}});
            json!({"config": {"rounds": rounds, "eval": eval, "evaluation": seed}})
        };
        let found = differences(&config(1, "a", 1, 1), &config(3, "b", 2, 2));
        let told: Vec<_> = found.iter().map(|d| (d.to_string(), d.is_in(&FOLLOWED), d.is_in(&EVALUATION))).collect();
        let is = |what: &str, followed, evaluation| (what.to_owned(), followed, evaluation);
        assert_eq!(
            told,
            [
                is("config.eval.data.max_rows was 1, is 2", true, true),
                is("config.evaluation was 1, is 2", false, false),
                is("config.rounds was 1, is 3", true, false),
            ]
        );
    }

    fn between(old: Value, new: Value) -> Vec<String> {
        differences(&old, &new).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn differences_name_the_key_and_both_values() {
        let a = serde_json::json!({"config": {"seed": 1, "output_dir": "a", "train": {"beta": 0.1}}});
        let b = serde_json::json!({"config": {"seed": 1, "output_dir": "b", "train": {"beta": 0.2, "x": 1}}});
        assert_eq!(between(a, b), ["config.train.beta was 0.1, is 0.2", "config.train.x was null, is 1"]);
        // The same library may come from elsewhere.
        let plugin = |sha, origin| serde_json::json!({"plugins": [{"sha256": sha, "origin": {"state": origin}}]});
        assert_eq!(between(plugin("a", "local"), plugin("b", "signed")), [r#"plugins[0].sha256 was "a", is "b""#]);
        // So may the files of a list, and nothing else about them.
        let data =
            |path, rows| serde_json::json!({"config": {"data": [{"path": path, "max_rows": rows}, {"path": "x"}]}});
        assert_eq!(between(data("a", 1), data("b", 2)), ["config.data[0].max_rows was 1, is 2"]);
    }
}

//! The run directory: where everything lies, what made it, and which stages are done.
//!
//! ```text
//! run/
//!   manifest.json               what the run is made from, with hashes
//!   config.yaml                 the configuration with every default spelled out
//!   eval-0.json, eval-1.json    held-out figures before round 1, after round 1, ...
//!   eval-0.jsonl, eval-1.jsonl  what came of each held-out row
//!   round-1/
//!     generations.jsonl         the model's own responses, in row order
//!     pairs.bin, rows.json      token ids of prompt, chosen, rejected; the data row of each
//!     encoder.json, encoder.state, distance.state, latents.safetensors,
//!     scores.jsonl              distance and weight of every pair
//!     reference.json            reference log-probabilities
//!     train/                    metrics.jsonl, checkpoint-N/
//!     model/                    the model, or its adapter, after the round
//!     timing.jsonl              how long each stage took, and its memory
//!     done/STAGE.json           written last: hashes of what the stage made
//!   report.html, tensorboard/   what a person looks at, written after every round
//! ```

mod stage;
mod timing;

pub use stage::Stage;
pub use timing::{Stopwatch, TimingLine};

use crate::{Code, Error, Result, config::RunConfig, data::Dataset, files, plugin::PluginRecord};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
};

/// A file or directory and its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Where it lay.
    pub path: PathBuf,
    /// SHA-256 in hex: of the file, or of the names and hashes of a directory's files.
    pub sha256: String,
}

/// What a run is made from. A run directory belongs to one manifest for good.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the host.
    pub ldalign: String,
    /// The resolved configuration.
    pub config: RunConfig,
    /// The starting model.
    pub model: Source,
    /// The data file.
    pub data: Source,
    /// Held-out rows.
    pub eval: Option<Source>,
    /// Plugins with options and hashes.
    pub plugins: Vec<PluginRecord>,
}

impl Manifest {
    /// Hashes what a config names.
    pub fn new(config: &RunConfig, data: &Dataset, plugins: Vec<PluginRecord>) -> Result<Self> {
        let source = |path: &Path| Ok::<_, Error>(Source { path: path.to_owned(), sha256: hash_path(path)? });
        Ok(Self {
            ldalign: env!("CARGO_PKG_VERSION").into(),
            config: config.clone(),
            model: source(&config.model)?,
            data: Source { path: config.data.path.clone(), sha256: data.hash().into() },
            eval: config.eval.as_ref().map(|e| source(&e.data.path)).transpose()?,
            plugins,
        })
    }
}

/// An open run directory, held by this process alone.
pub struct RunDir {
    path: PathBuf,
    _lock: File,
}

impl RunDir {
    /// Opens or makes the directory, takes its lock, and checks that it belongs to `manifest`.
    pub fn open(path: &Path, manifest: &Manifest) -> Result<Self> {
        files::make_dir(path)?;
        let lock_path = path.join(".lock");
        let lock = File::create(&lock_path).map_err(|e| files::io_error(&lock_path, "open", e))?;
        lock.try_lock().map_err(|e| {
            Error::new(Code::RunLocked, format!("{} is in use by another ldalign process", path.display()))
                .hint("wait for it to end, or choose another output_dir")
                .caused_by(e)
        })?;
        let file = path.join("manifest.json");
        if file.exists() {
            let old: serde_json::Value = files::read_json(&file)?;
            // Through text, as the file went: a 32-bit 0.7 has other digits as a 64-bit number.
            let new = serde_json::to_string(manifest).and_then(|text| serde_json::from_str(&text));
            let new = new.map_err(|e| Error::new(Code::RunManifest, "cannot be written").caused_by(e))?;
            let mut changes = Vec::new();
            differences("", &old, &new, &mut changes);
            if !changes.is_empty() {
                return Err(Error::new(
                    Code::RunChanged,
                    format!("{} was started from something else: {}", path.display(), changes.join("; ")),
                )
                .hint("undo the change to go on with this run, or choose another output_dir"));
            }
        } else {
            files::write(&path.join("config.yaml"), manifest.config.to_yaml()?.as_bytes())?;
            files::write_json(&file, manifest)?;
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Whether a run was begun in a directory.
    pub fn is_started(path: &Path) -> bool {
        path.join("manifest.json").exists()
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A round's directory; rounds count from 1.
    pub fn round(&self, round: u64) -> PathBuf {
        self.path.join(format!("round-{round}"))
    }

    /// The model (or adapter) after a round.
    pub fn model(&self, round: u64) -> PathBuf {
        self.round(round).join("model")
    }

    /// Held-out figures after a round; 0 is before the first.
    pub fn eval(&self, round: u64) -> PathBuf {
        self.path.join(format!("eval-{round}.json"))
    }

    /// Whether a stage of a round is done and its outputs are still what it wrote.
    pub fn is_done(&self, round: u64, stage: Stage) -> Result<bool> {
        let record = self.done_file(round, stage);
        if !record.exists() {
            return Ok(false);
        }
        let outputs: BTreeMap<PathBuf, String> = files::read_json(&record)?;
        for (name, hash) in &outputs {
            let path = self.path.join(name);
            if !path.exists() || hash_path(&path)? != *hash {
                return Err(Error::new(
                    Code::RunDamaged,
                    format!("{} is missing or not what stage {stage} of round {round} wrote", path.display()),
                )
                .hint(format!("restore it, or delete {} to do the stage again", record.display())));
            }
        }
        Ok(true)
    }

    /// Records that a stage is done and what it wrote. Nothing of the stage may be written after this.
    pub fn set_done(&self, round: u64, stage: Stage, outputs: &[PathBuf]) -> Result<()> {
        let mut hashes = BTreeMap::new();
        for path in outputs {
            let name = path.strip_prefix(&self.path).expect("a stage writes inside the run directory");
            hashes.insert(name.to_owned(), hash_path(path)?);
        }
        let record = self.done_file(round, stage);
        files::make_dir(record.parent().expect("the record lies in done/"))?;
        files::write_json(&record, &hashes)
    }

    fn done_file(&self, round: u64, stage: Stage) -> PathBuf {
        self.round(round).join("done").join(format!("{stage}.json"))
    }
}

/// SHA-256 of a file, or of the sorted names and hashes of the files in a directory.
pub fn hash_path(path: &Path) -> Result<String> {
    if !path.is_dir() {
        return files::sha256_file(path);
    }
    let fail = |e| files::io_error(path, "list", e);
    let mut names = Vec::new();
    for entry in path.read_dir().map_err(fail)? {
        let entry = entry.map_err(fail)?;
        if entry.path().is_file() {
            names.push(entry.file_name());
        }
    }
    names.sort();
    let mut list = String::new();
    for name in names {
        list += &format!("{} {}\n", files::sha256_file(&path.join(&name))?, name.to_string_lossy());
    }
    Ok(files::sha256(list.as_bytes()))
}

/// Adds keys whose values differ, as `config.train.beta was 0.1, is 0.2`. Where the model or data lies may change; its bytes may not.
pub fn differences(key: &str, old: &serde_json::Value, new: &serde_json::Value, out: &mut Vec<String>) {
    use serde_json::Value::{Array, Null, Object};
    match (old, new) {
        _ if old == new || may_change(key) => {}
        (Object(a), Object(b)) => {
            let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
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
    MAY_CHANGE.contains(&key) || key.starts_with("plugins[") && key.ends_with("].origin")
}

/// What does not change a run's numbers: places (contents are hashed) and how often checkpoints are kept.
const MAY_CHANGE: &[&str] = &[
    "config.model",
    "config.output_dir",
    "config.data.path",
    "config.eval.data.path",
    "config.validate",
    "config.plugin_path",
    "config.plugin_lock",
    "config.allow_plugins",
    "config.encoder.plugin",
    "config.distance.plugin",
    "config.schedule.plugin",
    "config.train.save_steps",
    "config.train.save_total_limit",
    "model.path",
    "data.path",
    "eval.path",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
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
    }

    #[test]
    fn a_directory_hash_sees_names_and_bytes() {
        let d = tempfile::tempdir().unwrap();
        std::fs::write(d.path().join("a"), "1").unwrap();
        let one = hash_path(d.path()).unwrap();
        std::fs::rename(d.path().join("a"), d.path().join("b")).unwrap();
        let two = hash_path(d.path()).unwrap();
        std::fs::write(d.path().join("b"), "2").unwrap();
        let three = hash_path(d.path()).unwrap();
        assert!(one != two && two != three);
    }
}

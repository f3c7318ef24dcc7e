//! What a checkpoint is made of: where training stands, what it belongs to, and the hashes by which damage is seen.

use super::super::metrics::StepMeans;
use crate::{Code, Error, Result, files};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path};

/// The lines of metrics.jsonl up to here.
pub const METRICS: &str = "metrics.jsonl";
/// The weights that are trained.
pub const TRAINABLE: &str = "trainable.safetensors";
/// The optimizer's moments.
pub const OPTIMIZER: &str = "optimizer.safetensors";
/// The [`Record`].
pub const STATE: &str = "state.json";

/// Where training stands, beside its tensors and metrics.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Optimizer steps done.
    pub step: u64,
    /// Tokens that went through the policy.
    pub tokens: u64,
    /// Of the steps since the last line of the metrics.
    #[serde(rename = "window")]
    pub means: StepMeans,
}

/// What a checkpoint belongs to: it is never used for anything else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// Hash of everything in the configuration that decides the result.
    pub config: String,
    /// Hash of all data that is trained on.
    pub data: String,
}

/// What `state.json` says, with a checksum of its own.
#[derive(Serialize, Deserialize)]
pub struct Record {
    pub identity: Identity,
    pub state: State,
    /// SHA-256 of the other files, by name.
    pub files: BTreeMap<String, String>,
}

impl Record {
    /// Reads the record of the checkpoint of a step, and checks everything against it: what is quick first.
    pub fn verified(dir: &Path, step: u64) -> Result<Self> {
        let damaged = |path: &Path| Error::new(Code::TrainCheckpoint, format!("{} is damaged", path.display()));
        let record: Self = files::read_sealed(&dir.join(STATE))?;
        if record.state.step != step {
            return Err(damaged(&dir.join(STATE)));
        }
        for name in [METRICS, TRAINABLE, OPTIMIZER] {
            let path = dir.join(name);
            if record.files.get(name) != Some(&files::sha256_file(&path)?) {
                return Err(damaged(&path));
            }
        }
        Ok(record)
    }
}

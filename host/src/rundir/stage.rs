//! The stages of a round, and the records of those that are done: `done/STAGE.json`.

use super::{RunDir, hash_path};
use crate::{Code, Error, Result, files};
use std::{collections::BTreeMap, fmt, path::PathBuf};

/// The stages of a round, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The model's own responses.
    Generate,
    /// Token ids of prompts, chosen responses and what they are held against.
    Candidates,
    /// Latents and distances.
    Score,
    /// Which responses become pairs, and their first weights.
    Pairs,
    /// Reference log-probabilities and weighted DPO.
    Train,
}

impl Stage {
    /// All stages in order.
    pub const ALL: [Stage; 5] = [Stage::Generate, Stage::Candidates, Stage::Score, Stage::Pairs, Stage::Train];
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Generate => "generate",
            Stage::Candidates => "candidates",
            Stage::Score => "score",
            Stage::Pairs => "pairs",
            Stage::Train => "train",
        })
    }
}

/// SHA-256 of what a stage wrote, by path in the run directory.
pub type StageRecord = BTreeMap<PathBuf, String>;

impl RunDir {
    /// Whether a stage of a round is done and its outputs are still what it wrote.
    pub fn is_done(&self, round: u64, stage: Stage) -> Result<bool> {
        let record = self.round(round).done(stage);
        if !record.exists() {
            return Ok(false);
        }
        for (name, hash) in &record.read()? {
            let path = self.path().join(name);
            if !path.exists() || hash_path(&path)? != *hash {
                return Err(Error::new(
                    Code::RunDamaged,
                    format!("{} is missing or not what stage {stage} of round {round} wrote", path.display()),
                )
                .hint(format!("restore it, or delete {} to do the stage again", record.path().display())));
            }
        }
        Ok(true)
    }

    /// Records that a stage is done and what it wrote. Nothing of the stage may be written after this.
    pub fn set_done(&self, round: u64, stage: Stage, outputs: &[PathBuf]) -> Result<()> {
        let mut hashes = StageRecord::new();
        for path in outputs {
            let name = path.strip_prefix(self.path()).expect("a stage writes inside the run directory");
            hashes.insert(name.to_owned(), hash_path(path)?);
        }
        let record = self.round(round).done(stage);
        files::make_dir(files::parent(record.path()))?;
        record.write(&hashes)
    }
}

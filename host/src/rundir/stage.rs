//! The stages of a round, and the records of those that are done: `done/STAGE.json`.

use super::{Layout, Made, Record, RunDir};
use crate::{Code, Error, Result};
use std::{fmt, path::PathBuf};

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

impl Layout {
    /// Whether a stage of a round is done. Fails with `run/damaged` where its outputs are not what it wrote.
    pub fn is_done(&self, round: u64, stage: Stage) -> Result<bool> {
        let record = self.record(round, stage);
        match record.made()? {
            Made::No => Ok(false),
            Made::Whole => Ok(true),
            Made::Damaged(path) => Err(Error::new(
                Code::RunDamaged,
                format!("{} is missing or not what stage {stage} of round {round} wrote", path.display()),
            )
            .hint(format!("restore it, or delete {} to do the stage again", record.path().display()))),
        }
    }

    /// The record of a stage of a round.
    pub fn record(&self, round: u64, stage: Stage) -> Record {
        Record::of(self.path(), self.round(round).path(), &stage.to_string())
    }
}

impl RunDir {
    /// Records that a stage is done and what it wrote. Nothing of the stage may be written after this.
    pub fn set_done(&self, round: u64, stage: Stage, outputs: &[PathBuf]) -> Result<()> {
        self.record(round, stage).write(outputs)
    }
}

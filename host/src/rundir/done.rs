//! Which stages of a round are done: the records `done/STAGE.json`.

use super::{Layout, Made, Record, RunDir, Stage};
use crate::{Code, Error, Result};
use std::path::PathBuf;

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

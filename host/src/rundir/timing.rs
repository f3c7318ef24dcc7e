//! What clock and system say of a round's stages: `timing.jsonl`, a line where a stage begins and one where it ends. It
//! tells times alone, so no comparison of runs reads it.

use super::{LinesFile, Stage};
use crate::{
    Result,
    files::{Journal, make_dir, parent},
    machine,
};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// A line of timing.jsonl.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimingLine {
    /// The stage's name.
    pub stage: String,
    /// How long it took from its last beginning; None on the line where it begins. An interrupted stage begins again.
    pub seconds: Option<f64>,
    /// The most memory held at once meanwhile, in bytes, where the system says.
    pub peak_bytes: Option<u64>,
}

/// A stage being timed.
pub struct Stopwatch {
    journal: Journal,
    stage: Stage,
    start: Instant,
}

impl Stopwatch {
    /// Notes in `file` that a stage begins.
    pub fn start(file: &LinesFile<TimingLine>, stage: Stage) -> Result<Self> {
        make_dir(parent(file.path()))?;
        let mut journal = Journal::open(file.path())?;
        journal.push(&TimingLine { stage: stage.to_string(), seconds: None, peak_bytes: None })?;
        // Where the system refuses, the peak is that of the whole process: still no less than the stage's.
        machine::reset_peak();
        Ok(Self { journal, stage, start: Instant::now() })
    }

    /// Notes that it has ended.
    pub fn stop(mut self) -> Result<()> {
        let seconds = Some(self.start.elapsed().as_secs_f64());
        self.journal.push(&TimingLine { stage: self.stage.to_string(), seconds, peak_bytes: machine::peak() })?;
        self.journal.sync()
    }
}

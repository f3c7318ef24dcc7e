//! The run directory: where everything lies, and the type, the writer and the reader of every file in it.
//!
//! ```text
//! run/
//!   manifest.json               what the run is made from, with hashes
//!   config.yaml                 the configuration with every default spelled out
//!   eval-0.json, eval-1.json    held-out figures before round 1, after round 1, ...
//!   eval-0.jsonl, eval-1.jsonl  what came of each held-out row
//!   round-1/
//!     generations.jsonl         the model's own responses, in row order
//!     candidates.bin, .jsonl    token ids of prompt, chosen and each different other response; their rows and counts
//!     encoder.json, encoder.state, distance.state, latents.safetensors,
//!     distances.safetensors     distances between the responses to a prompt
//!     pairs.bin, rows.json      token ids of prompt, chosen, rejected; the data row of each
//!     choices.jsonl             of several samples a prompt, which became pairs
//!     scores.jsonl              distance and weight of every pair
//!     diagnostics.json          signs of failure in pairs, latents and weights
//!     reference.json            reference log-probabilities
//!     train/                    metrics.jsonl, timing.jsonl, diagnostics.json, checkpoint-N/
//!     model/                    the model, or its adapter, after the round
//!     timing.jsonl              how long each stage took, and its memory
//!     done/STAGE.json           written last: hashes of what the stage made
//!   report.html, tensorboard/   what a person looks at, written after every round
//! ```
//!
//! [`Layout`] has the paths, each as a [`JsonFile`] or [`LinesFile`] of its type where this room has the format.
//! Formats of others: `pairs.bin` and `rows.bin` are [`data::tokens`](crate::data::tokens)'s, latents those of
//! [`latents`](crate::latents), models those of [`model`](crate::model), checkpoints those of [`train`](crate::train),
//! and plugins' states are their own.

mod choices;
mod evaluation;
mod file;
mod generations;
mod hashed;
mod layout;
mod lenient;
mod manifest;
mod metrics;
mod reference;
mod scores;
mod stage;
mod timing;

pub use choices::{CandidateLine, ChoiceLine, Distances};
pub use evaluation::{Answer, EvalSample, Evaluation, Outcome};
pub use file::{Json, JsonFile, Lines, LinesFile, RunFile};
pub use generations::GenerationLine;
pub use hashed::{HashedModel, HashedPath, hash_path};
pub use layout::{Layout, Numbered, RoundLayout, TrainLayout};
pub use lenient::LenientReader;
pub use manifest::{Manifest, differences};
pub use metrics::{MetricsLine, MetricsWriter, StepFacts, StepTimingLine, column};
pub use reference::Reference;
pub use scores::{FittedEncoder, ScoreLine};
pub use stage::{Stage, StageRecord};
pub use timing::{Stopwatch, TimingLine};

use crate::{Code, Error, Result, files};
use std::{fs::File, ops::Deref, path::Path};

/// An open run directory, held by this process alone: a [`Layout`] to write in.
pub struct RunDir {
    layout: Layout,
    _lock: File,
}

impl RunDir {
    /// Opens or makes the directory, takes its lock, and checks that it belongs to `manifest`.
    pub fn open(path: &Path, manifest: &Manifest) -> Result<Self> {
        files::make_dir(path)?;
        let layout = Layout::new(path);
        let lock_path = layout.lock();
        let lock = File::create(&lock_path).map_err(|e| files::io_error(&lock_path, "open", e))?;
        lock.try_lock().map_err(|e| {
            Error::new(Code::RunLocked, format!("{} is in use by another ldalign process", path.display()))
                .hint("wait for it to end, or choose another output_dir")
                .caused_by(e)
        })?;
        let file = layout.manifest();
        if file.exists() {
            let changes = manifest.changes(file)?;
            if !changes.is_empty() {
                return Err(Error::new(
                    Code::RunChanged,
                    format!("{} was started from something else: {}", path.display(), changes.join("; ")),
                )
                .hint("undo the change to go on with this run, or choose another output_dir"));
            }
        } else {
            files::write(&layout.config(), manifest.config.to_yaml()?.as_bytes())?;
            file.write(manifest)?;
        }
        Ok(Self { layout, _lock: lock })
    }

    /// Whether a run was begun in a directory.
    pub fn is_started(path: &Path) -> bool {
        Layout::new(path).manifest().exists()
    }
}

impl Deref for RunDir {
    type Target = Layout;

    fn deref(&self) -> &Layout {
        &self.layout
    }
}

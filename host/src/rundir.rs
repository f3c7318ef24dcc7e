//! The run directory: where everything lies, and the type, the writer and the reader of every file in it.
//!
//! ```text
//! run/
//!   manifest.json               what the run is made from, with hashes
//!   config.yaml                 the configuration with every default spelled out
//!   eval-0.json, eval-1.json    held-out figures before round 1, after round 1, ...
//!   eval-0.jsonl, eval-1.jsonl  what came of each held-out row
//!   done/eval-0.json, ...       hashes of the two, written after them
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
//! Damage is told by hashes: a [`Record`] in `done/` has those of what finished work made; `reference.json` and the
//! records themselves carry a [checksum](crate::files::seal()), the lines of a journal that unfinished work goes on by
//! one each, and a checkpoint has the hashes of its files.
//!
//! [`Layout`] has the paths, each as a [`JsonFile`] or [`LinesFile`] of its type where this room has the format.
//! Formats of others: `pairs.bin` and `rows.bin` are [`data::tokens`](crate::data::tokens)'s, latents those of
//! [`latents`](crate::latents), models those of [`model`], checkpoints those of [`train`](crate::train),
//! and plugins' states are their own.

mod choices;
mod done;
mod evaluation;
mod file;
mod generations;
mod hashed;
mod layout;
mod lenient;
mod manifest;
mod metrics;
mod record;
mod reference;
mod scores;
mod stage;
mod timing;

pub use crate::files::{HashedPath, hash_path};
pub use choices::{CandidateLine, ChoiceLine, Distances};
pub use evaluation::{Answer, EvalSample, Evaluation, Outcome};
pub use file::{Checked, Form, Json, JsonFile, Lines, LinesFile, Plain, RunFile, SealedFile};
pub use generations::GenerationLine;
pub use hashed::HashedModel;
pub use layout::{Layout, Numbered, RoundLayout, TrainLayout};
pub use lenient::LenientReader;
pub use manifest::{Manifest, differences};
pub use metrics::{MetricsLine, MetricsWriter, StepFacts, StepTimingLine, column};
pub use record::{Hashes, Made, Record};
pub use reference::Reference;
pub use scores::{FittedEncoder, ScoreLine};
pub use stage::Stage;
pub use timing::{Stopwatch, TimingLine};

use crate::{Code, Error, Result, config::RunConfig, files, model};
use manifest::Changes;
use std::{
    fs::File,
    ops::Deref,
    path::{Path, PathBuf},
};

/// An open run directory, held by this process alone: a [`Layout`] to write in.
pub struct RunDir {
    layout: Layout,
    _lock: File,
}

impl RunDir {
    /// Opens or makes the directory, takes its lock, and checks that it belongs to `manifest`. [`claim`](Self::claim)
    /// comes before.
    pub fn open(path: &Path, manifest: &Manifest) -> Result<Self> {
        files::make_dir(path)?;
        let (layout, lock) = (Layout::new(path), files::hold_directory(path)?);
        files::sweep(path, &["done", "train", "model", "tensorboard"])?;
        let file = layout.manifest();
        if file.exists() {
            let changes = manifest.changes(file)?;
            if !changes.refused.is_empty() {
                let what =
                    format!("{} was started from something else: {}", path.display(), changes.refused.join("; "));
                return Err(Error::new(Code::RunChanged, what).hint(
                    "undo the change to go on with this run, or choose another output_dir; what is finished was made \
                     from it, as it was not from rounds, threads, eval and diagnostics, which may change",
                ));
            }
            follow(&layout, manifest, changes)?;
        } else {
            // First, since it says that all else is ours.
            file.write(manifest)?;
        }
        let rounds = (1..=manifest.config.rounds).map(|round| layout.round(round));
        for dir in rounds.take_while(|dir| dir.path().exists()) {
            // Rounds of `sft` are held by themselves.
            if !dir.path().join(".lock").exists() {
                files::sweep(dir.path(), &["done", "train", "model"])?;
            }
        }
        if !layout.config().exists() {
            files::write(&layout.config(), manifest.config.to_yaml()?.as_bytes())?;
        }
        Ok(Self { layout, _lock: lock })
    }

    /// Whether the config's `output_dir` may be written in, by names of which `writes` says whether they are the
    /// command's: to be asked before anything is loaded. Fails as [`files::Claim::check`] does.
    pub fn claim(config: &RunConfig, writes: &dyn Fn(&str) -> bool) -> Result<()> {
        files::Claim { directory: &config.output_dir, mark: "manifest.json", writes, reads: &reads(config) }.check()
    }

    /// Whether a run was begun in a directory.
    pub fn is_started(path: &Path) -> bool {
        Layout::new(path).manifest().exists()
    }
}

/// Schedules whose weights do not depend on how many rounds there are; of others nobody knows.
const HEEDS_NO_ROUNDS: [&str; 6] = ["uniform", "linear", "rank", "quantile-clip", "softmax", "focal"];

/// Makes the directory one of a manifest that differs in what a run follows.
fn follow(layout: &Layout, manifest: &Manifest, changes: Changes) -> Result<()> {
    if changes.followed.is_empty() {
        return Ok(());
    }
    let begun = (1..).take_while(|round| layout.round(*round).path().exists()).last().unwrap_or(0);
    let rounds = manifest.config.rounds;
    if rounds < begun {
        let what = format!("rounds is {rounds}, and round {begun} of {} was begun", layout.path().display());
        return Err(Error::new(Code::RunChanged, what).hint(format!("set rounds to {begun} or more")));
    }
    if changes.rounds && begun > 0 && !HEEDS_NO_ROUNDS.contains(&manifest.config.schedule.plugin.as_str()) {
        let what = "rounds was changed, and the schedule's weights may depend on how many there are";
        return Err(Error::new(Code::RunChanged, what).hint("undo the change, or choose another output_dir"));
    }
    for sentence in &changes.followed {
        tracing::info!("{sentence}, from here on");
    }
    if changes.evaluation {
        tracing::info!("every model is measured again");
        (0..=begun).try_for_each(|round| layout.forget_evaluation(round))?;
    }
    files::write(&layout.config(), manifest.config.to_yaml()?.as_bytes())?;
    // Last: until it is there, all this is done again.
    let history = changes.history.into_iter().chain(changes.followed).collect();
    layout.manifest().write(&Manifest { history, ..manifest.clone() })
}

/// Files and directories that the commands of a config read as a whole, an adapter's base among them.
pub fn reads(config: &RunConfig) -> Vec<PathBuf> {
    let named = config.reads().into_iter().map(Path::to_owned);
    named.chain(model::places(&config.model)).collect()
}

impl Deref for RunDir {
    type Target = Layout;

    fn deref(&self) -> &Layout {
        &self.layout
    }
}

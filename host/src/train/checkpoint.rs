//! Checkpoints: all a run needs to go on as if it had never stopped, whole or not there.
//!
//! `checkpoint-N/` after N steps holds `trainable.safetensors`, `optimizer.safetensors`, `metrics.jsonl` up to there
//! and `state.json`, which names the hashes of these and what they were made from, and has a checksum of its own.
//! Training goes on by nothing else: what is lost of the files beside it is written again.

mod record;
#[cfg(test)]
mod tests;

pub use record::{Identity, State};

use super::{
    optimizer::AdamW,
    tensors::{self, Entry, Tensors},
};
use crate::{Code, Error, Result, files, model::Trainable};
use candle_core::Tensor;
use record::{METRICS, OPTIMIZER, Record, STATE, TRAINABLE};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The checkpoints of one training run.
pub struct Checkpoints {
    /// Directory that holds them.
    pub dir: PathBuf,
    /// Newest ones kept; 0 to write none.
    pub keep: usize,
    /// What they belong to.
    pub identity: Identity,
}

impl Checkpoints {
    /// Restores the newest whole checkpoint into the tensors and the optimizer, and returns the state with the lines of
    /// the metrics up to there; None where there is none.
    ///
    /// One that is damaged is reported and the next older one tried. Fails with `train/checkpoint` where one belongs to
    /// something else.
    pub fn resume(&self, trainable: &[Trainable], optimizer: &mut AdamW) -> Result<Option<(State, Vec<u8>)>> {
        for step in self.steps()?.into_iter().rev() {
            let dir = self.path(step);
            let record = match Record::verified(&dir, step) {
                Ok(record) => record,
                Err(e) => {
                    tracing::warn!("{} is damaged ({e:#}); trying an older one", dir.display());
                    continue;
                }
            };
            self.own(&dir, &record.identity)?;
            load(&dir, trainable, optimizer)?;
            // What a process that was killed has left to do.
            self.remove_surplus(step)?;
            return Ok(Some((record.state, files::read(&dir.join(METRICS))?)));
        }
        Ok(None)
    }

    /// Writes a checkpoint, with the lines of the metrics so far, and only then removes those beyond the number to
    /// keep.
    pub fn save(&self, state: &State, metrics: &[u8], trainable: &[Trainable], optimizer: &AdamW) -> Result<()> {
        if self.keep == 0 {
            return Ok(());
        }
        let weights: Vec<_> = trainable.iter().map(|t| Entry { name: t.name.clone(), tensor: &t.var }).collect();
        let parts = [(TRAINABLE, weights), (OPTIMIZER, optimizer.entries())];
        let needed = parts.iter().flat_map(|(_, entries)| entries).map(|entry| entry.spec().bytes()).sum::<usize>()
            + metrics.len();
        let dir = self.path(state.step);
        check_space(&dir, needed as u64, free_space(&self.dir)?)?;
        files::write_dir(&dir, |tmp| {
            files::write(&tmp.join(METRICS), metrics)?;
            let mut written = BTreeMap::from([(METRICS.to_owned(), files::sha256(metrics))]);
            for (name, entries) in &parts {
                written.insert((*name).to_owned(), tensors::write(&tmp.join(name), entries)?);
            }
            let record = Record { identity: self.identity.clone(), state: state.clone(), files: written };
            files::write_sealed(&tmp.join(STATE), &record)
        })?;
        self.remove_surplus(state.step)
    }

    /// Removes the oldest beyond the number to keep, given that the one of this step is good.
    fn remove_surplus(&self, step: u64) -> Result<()> {
        // Later ones can only be damaged ones that this run will come to again; they must not displace good ones.
        let older: Vec<u64> = self.steps()?.into_iter().filter(|&s| s < step).collect();
        let surplus = if self.keep == 0 { 0 } else { (older.len() + 1).saturating_sub(self.keep) };
        older[..surplus].iter().try_for_each(|&s| files::remove_dir(&self.path(s)))
    }

    /// Steps that have a checkpoint, ascending.
    fn steps(&self) -> Result<Vec<u64>> {
        let fail = |e| files::io_error(&self.dir, "list", e);
        let mut steps = vec![];
        for entry in fs::read_dir(&self.dir).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name();
            steps.extend(name.to_str().and_then(|n| n.strip_prefix("checkpoint-")?.parse::<u64>().ok()));
        }
        steps.sort_unstable();
        Ok(steps)
    }

    fn path(&self, step: u64) -> PathBuf {
        self.dir.join(format!("checkpoint-{step}"))
    }

    fn own(&self, dir: &Path, found: &Identity) -> Result<()> {
        let what = match () {
            () if found.data != self.identity.data => "other data (rows, reference log-probabilities or distances)",
            () if found.config != self.identity.config => "another configuration or seed",
            () => return Ok(()),
        };
        Err(Error::new(Code::TrainCheckpoint, format!("{} was made with {what}", dir.display())).hint(format!(
            "delete {} to train from the beginning, or go back to what it was made with",
            self.dir.display()
        )))
    }
}

fn load(dir: &Path, trainable: &[Trainable], optimizer: &mut AdamW) -> Result<()> {
    let tensors = Tensors::open(&dir.join(TRAINABLE))?;
    for t in trainable {
        let data = tensors.get(&t.name, t.var.dims())?;
        t.var.set(&Tensor::from_vec(data, t.var.shape(), t.var.device())?)?;
    }
    optimizer.load(&Tensors::open(&dir.join(OPTIMIZER))?)
}

fn free_space(dir: &Path) -> Result<u64> {
    let space = rustix::fs::statvfs(dir).map_err(|e| files::io_error(dir, "ask for the free space of", e.into()))?;
    Ok(space.f_bavail * space.f_frsize)
}

fn check_space(dir: &Path, needed: u64, free: u64) -> Result<()> {
    if needed < free {
        return Ok(());
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let what = format!("{} needs {} MiB, {} MiB are free", dir.display(), mib(needed), free >> 20);
    Err(Error::new(Code::TrainDiskFull, what)
        .hint("free some disk space and run the same command again; it goes on from the newest checkpoint"))
}

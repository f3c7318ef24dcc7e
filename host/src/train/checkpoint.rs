//! Checkpoints: all a run needs to go on as if it had never stopped, whole or not there.
//!
//! `checkpoint-N/` after N steps holds `trainable.safetensors`, `optimizer.safetensors` and `state.json`, which names
//! the hashes of both, of the metrics up to there, and what they were made from, and has a checksum of its own.

use super::{
    metrics::StepMeans,
    optimizer::AdamW,
    tensors::{self, Entry, Tensors},
};
use crate::{
    Code, Error, Result, files,
    model::Trainable,
    rundir::{TrainLayout, begin_with},
};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const TRAINABLE: &str = "trainable.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";

/// Where training stands, beside its tensors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Optimizer steps done.
    pub step: u64,
    /// Tokens that went through the policy.
    pub tokens: u64,
    /// Lines of metrics.jsonl.
    pub lines: usize,
    /// SHA-256 of them.
    pub metrics: String,
    /// Of the steps since the last line.
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

#[derive(Serialize, Deserialize)]
struct Record {
    identity: Identity,
    state: State,
    /// File name -> SHA-256.
    files: BTreeMap<String, String>,
}

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
    /// Restores the newest whole checkpoint into the tensors and the optimizer; None where there is none.
    ///
    /// One that is damaged, or whose metrics are, is reported and the next older one tried. Fails with
    /// `train/checkpoint` where one belongs to something else.
    pub fn resume(&self, trainable: &[Trainable], optimizer: &mut AdamW) -> Result<Option<State>> {
        for step in self.steps()?.into_iter().rev() {
            let dir = self.path(step);
            let record = match self.verify(step) {
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
            return Ok(Some(record.state));
        }
        Ok(None)
    }

    /// Writes a checkpoint, verifies it, and only then removes those beyond the number to keep.
    pub fn save(&self, state: &State, trainable: &[Trainable], optimizer: &AdamW) -> Result<()> {
        if self.keep == 0 {
            return Ok(());
        }
        let weights: Vec<_> = trainable.iter().map(|t| Entry { name: t.name.clone(), tensor: &t.var }).collect();
        let parts = [(TRAINABLE, weights), (OPTIMIZER, optimizer.entries())];
        let needed =
            parts.iter().flat_map(|(_, entries)| entries).map(|entry| entry.spec().bytes()).sum::<usize>() as u64;
        let dir = self.path(state.step);
        check_space(&dir, needed, free_space(&self.dir)?)?;
        files::write_dir(&dir, |tmp| {
            let written = parts
                .iter()
                .map(|(name, entries)| Ok(((*name).to_owned(), tensors::write(&tmp.join(name), entries)?)))
                .collect::<Result<_>>()?;
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

    /// Reads the record of a step and checks everything against it.
    fn verify(&self, step: u64) -> Result<Record> {
        let dir = self.path(step);
        let damaged = |path: &Path| Error::new(Code::TrainCheckpoint, format!("{} is damaged", path.display()));
        let record: Record = files::read_sealed(&dir.join(STATE))?;
        for name in [TRAINABLE, OPTIMIZER] {
            let path = dir.join(name);
            if record.files.get(name) != Some(&files::sha256_file(&path)?) {
                return Err(damaged(&path));
            }
        }
        let metrics = TrainLayout::new(&self.dir).metrics();
        if record.state.step != step || !begin_with(&metrics, record.state.lines, &record.state.metrics)? {
            return Err(damaged(metrics.path()));
        }
        Ok(record)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{
        config::TrainConfig,
        model::Gradients,
        ops::{Compute, Precision},
    };
    use candle_core::{Device, Var};

    struct Bench {
        dir: tempfile::TempDir,
        trainable: Vec<Trainable>,
        optimizer: AdamW,
    }

    impl Bench {
        fn new() -> Self {
            let var = |x: &[f32]| Var::from_tensor(&Tensor::new(x, &Device::Cpu).unwrap()).unwrap();
            let trainable = vec![
                Trainable { name: "a".into(), var: var(&[1.0, 2.0]) },
                Trainable { name: "b".into(), var: var(&[3.0]) },
            ];
            let compute = Compute::new(&Device::Cpu, Precision::F32);
            let optimizer = AdamW::new(&compute, &trainable, &TrainConfig::default()).unwrap();
            Self { dir: tempfile::tempdir().unwrap(), trainable, optimizer }
        }
        fn checkpoints(&self, keep: usize) -> Checkpoints {
            let identity = Identity { config: "c".into(), data: "d".into() };
            Checkpoints { dir: self.dir.path().to_owned(), keep, identity }
        }
        /// Takes a step and saves it.
        fn advance(&mut self, step: u64, keep: usize) -> State {
            let gradients: Gradients =
                self.trainable.iter().map(|t| (t.name.clone(), t.var.ones_like().unwrap())).collect();
            self.optimizer.step(step, &gradients, 0.1, 1.0).unwrap();
            let state = State { step, tokens: 10 * step, metrics: files::sha256(b""), ..Default::default() };
            self.checkpoints(keep).save(&state, &self.trainable, &self.optimizer).unwrap();
            state
        }
        fn resume(&mut self) -> Result<Option<State>> {
            self.checkpoints(2).resume(&self.trainable, &mut self.optimizer)
        }
        fn numbers(&self) -> Vec<f32> {
            self.trainable.iter().flat_map(|t| t.var.to_vec1::<f32>().unwrap()).collect()
        }
        fn names(&self) -> Vec<String> {
            let mut names: Vec<_> = fs::read_dir(self.dir.path())
                .unwrap()
                .map(|e| e.unwrap().file_name().to_str().unwrap().to_owned())
                .collect();
            names.sort();
            names
        }
    }

    #[test]
    fn the_newest_is_restored_and_the_oldest_removed() {
        let mut bench = Bench::new();
        assert_eq!(bench.resume().unwrap(), None);
        let states: Vec<_> = (9..12).map(|step| (bench.advance(step, 2), bench.numbers())).collect();
        assert_eq!(bench.names(), ["checkpoint-10", "checkpoint-11"]);
        let mut fresh = Bench { dir: bench.dir, ..Bench::new() };
        assert_eq!(fresh.resume().unwrap().as_ref(), Some(&states[2].0));
        assert_eq!(fresh.numbers(), states[2].1);
    }

    #[test]
    fn what_a_killed_process_did_not_remove_is_removed_at_the_next_start() {
        let mut bench = Bench::new();
        (1..5).for_each(|step| drop(bench.advance(step, 9)));
        assert_eq!(bench.names().len(), 4);
        assert_eq!(bench.resume().unwrap().map(|state| state.step), Some(4));
        assert_eq!(bench.names(), ["checkpoint-3", "checkpoint-4"]);
    }

    #[test]
    fn no_field_of_the_state_is_believed_where_it_was_changed() {
        let mut bench = Bench::new();
        let older = bench.advance(1, 2);
        bench.advance(2, 2);
        let path = bench.checkpoints(2).path(2).join(STATE);
        let text = fs::read_to_string(&path).unwrap();
        for (was, is) in
            [("\"step\": 2", "\"step\": 4"), ("\"tokens\": 20", "\"tokens\": 21"), ("\"lines\": 0", "\"lines\": 1")]
        {
            assert!(text.contains(was));
            fs::write(&path, text.replace(was, is)).unwrap();
            assert_eq!(bench.resume().unwrap().as_ref(), Some(&older), "{is}");
        }
        // A whole one under the name of another step.
        fs::write(&path, text).unwrap();
        fs::rename(bench.checkpoints(2).path(2), bench.checkpoints(2).path(7)).unwrap();
        assert_eq!(bench.resume().unwrap(), Some(older));
    }

    #[test]
    fn one_whose_metrics_are_gone_gives_way_to_the_one_before() {
        let mut bench = Bench::new();
        let older = bench.advance(1, 2);
        let path = TrainLayout::new(bench.dir.path()).metrics().into_path();
        fs::write(&path, "{\"step\":2}\n").unwrap();
        let state = State { step: 2, lines: 1, metrics: files::sha256_file(&path).unwrap(), ..Default::default() };
        bench.checkpoints(2).save(&state, &bench.trainable, &bench.optimizer).unwrap();
        assert_eq!(bench.resume().unwrap(), Some(state));
        for text in [Some("{\"step\":3}\n"), Some(""), None] {
            match text {
                Some(text) => fs::write(&path, text).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            assert_eq!(bench.resume().unwrap().as_ref(), Some(&older), "{text:?}");
        }
    }

    #[test]
    fn a_damaged_one_gives_way_to_the_one_before() {
        for name in [TRAINABLE, OPTIMIZER, STATE] {
            let mut bench = Bench::new();
            let older = (bench.advance(1, 2), bench.numbers());
            bench.advance(2, 2);
            let path = bench.checkpoints(2).path(2).join(name);
            let mut bytes = fs::read(&path).unwrap();
            let last = bytes.len() - 2;
            bytes[last] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert_eq!(bench.resume().unwrap().as_ref(), Some(&older.0), "{name}");
            assert_eq!(bench.numbers(), older.1);
            // Coming to it again, even keeping one alone, never leaves only the damaged one.
            fs::remove_file(&path).unwrap();
            bench.advance(1, 1);
            assert_eq!(bench.names(), ["checkpoint-1", "checkpoint-2"]);
            let state = bench.advance(2, 1);
            assert_eq!(bench.names(), ["checkpoint-2"]);
            assert_eq!(bench.resume().unwrap(), Some(state));
        }
    }

    #[test]
    fn one_of_something_else_is_refused() {
        let mut bench = Bench::new();
        bench.advance(1, 2);
        for (config, data, what) in [
            ("x", "d", "another configuration or seed"),
            ("c", "x", "other data (rows, reference log-probabilities or distances)"),
        ] {
            let mut checkpoints = bench.checkpoints(2);
            checkpoints.identity = Identity { config: config.into(), data: data.into() };
            let e = checkpoints.resume(&bench.trainable, &mut bench.optimizer).unwrap_err();
            assert_eq!(e.code(), Code::TrainCheckpoint);
            assert!(e.to_string().ends_with(&format!("checkpoint-1 was made with {what}")), "{e}");
        }
        bench.trainable.pop();
        let other = Var::from_tensor(&Tensor::new(&[0f32; 3], &Device::Cpu).unwrap()).unwrap();
        bench.trainable.push(Trainable { name: "b".into(), var: other });
        let e = bench.resume().unwrap_err();
        assert!(e.to_string().ends_with("b is F32 [1]; expected F32 [3]"), "{e}");
    }

    #[test]
    fn a_full_disk_is_noticed_before_writing() {
        let e = check_space(Path::new("run/checkpoint-5"), 3 << 20, 2 << 20).unwrap_err();
        assert_eq!(e.to_string(), "run/checkpoint-5 needs 3 MiB, 2 MiB are free");
        assert!(free_space(Path::new(".")).unwrap() > 0);
        assert!(check_space(Path::new("x"), 1, 2).is_ok());
    }
}

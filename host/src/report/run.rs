//! What a run directory holds, read leniently: a part that is missing is None, a line that cannot be read is counted.

use super::{latents::LatentMap, scores::Scores, validation::Validation};
use crate::{Code, Error, Result, diagnose::Diagnosis, files, rundir::TimingLine};
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::Value;
use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

/// A run as far as it has come.
pub struct Run {
    pub manifest: Option<Value>,
    /// By number: 0 before training, N after round N.
    pub evals: BTreeMap<u64, Eval>,
    pub rounds: BTreeMap<u64, Round>,
    /// What `validate` wrote into the run directory, and its page.
    pub validation: Option<(Validation, PathBuf)>,
    /// What could not be read, in words.
    pub problems: Vec<String>,
}

/// One evaluation; numbers that are not there are NaN.
pub struct Eval {
    pub greedy_accuracy: f64,
    pub sampled_accuracy: f64,
    /// Of held-out golden responses, nats per token.
    pub nll: f64,
    pub rows: u64,
    pub samples: Vec<EvalSample>,
}

/// A held-out row with the model's response.
#[derive(Deserialize)]
pub struct EvalSample {
    pub prompt: String,
    pub golden: String,
    pub response: String,
    pub right: bool,
}

/// Responses of a round.
#[derive(Default, Clone, Copy)]
pub struct Generated {
    /// Those that ended by themselves.
    pub stopped: u64,
    /// Those cut at the limit.
    pub cut: u64,
    /// Tokens of all.
    pub tokens: u64,
}

/// What the clock said of a line of training's metrics.
#[derive(Deserialize)]
pub struct TrainTiming {
    pub seconds: f64,
    pub tokens_per_second: f64,
}

/// What a round wrote.
#[derive(Default)]
pub struct Round {
    pub generated: Option<Generated>,
    pub encoder: Option<Value>,
    pub scores: Option<Scores>,
    /// Signs looked for, before and after training.
    pub diagnoses: Vec<Diagnosis>,
    /// Column name -> one value per line of the metrics file, NaN where the line has none.
    pub metrics: BTreeMap<String, Vec<f64>>,
    pub latents: Option<LatentMap>,
    /// Where its stages begin and end.
    pub timing: Vec<TimingLine>,
    /// Seconds and throughput of each line of the metrics.
    pub train_timing: Vec<TrainTiming>,
}

impl Run {
    /// Reads what is there. Fails where `dir` is no directory or a file cannot be read from disk.
    pub fn read(dir: &Path) -> Result<Self> {
        let (evals, rounds) = (BTreeMap::new(), BTreeMap::new());
        let mut run = Run { manifest: None, evals, rounds, validation: None, problems: vec![] };
        let entries = fs::read_dir(dir).map_err(|e| {
            Error::new(Code::ReportRunDir, format!("{} is no run directory", dir.display()))
                .hint("give the output_dir of a run")
                .caused_by(e)
        })?;
        run.manifest = run.json(&dir.join("manifest.json"))?;
        for entry in entries {
            let entry = entry.map_err(|e| files::io_error(dir, "list", e))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(n) = name.strip_prefix("eval-").and_then(|n| n.strip_suffix(".json")?.parse().ok()) {
                if let Some(value) = run.json(&entry.path())? {
                    run.evals.insert(n, Eval::of(&value));
                }
            } else if let Some(n) = name.strip_prefix("round-").and_then(|n| n.parse().ok()) {
                let round = run.round(&entry.path())?;
                run.rounds.insert(n, round);
            }
        }
        let validation = dir.join("validate");
        run.validation = run.shaped(&validation.join("validate.json"))?.map(|v| (v, validation.join("validate.html")));
        run.problems.sort();
        Ok(run)
    }

    fn round(&mut self, dir: &Path) -> Result<Round> {
        let mut round = Round { encoder: self.json(&dir.join("encoder.json"))?, ..Round::default() };
        let mut all = Generated::default();
        let found = self.lines(&dir.join("generations.jsonl"), |line: &str| {
            #[derive(Deserialize)]
            struct Line<'a> {
                stop: Cow<'a, str>,
                #[serde(default)]
                ids: Vec<IgnoredAny>,
            }
            let line: Line = serde_json::from_str(line)?;
            *(if line.stop == "length" { &mut all.cut } else { &mut all.stopped }) += 1;
            all.tokens += line.ids.len() as u64;
            Ok(())
        })?;
        round.generated = found.then_some(all);
        let mut scores = Scores::default();
        let found = self.lines(&dir.join("scores.jsonl"), |line: &str| {
            scores.add(serde_json::from_str(line)?);
            Ok(())
        })?;
        round.scores = found.then_some(scores);
        for name in ["diagnostics.json", "train/diagnostics.json"] {
            round.diagnoses.extend(self.shaped::<Vec<Diagnosis>>(&dir.join(name))?.unwrap_or_default());
        }
        let latents = dir.join("latents.safetensors");
        if latents.exists() {
            let map = LatentMap::read(&latents).map_err(|e| self.unreadable(&latents, &e));
            round.latents = map.ok();
        }
        self.lines(&dir.join("timing.jsonl"), |line: &str| {
            round.timing.push(serde_json::from_str(line)?);
            Ok(())
        })?;
        self.lines(&dir.join("train/timing.jsonl"), |line: &str| {
            round.train_timing.push(serde_json::from_str(line)?);
            Ok(())
        })?;
        let (mut columns, mut count) = (BTreeMap::<String, Vec<f64>>::new(), 0);
        self.lines(&dir.join("train/metrics.jsonl"), |line: &str| {
            let line: BTreeMap<String, Value> = serde_json::from_str(line)?;
            for (name, value) in line {
                let column = columns.entry(name).or_default();
                column.resize(count, f64::NAN);
                column.push(value.as_f64().unwrap_or(f64::NAN));
            }
            count += 1;
            Ok(())
        })?;
        columns.values_mut().for_each(|c| c.resize(count, f64::NAN));
        round.metrics = columns;
        Ok(round)
    }

    /// A JSON file, None where it is not there or (said in `problems`) is no JSON.
    fn json(&mut self, path: &Path) -> Result<Option<Value>> {
        self.shaped(path)
    }

    /// A JSON file of a known shape, None where it is not there or (said in `problems`) not that.
    fn shaped<T: DeserializeOwned>(&mut self, path: &Path) -> Result<Option<T>> {
        if !path.exists() {
            return Ok(None);
        }
        let value = serde_json::from_slice(&files::read(path)?);
        Ok(value.map_err(|e| self.unreadable(path, &e)).ok())
    }

    fn unreadable(&mut self, path: &Path, e: &dyn std::error::Error) {
        self.problems.push(format!("{} cannot be read: {e:#}", place(path)));
    }

    /// Hands every line of a file to `each` without holding the file; false where there is none.
    fn lines(&mut self, path: &Path, mut each: impl FnMut(&str) -> serde_json::Result<()>) -> Result<bool> {
        if !path.exists() {
            return Ok(false);
        }
        let fail = |e| files::io_error(path, "read", e);
        let mut reader = BufReader::with_capacity(1 << 18, File::open(path).map_err(fail)?);
        let (mut line, mut bad) = (Vec::new(), 0);
        while reader.read_until(b'\n', &mut line).map_err(fail)? > 0 {
            // A line without its end is still being written.
            if line.ends_with(b"\n") && !line.trim_ascii().is_empty() {
                let read = std::str::from_utf8(&line).is_ok_and(|text| each(text).is_ok());
                bad += usize::from(!read);
            }
            line.clear();
        }
        if bad > 0 {
            self.problems.push(format!("{bad} lines of {} cannot be read and are left out", place(path)));
        }
        Ok(true)
    }
}

/// The last parts of a path within a run directory.
fn place(path: &Path) -> String {
    let parts: Vec<_> = path.iter().rev().take(2).map(|p| p.to_string_lossy()).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

impl Eval {
    fn of(value: &Value) -> Self {
        let number = |key: &str| value[key].as_f64().unwrap_or(f64::NAN);
        let samples = value["samples"].as_array().map(Vec::as_slice).unwrap_or_default();
        Self {
            greedy_accuracy: number("greedy_accuracy"),
            sampled_accuracy: number("sampled_accuracy"),
            nll: number("nll"),
            rows: value["rows"].as_u64().unwrap_or_default(),
            samples: samples.iter().filter_map(|s| EvalSample::deserialize(s).ok()).collect(),
        }
    }
}

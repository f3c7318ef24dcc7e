//! What a run directory holds, read leniently: a part that is missing is None, a line that cannot be read is counted.

use crate::{Error, Result, diagnose::Diagnosis, files};
use serde::Deserialize;
use serde_json::Value;
use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
};

/// Pairs whose texts are kept: this many of the farthest and as many of the nearest.
pub const KEPT_PAIRS: usize = 6;

/// A run as far as it has come.
pub struct Run {
    pub manifest: Option<Value>,
    /// By number: 0 before training, N after round N.
    pub evals: BTreeMap<u64, Eval>,
    pub rounds: BTreeMap<u64, Round>,
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

/// What a round wrote.
#[derive(Default)]
pub struct Round {
    /// Responses that ended by themselves, and those cut at the limit.
    pub generated: Option<(u64, u64)>,
    pub encoder: Option<Value>,
    pub scores: Option<Scores>,
    /// Signs looked for, before and after training.
    pub diagnoses: Vec<Diagnosis>,
    /// Column name -> one value per line of the metrics file, NaN where the line has none.
    pub metrics: BTreeMap<String, Vec<f64>>,
}

/// Scores of a round's pairs: numbers of all, texts of a few.
#[derive(Default)]
pub struct Scores {
    pub distances: Vec<f64>,
    pub weights: Vec<f64>,
    /// Tokens of chosen less tokens of rejected.
    pub length_differences: Vec<f64>,
    /// Whether the loser is the golden response to the letter.
    pub equal: Vec<bool>,
    /// Farthest first.
    pub farthest: Vec<Pair>,
    /// Nearest first, equal texts left out.
    pub nearest: Vec<Pair>,
}

/// A pair with its texts.
pub struct Pair {
    pub line: u64,
    pub distance: f64,
    pub weight: f64,
    pub prompt: String,
    pub chosen: String,
    pub rejected: String,
}

#[derive(Deserialize)]
struct ScoreLine<'a> {
    line: u64,
    distance: Option<f64>,
    weight: Option<f64>,
    chosen_tokens: f64,
    rejected_tokens: f64,
    #[serde(borrow)]
    prompt: Cow<'a, str>,
    #[serde(borrow)]
    chosen: Cow<'a, str>,
    #[serde(borrow)]
    rejected: Cow<'a, str>,
}

impl Run {
    /// Reads what is there. Fails where `dir` is no directory or a file cannot be read from disk.
    pub fn read(dir: &Path) -> Result<Self> {
        let mut run = Run { manifest: None, evals: BTreeMap::new(), rounds: BTreeMap::new(), problems: vec![] };
        let entries = fs::read_dir(dir).map_err(|e| {
            Error::new("report/run-dir", format!("{} is no run directory", dir.display()))
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
        run.problems.sort();
        Ok(run)
    }

    fn round(&mut self, dir: &Path) -> Result<Round> {
        let mut round = Round { encoder: self.json(&dir.join("encoder.json"))?, ..Round::default() };
        let (mut stopped, mut cut) = (0, 0);
        let found = self.lines(&dir.join("generations.jsonl"), |line: &str| {
            #[derive(Deserialize)]
            struct Line<'a> {
                stop: Cow<'a, str>,
            }
            let line: Line = serde_json::from_str(line)?;
            *(if line.stop == "length" { &mut cut } else { &mut stopped }) += 1;
            Ok(())
        })?;
        round.generated = found.then_some((stopped, cut));
        let mut scores = Scores::default();
        let found = self.lines(&dir.join("scores.jsonl"), |line: &str| {
            scores.add(serde_json::from_str(line)?);
            Ok(())
        })?;
        round.scores = found.then_some(scores);
        for name in ["diagnostics.json", "train/diagnostics.json"] {
            if let Some(value) = self.json(&dir.join(name))? {
                match serde_json::from_value::<Vec<Diagnosis>>(value) {
                    Ok(found) => round.diagnoses.extend(found),
                    Err(e) => self.problems.push(format!("{} cannot be read: {e}", place(&dir.join(name)))),
                }
            }
        }
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
        if !path.exists() {
            return Ok(None);
        }
        let value = serde_json::from_slice(&files::read(path)?);
        Ok(value.map_err(|e| self.problems.push(format!("{} cannot be read: {e}", place(path)))).ok())
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

impl Scores {
    /// Whether any pair's distance is known.
    pub fn measured(&self) -> bool {
        self.distances.iter().any(|d| d.is_finite())
    }
    /// Number of pairs whose loser is the golden response.
    pub fn equal_count(&self) -> usize {
        self.equal.iter().filter(|e| **e).count()
    }
    fn add(&mut self, line: ScoreLine<'_>) {
        let (distance, weight) = (line.distance.unwrap_or(f64::NAN), line.weight.unwrap_or(f64::NAN));
        self.distances.push(distance);
        self.weights.push(weight);
        self.length_differences.push(line.chosen_tokens - line.rejected_tokens);
        let equal = line.chosen == line.rejected;
        self.equal.push(equal);
        if distance.is_finite() {
            keep(&mut self.farthest, |kept| kept.distance < distance, distance, weight, &line);
            if !equal {
                keep(&mut self.nearest, |kept| kept.distance > distance, distance, weight, &line);
            }
        }
    }
}

/// Inserts the line before the first kept pair that it beats; ties keep the data's order.
fn keep(kept: &mut Vec<Pair>, beats: impl Fn(&Pair) -> bool, distance: f64, weight: f64, line: &ScoreLine<'_>) {
    let at = kept.iter().position(beats).unwrap_or(kept.len());
    if at < KEPT_PAIRS {
        let (prompt, chosen) = (line.prompt.to_string(), line.chosen.to_string());
        kept.insert(
            at,
            Pair { line: line.line, distance, weight, prompt, chosen, rejected: line.rejected.to_string() },
        );
        kept.truncate(KEPT_PAIRS);
    }
}

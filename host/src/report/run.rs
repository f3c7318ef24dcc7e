//! What a run directory holds, read leniently: a part that is missing is None, a line that cannot be read is counted.

use super::{choices::Choices, latents::LatentMap, scores::Scores};
use crate::{
    Code, Error, Result,
    diagnose::Diagnosis,
    files,
    generate::StopReason,
    latents::Prompts,
    rundir::{
        Evaluation, FittedEncoder, GenerationLine, Layout, LenientReader, LinesFile, MetricsLine, Numbered,
        RoundLayout, StepTimingLine, TimingLine,
    },
    validate::Found,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// A run as far as it has come.
pub struct Run {
    /// As it stands in the file: that of another version is shown too.
    pub manifest: Option<Value>,
    /// By number: 0 before training, N after round N.
    pub evals: BTreeMap<u64, Evaluation>,
    pub rounds: BTreeMap<u64, Round>,
    /// What `validate` wrote into the run directory, and its page.
    pub validation: Option<(Found, PathBuf)>,
    /// What could not be read, in words.
    pub problems: Vec<String>,
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

/// What a round wrote.
#[derive(Default)]
pub struct Round {
    pub generated: Option<Generated>,
    pub encoder: Option<FittedEncoder>,
    pub scores: Option<Scores>,
    /// What the rule made of several samples a prompt.
    pub choices: Option<Choices>,
    /// Signs looked for, before and after training.
    pub diagnoses: Vec<Diagnosis>,
    /// Column name -> one value per line of the metrics file, NaN where the line has none.
    pub metrics: BTreeMap<String, Vec<f64>>,
    pub latents: Option<LatentMap>,
    /// Where its stages begin and end.
    pub timing: Vec<TimingLine>,
    /// What the clock said of each line of the metrics.
    pub train_timing: Vec<StepTimingLine>,
}

impl Run {
    /// Reads what is there. Fails where `dir` is no directory or a file cannot be read from disk.
    pub fn read(dir: &Path) -> Result<Self> {
        let entries = fs::read_dir(dir).map_err(|e| {
            Error::new(Code::ReportRunDir, format!("{} is no run directory", dir.display()))
                .hint("give the output_dir of a run")
                .caused_by(e)
        })?;
        let (layout, mut reader) = (Layout::new(dir), LenientReader::default());
        let manifest = reader.json(&layout.manifest().untyped())?;
        let (mut evals, mut rounds) = (BTreeMap::new(), BTreeMap::new());
        for entry in entries {
            let entry = entry.map_err(|e| files::io_error(dir, "list", e))?;
            match Layout::numbered(&entry.file_name().to_string_lossy()) {
                Some(Numbered::Eval(n)) => evals.extend(reader.json(&layout.eval(n))?.map(|eval| (n, eval))),
                Some(Numbered::Round(n)) => _ = rounds.insert(n, Round::read(&layout.round(n), &mut reader)?),
                None => {}
            }
        }
        let found = reader.json(&Found::file(&layout))?;
        let validation = found.map(|found| (found, layout.validation().join("validate.html")));
        let mut problems = reader.problems;
        problems.sort();
        Ok(Self { manifest, evals, rounds, validation, problems })
    }
}

impl Round {
    fn read(dir: &RoundLayout, reader: &mut LenientReader) -> Result<Self> {
        let mut round = Self { encoder: reader.json(&dir.encoder())?, ..Self::default() };
        let mut choices = Choices::default();
        let several = reader.lines(&dir.choices(), |line| choices.add(line))?;
        let mut all = Generated::default();
        let found = reader.lines(&dir.generations(), |line: GenerationLine| {
            *(if line.stop == StopReason::Length { &mut all.cut } else { &mut all.stopped }) += 1;
            all.tokens += line.ids.len() as u64;
            choices.add_text(&line);
        })?;
        round.generated = found.then_some(all);
        let mut scores = Scores::default();
        let found = reader.lines(&dir.scores(), |line| {
            scores.add(&line);
            choices.add_prompt(&line);
        })?;
        round.choices = several.then_some(choices);
        round.scores = found.then_some(scores);
        let train = dir.train();
        for file in [dir.diagnostics(), train.diagnostics()] {
            round.diagnoses.extend(reader.json(&file)?.unwrap_or_default());
        }
        let latents = dir.latents();
        if latents.exists() {
            let mut prompts = vec![];
            reader.lines(&dir.candidate_lines(), |line| prompts.push(Ok((line.row, line.counts.len()))))?;
            let (_, prompts) = Prompts::read(prompts.into_iter())?;
            let map = LatentMap::read(&latents, &prompts).map_err(|e| reader.unreadable(&latents, &e));
            round.latents = map.ok();
        }
        round.timing = all_lines(reader, &dir.timing())?;
        round.train_timing = all_lines(reader, &train.timing())?;
        round.metrics = columns(&all_lines(reader, &train.metrics())?);
        Ok(round)
    }
}

/// The lines of a short file.
fn all_lines<T: DeserializeOwned>(reader: &mut LenientReader, file: &LinesFile<T>) -> Result<Vec<T>> {
    let mut lines = vec![];
    reader.lines(file, |line| lines.push(line))?;
    Ok(lines)
}

/// The lines of a table as its columns.
fn columns(lines: &[MetricsLine]) -> BTreeMap<String, Vec<f64>> {
    let mut columns = BTreeMap::<String, Vec<f64>>::new();
    for (row, line) in lines.iter().enumerate() {
        for (name, value) in line.columns() {
            let column = columns.entry(name.to_owned()).or_insert_with(|| vec![f64::NAN; lines.len()]);
            column[row] = value.unwrap_or(f64::NAN);
        }
    }
    columns
}

//! Where everything of a run lies: every path is spelled here and nowhere else, and where the file is JSON, what is in
//! it.

use super::{
    CandidateLine, ChoiceLine, Evaluation, FittedEncoder, GenerationLine, JsonFile, LinesFile, Manifest, MetricsLine,
    Outcome, Record, Reference, ScoreLine, SealedFile, StepTimingLine, TimingLine,
};
use crate::{Result, data::Selection, diagnose::Diagnosis, files};
use std::path::{Path, PathBuf};

/// A run directory's places, whether it is there or not, open by this process or only read.
#[derive(Debug, Clone)]
pub struct Layout(PathBuf);

/// What there is one of for every round, by the name of its file or directory in the run directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbered {
    /// [`Layout::eval`].
    Eval(u64),
    /// [`Layout::round`].
    Round(u64),
}

impl Layout {
    /// Of the run directory at `path`.
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What the run is made from.
    pub fn manifest(&self) -> JsonFile<Manifest> {
        JsonFile::new(self.0.join("manifest.json"))
    }

    /// The configuration as YAML, every default spelled out: for a person, and to start another run from.
    pub fn config(&self) -> PathBuf {
        self.0.join("config.yaml")
    }

    /// Held-out figures after a round; 0 is before the first.
    pub fn eval(&self, round: u64) -> JsonFile<Evaluation> {
        JsonFile::new(self.0.join(format!("eval-{round}.json")))
    }

    /// What came of each held-out row after a round, in the rows' order.
    pub fn outcomes(&self, round: u64) -> LinesFile<Outcome> {
        LinesFile::new(self.0.join(format!("eval-{round}.jsonl")))
    }

    /// Writes what was measured after a round, and records it.
    pub fn write_evaluation(&self, round: u64, figures: &Evaluation, outcomes: &[Outcome]) -> Result<()> {
        let (all, each) = (self.eval(round), self.outcomes(round));
        each.write(outcomes.iter().map(Ok))?;
        all.write(figures)?;
        self.evaluation(round).write(&[all.into_path(), each.into_path()])
    }

    /// Whether [`write_evaluation`](Self::write_evaluation) has written, and what it wrote is there.
    pub fn is_evaluated(&self, round: u64) -> Result<bool> {
        self.evaluation(round).is_whole()
    }

    /// Has the model after a round measured again.
    pub(super) fn forget_evaluation(&self, round: u64) -> Result<()> {
        files::remove_file(self.evaluation(round).path())
    }

    fn evaluation(&self, round: u64) -> Record {
        Record::new(&self.0, &format!("eval-{round}"))
    }

    /// A round's directory; rounds count from 1.
    pub fn round(&self, round: u64) -> RoundLayout {
        RoundLayout::new(&self.0.join(format!("round-{round}")))
    }

    /// What a file's or directory's name stands for, if there is one for every round.
    pub fn numbered(name: &str) -> Option<Numbered> {
        let round = || Some(Numbered::Round(name.strip_prefix("round-")?.parse().ok()?));
        let eval = || Some(Numbered::Eval(name.strip_prefix("eval-")?.strip_suffix(".json")?.parse().ok()?));
        round().or_else(eval)
    }

    /// Whether a run writes a file or directory of this name in its directory. What `ldalign validate` writes there is
    /// its own affair.
    pub fn is_of_run(name: &str) -> bool {
        let eval = || name.strip_prefix("eval-")?.strip_suffix(".jsonl")?.parse::<u64>().ok();
        let fixed = ["manifest.json", "config.yaml", "report.html", "tensorboard", "done"];
        fixed.contains(&name) || Self::numbered(name).is_some() || eval().is_some()
    }

    /// The page that a person looks at.
    pub fn report(&self) -> PathBuf {
        self.0.join("report.html")
    }

    /// TensorBoard's event files.
    pub fn tensorboard(&self) -> PathBuf {
        self.0.join("tensorboard")
    }

    /// What `ldalign validate` found on annotated rows, unless it was told to write elsewhere.
    pub fn validation(&self) -> PathBuf {
        self.0.join("validate")
    }
}

/// A round's places. The directory of `ldalign sft`, which has a manifest of its own, is laid out as one too.
#[derive(Debug, Clone)]
pub struct RoundLayout(PathBuf);

impl RoundLayout {
    /// Of the round's directory at `path`.
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Whether `ldalign sft` writes a file or directory of this name in its directory.
    pub fn is_of_sft(name: &str) -> bool {
        ["manifest.json", "config.yaml", "rows.bin", "train", "model"].contains(&name)
    }

    /// The model's own responses, in row order.
    pub fn generations(&self) -> LinesFile<GenerationLine> {
        LinesFile::new(self.0.join("generations.jsonl"))
    }

    /// The same as they come, in any order, while they are sampled: a [`Sealed`](crate::files::Sealed) journal.
    pub fn partial_generations(&self) -> PathBuf {
        self.0.join("generations.partial.jsonl")
    }

    /// Token ids of prompt, chosen response and each different other response: a
    /// [`TokenStore`](crate::data::tokens::TokenStore) of three columns. Those of a row follow each other.
    pub fn candidates(&self) -> PathBuf {
        self.0.join("candidates.bin")
    }

    /// What is known of each row's candidates besides their tokens, in row order.
    pub fn candidate_lines(&self) -> LinesFile<CandidateLine> {
        LinesFile::new(self.0.join("candidates.jsonl"))
    }

    /// Distances between the responses to a prompt: see [`Distances`](super::Distances).
    pub fn distances(&self) -> PathBuf {
        self.0.join("distances.safetensors")
    }

    /// Of several samples a prompt, which became pairs, in row order.
    pub fn choices(&self) -> LinesFile<ChoiceLine> {
        LinesFile::new(self.0.join("choices.jsonl"))
    }

    /// Token ids of prompt, chosen and rejected: a [`TokenStore`](crate::data::tokens::TokenStore) of three columns.
    pub fn pairs(&self) -> PathBuf {
        self.0.join("pairs.bin")
    }

    /// The data row of each pair, from 0.
    pub fn rows(&self) -> JsonFile<Selection> {
        JsonFile::new(self.0.join("rows.json"))
    }

    /// Token ids of prompt and completion for supervised fine-tuning: a [`TokenStore`](crate::data::tokens::TokenStore)
    /// of two columns.
    pub fn sft_rows(&self) -> PathBuf {
        self.0.join("rows.bin")
    }

    /// The encoder and its fit.
    pub fn encoder(&self) -> JsonFile<FittedEncoder> {
        JsonFile::new(self.0.join("encoder.json"))
    }

    /// What the encoder plugin learned, in its own bytes: where the next round starts.
    pub fn encoder_state(&self) -> PathBuf {
        self.0.join("encoder.state")
    }

    /// What the distance plugin learned, in its own bytes: where the next round starts.
    pub fn distance_state(&self) -> PathBuf {
        self.0.join("distance.state")
    }

    /// Latents of each row's chosen response (`golden`) and of the candidates (`losing`), in their order: see
    /// [`latents`](crate::latents).
    pub fn latents(&self) -> PathBuf {
        self.0.join("latents.safetensors")
    }

    /// Distance, weight and texts of every pair, with numbers as `F`: see [`ScoreLine`].
    pub fn scores<F>(&self) -> LinesFile<ScoreLine<F>> {
        LinesFile::new(self.0.join("scores.jsonl"))
    }

    /// Signs of failure looked for before training.
    pub fn diagnostics(&self) -> JsonFile<Vec<Diagnosis>> {
        JsonFile::new(self.0.join("diagnostics.json"))
    }

    /// Reference log-probabilities of the pairs.
    pub fn reference(&self) -> SealedFile<Reference> {
        SealedFile::new(self.0.join("reference.json"))
    }

    /// The directory that training works in.
    pub fn train(&self) -> TrainLayout {
        TrainLayout::new(&self.0.join("train"))
    }

    /// The model, or its adapter, after the round.
    pub fn model(&self) -> PathBuf {
        self.0.join("model")
    }

    /// When its stages began and ended.
    pub fn timing(&self) -> LinesFile<TimingLine> {
        LinesFile::new(self.0.join("timing.jsonl"))
    }
}

/// Places of a training's directory. Its checkpoints are [`train`](crate::train)'s own.
#[derive(Debug, Clone)]
pub struct TrainLayout(PathBuf);

impl TrainLayout {
    /// Of the training's directory at `path`.
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What training computed, the same in equal runs.
    pub fn metrics(&self) -> LinesFile<MetricsLine> {
        LinesFile::new(self.0.join("metrics.jsonl"))
    }

    /// What clock and system said at each line of the metrics.
    pub fn timing(&self) -> LinesFile<StepTimingLine> {
        LinesFile::new(self.0.join("timing.jsonl"))
    }

    /// Signs of failure looked for after training.
    pub fn diagnostics(&self) -> JsonFile<Vec<Diagnosis>> {
        JsonFile::new(self.0.join("diagnostics.json"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_of_what_rounds_write_are_known_again() {
        let dir = Layout::new(Path::new("run"));
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(Layout::numbered(&name(dir.eval(0).path())), Some(Numbered::Eval(0)));
        assert_eq!(Layout::numbered(&name(dir.round(12).path())), Some(Numbered::Round(12)));
        for other in ["eval-1.jsonl", "eval-x.json", "round-", "round-1.tmp", "manifest.json"] {
            assert_eq!(Layout::numbered(other), None, "{other}");
        }
    }

    #[test]
    fn what_runs_write_is_known() {
        for name in ["manifest.json", "eval-0.json", "eval-12.jsonl", "round-3", "done", "report.html"] {
            assert!(Layout::is_of_run(name), "{name}");
        }
        for name in ["validate", "model", "golden.jsonl", "eval-x.jsonl", "round-one", "run.yaml"] {
            assert!(!Layout::is_of_run(name), "{name}");
        }
        let dir = RoundLayout::new(Path::new("run"));
        for path in [dir.sft_rows(), dir.train().path().to_owned(), dir.model()] {
            assert!(RoundLayout::is_of_sft(path.file_name().unwrap().to_str().unwrap()));
        }
    }

    #[test]
    fn an_evaluation_is_done_when_both_its_files_are_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let figures = Evaluation { rows: 1, greedy_accuracy: 0.5, sampled_accuracy: 0.25, nll: 2.0, samples: vec![] };
        let write = || layout.write_evaluation(1, &figures, &[Outcome::default()]).unwrap();
        write();
        assert!(layout.is_evaluated(1).unwrap() && !layout.is_evaluated(0).unwrap());
        assert_eq!(layout.eval(1).read().unwrap(), figures);
        assert_eq!(layout.outcomes(1).lines().unwrap().next().unwrap().unwrap(), Outcome::default());
        for path in [layout.outcomes(1).into_path(), layout.eval(1).into_path()] {
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, text.replacen("0", "9", 1)).unwrap();
            assert!(!layout.is_evaluated(1).unwrap());
            std::fs::remove_file(&path).unwrap();
            assert!(!layout.is_evaluated(1).unwrap());
            write();
            assert!(layout.is_evaluated(1).unwrap());
        }
    }
}

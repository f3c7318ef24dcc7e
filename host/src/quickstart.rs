//! `ldalign quickstart`: a tiny model with bad habits and three ways to rid it of them, compared on held-out rows.
//!
//! Everything it needs is built in (`examples/quickstart/`) and unpacked into the directory it works in, so that each arm can be
//! run again, or changed, with the ordinary commands. Started again, it goes on.

use crate::{
    Error, Result,
    config::{EvalConfig, RunConfig},
    files,
    model::Policy,
    pipeline::{self, Evaluation},
    report::{self, Arm},
    text::TextCodec,
};
use std::path::{Path, PathBuf};

macro_rules! embed {
    ($($name:literal),* $(,)?) => { &[$(($name, include_bytes!(concat!("../../examples/quickstart/", $name)))),*] };
}

/// Path in the working directory -> bytes.
const FILES: &[(&str, &[u8])] = embed![
    "config.yaml",
    "golden.jsonl",
    "test.jsonl",
    "model/chat_template.jinja",
    "model/config.json",
    "model/generation_config.json",
    "model/model.safetensors",
    "model/tokenizer.json",
    "model/tokenizer_config.json",
];

/// Name, directory, and what it does.
const SFT: (&str, &str, &str) = (
    "More SFT",
    "sft",
    "Supervised fine-tuning on the same golden rows: as many rounds, optimizer steps, rows a step and the same learning rate; it needs no responses \
     of the model, so it costs less time.",
);
const SPIN: (&str, &str, &str) =
    ("SPIN", "spin", "The model's own responses as losers, every pair counting the same: the schedule called uniform.");
const LD_ALIGN: (&str, &str, &str) = (
    "LD-Align",
    "ldalign",
    "The same, each pair weighted by the distance between the latents of golden and own response.",
);

/// Runs the three arms in `dir` and writes `dir/report.html`; returns the table of their results and that path.
///
/// The arms share model, rows, rounds, steps and seed. Fails as their stages do; what is finished is kept.
pub fn run(dir: &Path) -> Result<(String, PathBuf)> {
    unpack(dir)?;
    let arm = |(name, sub, note): (&str, &str, &str)| Arm { name: name.into(), note: note.into(), dir: dir.join(sub) };
    let arms = [SFT, SPIN, LD_ALIGN].map(arm);
    let config = |set: &[&str]| -> Result<RunConfig> {
        let set: Vec<String> = set.iter().map(|s| s.to_string()).collect();
        RunConfig::load(&dir.join("config.yaml"), &set)
    };
    pipeline::run(config(&[])?, None)?;
    pipeline::run(config(&["output_dir=spin", "schedule=uniform"])?, None)?;
    more_sft(config(&["output_dir=sft"])?, &arms[2].dir)?;

    let report = dir.join("report.html");
    let lead = "A 0.45-million-parameter model was fine-tuned on answers of which more than half echo the question's word, stop short or babble on. It \
        knows the tasks and has the bad habits too. Each way below starts from it and sees the same 512 right answers; what counts is exact \
        answers to held-out questions.";
    let table = report::comparison("LD-Align quickstart", lead, &arms, &report)?;
    Ok((table, report))
}

/// Writes the built-in files that are not there yet; a file that was changed is left alone, which the run's hashes tell.
fn unpack(dir: &Path) -> Result<()> {
    files::make_dir(&dir.join("model"))?;
    FILES
        .iter()
        .filter(|(name, _)| !dir.join(name).exists())
        .try_for_each(|(name, bytes)| files::write(&dir.join(name), bytes))
}

/// Trains on by plain SFT in rounds of the same length as the others', evaluating after each; figures of the start come from `start`.
fn more_sft(config: RunConfig, start: &Path) -> Result<()> {
    let dir = config.output_dir.clone();
    files::make_dir(&dir)?;
    let figures = |round: u64| dir.join(format!("eval-{round}.json"));
    files::write(&figures(0), &files::read(&start.join("eval-0.json"))?)?;
    let eval = config.eval.as_ref().ok_or_else(|| {
        Error::new("quickstart/config", "the quickstart's config has no eval section")
            .hint("restore config.yaml, or delete it to have it written anew")
    })?;
    let mut model = config.model.clone();
    for round in 1..=config.rounds {
        let output_dir = dir.join(format!("round-{round}"));
        if !figures(round).exists() {
            let seed = config.seed.wrapping_add(round);
            pipeline::sft(&RunConfig { model, output_dir: output_dir.clone(), seed, ..config.clone() })?;
            let measured = measure(&output_dir.join("model"), eval, &config, round)?;
            files::write_json(&figures(round), &measured)?;
        }
        model = output_dir.join("model");
    }
    Ok(())
}

fn measure(model: &Path, eval: &EvalConfig, config: &RunConfig, round: u64) -> Result<Evaluation> {
    let policy = Policy::load_as(model, &pipeline::device(&config.device)?, config.precision())?;
    let codec = TextCodec::load(model)?;
    pipeline::evaluate(&policy, &codec, eval, &config.generate, config.seed, &format!("eval after SFT round {round}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::{collections::BTreeSet, fs};

    #[test]
    fn the_built_in_files_make_a_run_and_changed_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        unpack(dir.path()).unwrap();
        let config = RunConfig::load(&dir.path().join("config.yaml"), &[]).unwrap();
        assert!(config.model.join("model.safetensors").exists() && config.eval.is_some());
        TextCodec::load(&config.model).unwrap();
        fs::write(dir.path().join("config.yaml"), "changed").unwrap();
        fs::remove_file(dir.path().join("test.jsonl")).unwrap();
        unpack(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("config.yaml")).unwrap(), "changed");
        assert!(dir.path().join("test.jsonl").exists());
        assert!(FILES.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() < 3 << 20);
    }

    #[test]
    fn no_held_out_word_is_trained_on() {
        let words = |file: &str| {
            let text = FILES.iter().find(|(name, _)| *name == file).unwrap().1;
            let rows = std::str::from_utf8(text)
                .unwrap()
                .lines()
                .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
            // The made-up word is what the wordings do not share with any other row: it is never one of these.
            let plain: BTreeSet<&str> = "Spell backwards. Reverse Write in capitals. Shout Repeat twice. Say two times. Which vowels has List the \
                vowels of out Cut first letter off without its letter."
                .split_whitespace()
                .collect();
            let word = |row: serde_json::Value| {
                let prompt = row["prompt"].as_str().unwrap().to_owned();
                prompt.split_whitespace().find(|w| !plain.contains(w)).unwrap().trim_end_matches(['.', '?']).to_owned()
            };
            rows.map(word).collect::<BTreeSet<String>>()
        };
        let (golden, test) = (words("golden.jsonl"), words("test.jsonl"));
        assert!(golden.len() > 200 && test.len() > 200, "{} {}", golden.len(), test.len());
        assert!(golden.is_disjoint(&test));
    }
}

//! `ldalign quickstart`: a tiny model whose likeliest answer is boilerplate, and four ways to go on from it compared on
//! held-out rows.
//!
//! Everything it needs is built in (`examples/quickstart/`) and unpacked into the directory it works in, so that the
//! comparison, and each of its runs, can be made again, or changed, with the ordinary commands. Started again, it goes
//! on.

use crate::{
    Result,
    compare::{self, Plan},
    files,
};
use std::path::{Path, PathBuf};

macro_rules! embed {
    ($($name:literal),* $(,)?) => { &[$(($name, include_bytes!(concat!("../../examples/quickstart/", $name)))),*] };
}

/// Path in the working directory -> bytes. The first says that the others are ours.
const FILES: &[(&str, &[u8])] = embed![
    "quickstart.yaml",
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

const LEAD: &str = "A 0.45-million-parameter model was fine-tuned on rows of which every third says \"No idea.\" and some of the others are \
    wrong. It knows the tasks, but its likeliest answer is the boilerplate. Each way below starts from it and sees the same 512 of those \
    rows, no better than what it was made of; what counts is the content of answers to held-out questions.";

/// Runs the comparison in `dir`; returns the table of its results and the path of its page.
///
/// Fails as its runs do; what is finished is kept.
pub fn run(dir: &Path) -> Result<(String, PathBuf)> {
    unpack(dir)?;
    let plan = Plan::load(&dir.join("quickstart.yaml"), &[])?;
    let comparison = compare::compare(&plan, "LD-Align quickstart", LEAD)?;
    compare::failed(&comparison).map_or(Ok(()), Err)?;
    Ok((comparison.text(), compare::page_path(&plan)))
}

/// Writes the built-in files that are not there yet; a file that was changed is left alone, which the run's hashes
/// tell.
fn unpack(dir: &Path) -> Result<()> {
    let (first, _) = FILES[0];
    if !dir.join(first).exists() {
        let writes = |name: &str| FILES.iter().any(|(file, _)| file.split('/').next() == Some(name));
        files::Claim { directory: dir, mark: first, writes: &writes, reads: &[] }.check()?;
    }
    files::make_dir(&dir.join("model"))?;
    FILES
        .iter()
        .filter(|(name, _)| !dir.join(name).exists())
        .try_for_each(|(name, bytes)| files::write(&dir.join(name), bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::text::TextCodec;
    use std::{collections::BTreeSet, fs};

    #[test]
    fn the_built_in_files_make_a_run_and_changed_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        unpack(dir.path()).unwrap();
        let plan = Plan::load(&dir.path().join("quickstart.yaml"), &[]).unwrap();
        assert!(plan.base.model.join("model.safetensors").exists());
        TextCodec::load(&plan.base.model).unwrap();
        fs::write(dir.path().join("config.yaml"), "changed").unwrap();
        fs::remove_file(dir.path().join("test.jsonl")).unwrap();
        unpack(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("config.yaml")).unwrap(), "changed");
        assert!(dir.path().join("test.jsonl").exists());
        // Without the first they are somebody else's.
        fs::remove_file(dir.path().join("quickstart.yaml")).unwrap();
        assert_eq!(unpack(dir.path()).unwrap_err().code(), crate::Code::FileTaken);
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

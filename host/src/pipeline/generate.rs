//! Stage `generate`: one response of the current model to every prompt, resumable by prompt.

use super::Run;
use crate::{
    Code, Error, Result,
    files::{self, Journal},
    generate::{Generator, Request, generate},
    progress::Progress,
    rundir::GenerationLine,
};
use std::{collections::BTreeMap, path::PathBuf};

impl Run {
    pub(super) fn generate(&mut self, round: u64) -> Result<Vec<PathBuf>> {
        if self.data.has_rejected() {
            return Ok(vec![]);
        }
        let dir = self.dir.round(round);
        files::make_dir(dir.path())?;
        // Responses are kept as they come; where each begins in the journal is all that stays in memory.
        let partial = dir.partial_generations().into_path();
        let mut lines = BTreeMap::new();
        let mut at = 0;
        let mut journal = Journal::open(&partial, |line| {
            let done: GenerationLine = serde_json::from_str(line).map_err(|e| {
                Error::new(Code::RunDamaged, format!("{} cannot be read", partial.display())).caused_by(e)
            })?;
            lines.insert(done.index, at..at + line.len());
            at += line.len() + 1;
            Ok(())
        })?;
        let policy = self.policy(round)?;
        let policy = policy.read().expect("no thread panics with the policy in hand");
        let ours: &dyn Generator = &*policy;
        let (data, codec, budget) = (&self.data, &self.codec, self.config.data.budget());
        let missing: Vec<usize> = (0..data.len()).filter(|i| !lines.contains_key(i)).collect();
        let requests = missing.iter().map(|&index| {
            let row = data.row(index)?;
            let prompt = codec.encode_prompt(&row.history).map_err(|e| e.at(data.place(&row)))?;
            let prompt = budget.cut_prompt(prompt);
            Ok((index, Request { prompt, key: (round << 40) | index as u64, sample: 0 }))
        });
        let mut progress = Progress::new(format!("round {round} generate"), lines.len() as u64, data.len() as u64);
        let mut tokens = 0;
        generate(ours, requests, &self.config.generate, codec.end_ids(), self.config.seed, |index, generation| {
            tokens += generation.ids.len();
            let text = codec.decode(&generation.ids)?;
            let written = journal.push(&GenerationLine { index, ids: generation.ids, text, stop: generation.stop })?;
            lines.insert(index, at..at + written);
            at += written + 1;
            progress.advance(1, "");
            Ok(())
        })?;
        progress.finish(&format!("({tokens} tokens)"));

        // In row order, so that the file does not depend on where a run was interrupted.
        let path = dir.generations().into_path();
        let text = files::map(&partial)?;
        files::write_with(&path, |out| {
            lines.values().try_for_each(|span| {
                out.write_all(&text[span.clone()])?;
                out.write_all(b"\n")
            })
        })?;
        Ok(vec![path])
    }
}

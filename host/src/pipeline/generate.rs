//! Stage `generate`: responses of the current model to every prompt, resumable by response.

use super::{Run, beside};
use crate::{
    Code, Error, Result,
    files::{self, Sealed},
    generate::{Generator, Request, generate},
    progress::Progress,
    rundir::GenerationLine,
};
use std::path::PathBuf;

/// Where a response lies that is not there.
const MISSING: u64 = u64::MAX;

impl Run {
    pub(super) fn generate(&mut self, round: u64) -> Result<Vec<PathBuf>> {
        if self.data.has_rejected() {
            return Ok(vec![]);
        }
        let dir = self.dir.round(round);
        files::make_dir(dir.path())?;
        if round == 1
            && let Some(copied) = beside::generations(&dir, &self.config, &self.beside)?
        {
            return Ok(copied);
        }
        // Responses are kept as they come; where each begins in the journal is all that stays in memory.
        let partial = dir.partial_generations();
        // A request's number says its row and which of the row's samples it is. Samples of a row follow each other, so
        // that those that are decoded together share their prompt's cache.
        let samples = self.samples();
        let of = |number: usize| (number / samples, (number % samples) as u32);
        let all = self.data.len() * samples;
        let (mut lines, mut held) = (vec![MISSING; all], 0usize);
        let mut journal = Sealed::open(&partial, |at, line| {
            let done: GenerationLine = serde_json::from_str(line).map_err(|e| {
                Error::new(Code::RunDamaged, format!("{} cannot be read", partial.display())).caused_by(e)
            })?;
            let number = done.index * samples + done.sample as usize;
            let place = lines.get_mut(number).filter(|_| (done.sample as usize) < samples).ok_or_else(|| {
                let what = format!("{}: row {}, sample {}", partial.display(), done.index, done.sample);
                Error::new(Code::RunDamaged, format!("{what} is of another data set or config"))
            })?;
            held += usize::from(*place == MISSING);
            *place = at;
            Ok(())
        })?;
        let policy = self.policy(round)?;
        let policy = policy.read().expect("no thread panics with the policy in hand");
        let ours: &dyn Generator = &*policy;
        let (data, codec) = (&self.data, &self.codec);
        let missing: Vec<usize> = (0..all).filter(|number| lines[*number] == MISSING).collect();
        let requests = missing.iter().map(|&number| {
            let (index, sample) = of(number);
            let row = data.row(index)?;
            let prompt = codec.encode_prompt(&row.prompt).map_err(|e| e.at(data.place(&row)))?;
            let prompt = row.limits.cut_prompt(prompt);
            Ok((number, Request { prompt, key: (round << 40) | index as u64, sample }))
        });
        let mut progress = Progress::new(format!("round {round} generate"), held as u64, all as u64);
        let mut tokens = 0;
        generate(ours, requests, &self.config.generate, codec.end_ids(), self.config.seed, |number, generation| {
            let (index, sample) = of(number);
            tokens += generation.ids.len();
            let text = codec.decode(&generation.ids)?;
            let line = GenerationLine { index, sample, ids: generation.ids, text, stop: generation.stop };
            lines[number] = journal.push(&line)?;
            progress.advance(1, "");
            Ok(())
        })?;
        progress.finish(&format!("({tokens} tokens)"));

        // In row order, so that the file does not depend on where a run was interrupted.
        let path = dir.generations().into_path();
        let line = journal.reader()?;
        files::write_with(&path, |out| lines.iter().try_for_each(|at| writeln!(out, "{}", line(*at)?)))?;
        Ok(vec![path])
    }
}

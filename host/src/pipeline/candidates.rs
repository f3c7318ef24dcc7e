//! Stage `candidates`: token ids of prompt, chosen response and every different other response, of every usable row.
//!
//! The other responses are the model's own samples, or the row's ready-made rejected one.

use super::Run;
use crate::{
    Code, Error, Result,
    data::{Budgets, tokens::TokenStore},
    files::{self, Journal},
    generate::StopReason,
    interrupt,
    progress::Progress,
    rundir::{CandidateLine, GenerationLine},
};
use std::path::PathBuf;

impl Run {
    pub(super) fn candidates(&mut self, round: u64) -> Result<Vec<PathBuf>> {
        let dir = self.dir.round(round);
        files::make_dir(dir.path())?;
        // Kept until the stage before was recorded, so that no response is ever sampled twice.
        files::remove_file(&dir.partial_generations())?;
        let (data, codec, samples) = (&self.data, &self.codec, self.samples());
        let mut budgets = Budgets::of(data);
        let mut generations = match data.has_rejected() {
            true => None,
            false => Some(dir.generations().lines()?),
        };
        let lines = dir.candidate_lines().into_path();
        let mut journal = Journal::create(&lines)?;
        let mut progress = Progress::new(format!("round {round} candidates"), 0, data.len() as u64);
        let triples = (0..data.len()).flat_map(|index| {
            progress.advance(1, "");
            let triples = (|| {
                interrupt::check()?;
                let row = data.row(index)?;
                let chosen = codec.encode_turn(&row.prompt, &row.chosen).map_err(|e| e.at(data.place(&row)))?;
                let mut responses = vec![chosen.response];
                let mut whole = vec![];
                match (&mut generations, &row.rejected) {
                    (Some(lines), _) => {
                        for sample in 0..samples {
                            let line = next_generation(lines, index, sample)?;
                            whole.push((line.ids.len(), line.stop == StopReason::Length));
                            responses.push(line.ids);
                        }
                    }
                    (None, Some(text)) => responses.push(codec.encode_turn(&row.prompt, text)?.response),
                    (None, None) => return Err(Error::new(Code::DataRow, "has no rejected response")),
                }
                let Some((prompt, responses)) = budgets.fit(&row, chosen.prompt, responses) else {
                    return Ok(vec![]);
                };
                let (chosen, others) = responses.split_first().expect("the chosen response is there");
                let cut = |k: usize, ids: &[u32]| whole.get(k).is_some_and(|&(tokens, cut)| cut || ids.len() < tokens);
                let mut line = CandidateLine { row: index, counts: vec![], cut: vec![] };
                let mut triples: Vec<[Vec<u32>; 3]> = vec![];
                for (k, ids) in others.iter().enumerate() {
                    match triples.iter().position(|triple| triple[2] == *ids) {
                        Some(equal) => line.counts[equal] += 1,
                        None => {
                            line.counts.push(1);
                            line.cut.push(cut(k, ids));
                            triples.push([prompt.clone(), chosen.clone(), ids.clone()]);
                        }
                    }
                }
                journal.push(&line)?;
                Ok(triples)
            })();
            match triples {
                Ok(triples) => triples.into_iter().map(Ok).collect(),
                Err(e) => vec![Err(e)],
            }
        });
        let path = dir.candidates();
        TokenStore::write(&path, triples)?;
        journal.sync()?;
        progress.finish(&budgets.report().to_string());
        budgets.check()?;
        Ok(vec![path, lines])
    }

    /// Other responses to each prompt: the config's samples, or the one that the data has.
    pub(super) fn samples(&self) -> usize {
        if self.data.has_rejected() { 1 } else { self.config.samples() }
    }
}

/// The response of a row's sample; generations.jsonl has them in order.
fn next_generation(
    lines: &mut impl Iterator<Item = Result<GenerationLine>>,
    index: usize,
    sample: usize,
) -> Result<GenerationLine> {
    let missing =
        || Error::new(Code::RunDamaged, format!("generations.jsonl has no line for row {index}, sample {sample}"));
    let line = lines.next().ok_or_else(missing)??;
    if (line.index, line.sample as usize) == (index, sample) { Ok(line) } else { Err(missing()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_must_be_those_of_the_row_and_sample_in_turn() {
        let line = |index, sample| {
            Ok(GenerationLine { index, sample, ids: vec![1], text: String::new(), stop: StopReason::Stop })
        };
        let mut lines = vec![line(0, 0), line(0, 1), line(1, 1)].into_iter();
        assert_eq!(next_generation(&mut lines, 0, 0).unwrap().sample, 0);
        assert_eq!(next_generation(&mut lines, 0, 1).unwrap().sample, 1);
        let e = next_generation(&mut lines, 1, 0).unwrap_err();
        assert!(e.code() == Code::RunDamaged && e.message().contains("row 1, sample 0"), "{e:#}");
        assert!(next_generation(&mut lines, 1, 1).is_err());
    }
}

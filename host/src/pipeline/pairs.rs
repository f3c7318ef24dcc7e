//! Stage `pairs`: token ids of prompt, chosen and rejected response of every usable row.

use super::Run;
use crate::{
    Code, Error, Result,
    data::{Selection, tokens::TokenStore},
    files, interrupt,
    progress::Progress,
    rundir::GenerationLine,
};
use std::path::PathBuf;

impl Run {
    pub(super) fn pairs(&mut self, round: u64) -> Result<Vec<PathBuf>> {
        let dir = self.dir.round(round);
        files::make_dir(dir.path())?;
        // Kept until the stage before was recorded, so that no response is ever sampled twice.
        files::remove_file(dir.partial_generations().path())?;
        let (data, codec) = (&self.data, &self.codec);
        let mut budget = self.config.data.budget();
        let mut generations = match data.has_rejected() {
            true => None,
            false => Some(dir.generations().lines()?),
        };
        let mut rows = Selection::default();
        let mut progress = Progress::new(format!("round {round} pairs"), 0, data.len() as u64);
        let triples = (0..data.len()).filter_map(|index| {
            progress.advance(1, "");
            let triple = (|| {
                interrupt::check()?;
                let row = data.row(index)?;
                let chosen = codec.encode_turn(&row.history, &row.chosen).map_err(|e| e.at(data.place(&row)))?;
                let rejected = match (&mut generations, &row.rejected) {
                    (Some(lines), _) => next_generation(lines, index)?.ids,
                    (None, Some(text)) => codec.encode_turn(&row.history, text)?.response,
                    (None, None) => return Err(Error::new(Code::DataRow, "has no rejected response")),
                };
                let triple = budget.fit(chosen.prompt, [chosen.response, rejected]);
                Ok(triple.map(|(prompt, [chosen, rejected])| [prompt, chosen, rejected]))
            })();
            if let Ok(Some(_)) = triple {
                rows.push(index);
            }
            triple.transpose()
        });
        let path = dir.pairs();
        TokenStore::write(&path, triples)?;
        progress.finish(&budget.report().to_string());
        budget.report().check()?;
        dir.rows().write(&rows)?;
        Ok(vec![path, dir.rows().into_path()])
    }
}

/// The response to row `index`; generations.jsonl has one line a row in row order.
fn next_generation(lines: &mut impl Iterator<Item = Result<GenerationLine>>, index: usize) -> Result<GenerationLine> {
    let missing = || Error::new(Code::RunDamaged, format!("generations.jsonl has no line for row {index}"));
    let line = lines.next().ok_or_else(missing)??;
    if line.index == index { Ok(line) } else { Err(missing()) }
}

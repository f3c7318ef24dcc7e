//! Stage `candidates`: token ids of prompt, chosen response and every different other response, of every usable row.
//!
//! The other responses are the model's own samples, or the row's ready-made rejected one.

use super::{Run, sampled::Sampled};
use crate::{
    Code, Error, Result,
    data::{Selection, tokens::TokenStore},
    files, interrupt,
    progress::Progress,
};
use std::path::PathBuf;

impl Run {
    pub(super) fn candidates(&mut self, round: u64) -> Result<Vec<PathBuf>> {
        let dir = self.dir.round(round);
        files::make_dir(dir.path())?;
        // Kept until the stage before was recorded, so that no response is ever sampled twice.
        files::remove_file(dir.partial_generations().path())?;
        let (data, codec) = (&self.data, &self.codec);
        let mut budget = self.config.data.budget();
        let mut sampled = match data.has_rejected() {
            true => None,
            false => Some(Sampled::new(dir.generations().lines()?, self.config.samples())),
        };
        let mut rows = Selection::default();
        let mut progress = Progress::new(format!("round {round} candidates"), 0, data.len() as u64);
        let triples = (0..data.len()).flat_map(|index| {
            progress.advance(1, "");
            let triples = (|| {
                interrupt::check()?;
                let row = data.row(index)?;
                let chosen = codec.encode_turn(&row.history, &row.chosen).map_err(|e| e.at(data.place(&row)))?;
                let mut responses = vec![chosen.response];
                match (&mut sampled, &row.rejected) {
                    (Some(sampled), _) => responses.extend(sampled.row(index)?.into_iter().map(|s| s.ids)),
                    (None, Some(text)) => responses.push(codec.encode_turn(&row.history, text)?.response),
                    (None, None) => return Err(Error::new(Code::DataRow, "has no rejected response")),
                }
                Ok(budget.fit(chosen.prompt, responses))
            })();
            let (prompt, responses) = match triples {
                Ok(Some(fitted)) => fitted,
                Ok(None) => return vec![],
                Err(e) => return vec![Err(e)],
            };
            let (chosen, others) = responses.split_first().expect("the chosen response is there");
            let triple = |other: &Vec<u32>| {
                rows.push(index);
                Ok([prompt.clone(), chosen.clone(), other.clone()])
            };
            others.iter().map(triple).collect()
        });
        let path = dir.candidates();
        TokenStore::write(&path, triples)?;
        progress.finish(&budget.report().to_string());
        budget.report().check()?;
        dir.candidate_rows().write(&rows)?;
        Ok(vec![path, dir.candidate_rows().into_path()])
    }
}

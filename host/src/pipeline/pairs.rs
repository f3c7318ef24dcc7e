//! Stage `pairs`: which responses become pairs, by the config's rule, and the weights at the first step.

use super::{Run, sampled::Sampled};
use crate::{
    Code, Error, Result,
    data::{Selection, tokens::TokenStore},
    diagnose, interrupt,
    latents::{Prompts, prompt_text},
    pairs::{Candidate, Pair, Pairing, Response, Rule},
    rundir::{ChoiceLine, Distances, ScoreLine},
    train,
};
use ldalign_sdk::StepContext;
use std::path::PathBuf;

impl Run {
    pub(super) fn pairs(&mut self, round: u64) -> Result<Vec<PathBuf>> {
        let dir = self.dir.round(round);
        let measured = if self.measures() { Some(Distances::read(&dir.distances())?) } else { None };
        let mut outputs = vec![dir.pairs(), dir.rows().into_path()];
        let chosen = self.choose(round, measured.as_ref(), &mut outputs)?;
        let pairs = TokenStore::open(&dir.pairs(), 3)?;
        let given;
        let basis = match self.data.has_weights() {
            true => {
                let weight = |row| Ok(self.data.row(row)?.weight.unwrap_or(1.0));
                given = chosen.rows.iter().map(weight).collect::<Result<Vec<_>>>()?;
                &given
            }
            false => &chosen.distances,
        };
        let weigher = self.weigher(basis)?;
        let total_steps = train::total_steps(pairs.len(), &self.config.train)?;
        let start = StepContext { round: round - 1, rounds: self.config.rounds, step: 0, total_steps };
        let weights = weigher.weights(start, basis)?;
        let mut facts = diagnose::Pairs::new(dir.path(), pairs.len())?;
        let mut last = None;
        let lines = (0..pairs.len()).map(|index| {
            let row = chosen.rows.get(index);
            let distance = measured.is_some().then(|| chosen.distances[index]);
            let line = self.score_line(&pairs, index, row, distance, weights[index])?;
            let tokens = [line.chosen_tokens, line.rejected_tokens];
            facts.add(line.chosen == line.rejected, line.distance, line.weight, tokens);
            // A prompt counts once, however many pairs it has.
            if last != Some(row) {
                facts.add_prompt(&line.prompt)?;
            }
            last = Some(row);
            Ok(line)
        });
        dir.scores().write(lines)?;
        weigher.close()?;
        let latents = match &measured {
            Some(Distances { rank, .. }) => Some(diagnose::Latents { fit: dir.encoder().read()?.fit, rank: *rank }),
            None => None,
        };
        let diagnoses = diagnose::scored(&facts, latents.as_ref(), &self.config.diagnostics);
        diagnose::warn(round, &diagnoses);
        dir.diagnostics().write(&diagnoses)?;
        outputs.extend([dir.scores::<f32>().into_path(), dir.diagnostics().into_path()]);
        Ok(outputs)
    }

    /// How pairs are made: by the config's rule, or as the data has them.
    pub(super) fn pairing(&self) -> Pairing {
        match self.data.has_rejected() {
            true => Pairing { rule: Rule::GoldenOverOwn, ..Pairing::default() },
            false => self.config.pairs,
        }
    }

    /// Writes the pairs of all prompts, and where there were several candidates, what was chosen among them.
    fn choose(&self, round: u64, distances: Option<&Distances>, outputs: &mut Vec<PathBuf>) -> Result<Chosen> {
        let dir = self.dir.round(round);
        let candidates = TokenStore::open(&dir.candidates(), 3)?;
        let of = dir.candidate_rows().read()?;
        let prompts = Prompts::of(&of);
        let samples = if self.data.has_rejected() { 1 } else { self.config.samples() };
        let (pairing, mut row, mut between) = (self.pairing(), 0, 0);
        let mut sampled = match samples {
            1 if !pairing.drop_cut => None,
            _ => Some(Sampled::new(dir.generations().lines()?, samples)),
        };
        let mut made = |prompt: usize| -> Result<(usize, Vec<Candidate>, crate::pairs::Made)> {
            interrupt::check()?;
            let range = prompts.candidates(prompt);
            let n = range.len();
            let data_row = of.get(range.start);
            let mut known = vec![];
            if let Some(sampled) = &mut sampled {
                // Rows that did not fit the length limits have no candidates.
                while row <= data_row {
                    known = sampled.row(row)?;
                    row += 1;
                }
            }
            let candidate = |(k, c): (usize, usize)| {
                let ids = candidates.get(c, 2);
                let (count, cut) = known.get(k).map_or((1, false), |s| (s.count, s.cut || ids.len() < s.ids.len()));
                let distance = distances.map_or(0.0, |d| d.chosen[c]);
                Candidate { count, equal: ids == candidates.get(c, 1), cut, distance }
            };
            let these: Vec<Candidate> = range.clone().enumerate().map(candidate).collect();
            candidates.release();
            let own = distances.map_or(&[][..], |d| &d.between);
            let own = if own.is_empty() { own } else { &own[between..between + n * n] };
            between += n * n;
            let made = pairing.pairs(&these, own);
            Ok((range.start, these, made))
        };
        let mut chosen = Chosen { rows: Selection::default(), distances: vec![] };
        let (mut without, mut ties) = (0usize, 0usize);
        let mut lines = vec![];
        let triples = (0..prompts.len()).flat_map(|prompt| {
            let (first, these, made) = match made(prompt) {
                Ok(made) => made,
                Err(e) => return vec![Err(e)],
            };
            without += usize::from(made.pairs.is_empty());
            ties += usize::from(made.tie);
            let triple = |pair: &Pair| {
                chosen.rows.push(of.get(first));
                chosen.distances.push(pair.distance);
                let ids = |response: Response| match response {
                    Response::Golden => candidates.get(first, 1).to_vec(),
                    Response::Own(k) => candidates.get(first + k, 2).to_vec(),
                };
                Ok([candidates.get(first, 0).to_vec(), ids(pair.chosen), ids(pair.rejected)])
            };
            let triples = made.pairs.iter().map(triple).collect();
            if samples > 1 {
                lines.push(ChoiceLine::new(of.get(first), &these, distances.is_some(), &made));
            }
            triples
        });
        TokenStore::write(&dir.pairs(), triples)?;
        if chosen.distances.is_empty() {
            let message = format!("the rule {} makes no pair of any of {} prompts", pairing.rule.name(), prompts.len());
            return Err(Error::new(Code::RunPairs, message).hint(
                "their samples do not differ, or `pairs` leaves them all out: raise generate.temperature or generate.samples",
            ));
        }
        dir.rows().write(&chosen.rows)?;
        if samples > 1 {
            tracing::info!(
                "round {round}: {} pairs of {} prompts by the rule {}; {without} prompts without a pair, {ties} ties",
                chosen.distances.len(),
                prompts.len(),
                pairing.rule.name(),
            );
            dir.choices().write(lines.iter().map(Ok))?;
            outputs.push(dir.choices().into_path());
        }
        Ok(chosen)
    }

    fn score_line(
        &self,
        pairs: &TokenStore,
        index: usize,
        row: usize,
        distance: Option<f32>,
        weight: f32,
    ) -> Result<ScoreLine> {
        let row = self.data.row(row)?;
        let [chosen, rejected] = [1, 2].map(|column| pairs.get(index, column));
        let line = ScoreLine {
            index,
            line: row.line,
            distance,
            weight,
            chosen_tokens: chosen.len(),
            rejected_tokens: rejected.len(),
            prompt: prompt_text(&row.history),
            chosen: self.codec.decode(chosen)?,
            rejected: self.codec.decode(rejected)?,
        };
        pairs.release();
        Ok(line)
    }
}

/// Pairs by what is known of them beside their tokens.
struct Chosen {
    /// The data row of each.
    rows: Selection,
    /// What the schedule weighs.
    distances: Vec<f32>,
}

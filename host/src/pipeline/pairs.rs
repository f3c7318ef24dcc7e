//! Stage `pairs`: which responses become pairs, by the config's rule, and the weights at the first step.

use super::Run;
use crate::{
    Code, Error, Result,
    data::{Selection, tokens::TokenStore},
    diagnose,
    files::{self, Journal},
    interrupt,
    latents::prompt_text,
    pairs::{Candidate, Pair, Pairing, Response, Rule},
    rundir::{CandidateLine, ChoiceLine, Distances, ScoreLine},
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
            facts.add([&line.chosen, &line.rejected], tokens, line.distance, line.weight);
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
        let diagnoses = diagnose::scored(&facts, latents.as_ref(), chosen.among.as_ref(), &self.config.diagnostics);
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
        let mut prompts = Candidates {
            store: TokenStore::open(&dir.candidates(), 3)?,
            lines: dir.candidate_lines().lines()?,
            distances,
            next: 0,
            next_between: 0,
        };
        let (pairing, several, path) = (self.pairing(), self.samples() > 1, dir.choices().into_path());
        files::remove_file(&path)?;
        let mut journal = if several { Some(Journal::create(&path)?) } else { None };
        let among = several.then(diagnose::Choices::default);
        let mut chosen = Chosen { rows: Selection::default(), distances: vec![], among };
        let (mut all, mut without, mut ties) = (0usize, 0usize, 0usize);
        let triples = std::iter::from_fn(|| {
            let prompt = prompts.next()?;
            let triples = (|| {
                interrupt::check()?;
                let prompt = prompt?;
                let (row, made) = (prompt.row, pairing.pairs(&prompt.candidates, prompt.between));
                all += 1;
                without += usize::from(made.pairs.is_empty());
                ties += usize::from(made.tie);
                if let Some(journal) = &mut journal {
                    journal.push(&ChoiceLine::new(row, &prompt.candidates, distances.is_some(), &made))?;
                }
                if let Some(among) = &mut chosen.among {
                    among.add(&prompt.candidates, &prompt.length_differences(), distances.is_some(), &made);
                }
                for pair in &made.pairs {
                    chosen.rows.push(row);
                    chosen.distances.push(pair.distance);
                }
                Ok(made.pairs.iter().map(|pair| prompt.ids(pair)).collect::<Vec<_>>())
            })();
            Some(match triples {
                Ok(triples) => triples.into_iter().map(Ok).collect(),
                Err(e) => vec![Err(e)],
            })
        });
        TokenStore::write(&dir.pairs(), triples.flatten())?;
        let rule = pairing.rule.name();
        if chosen.distances.is_empty() {
            let message = format!("the rule {rule} makes no pair of any of {all} prompts");
            return Err(Error::new(Code::RunPairs, message).hint(
                "their samples do not differ, or `pairs` leaves them all out: raise generate.temperature or generate.samples",
            ));
        }
        if several || without > 0 {
            let pairs = chosen.distances.len();
            tracing::info!(
                "round {round}: {pairs} pairs of {all} prompts by the rule {rule}; {without} prompts without a pair, {ties} ties"
            );
        }
        dir.rows().write(&chosen.rows)?;
        if let Some(journal) = journal {
            journal.sync()?;
            outputs.push(path);
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
            file: (self.config.data.len() > 1).then_some(row.file),
            line: row.line,
            distance,
            weight,
            chosen_tokens: chosen.len(),
            rejected_tokens: rejected.len(),
            prompt: prompt_text(&row.prompt.messages),
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
    /// What the samples say that they were chosen among, where there were several.
    among: Option<diagnose::Choices>,
}

/// Prompts with their candidates, one after the other.
struct Candidates<'a, L> {
    store: TokenStore,
    lines: L,
    distances: Option<&'a Distances>,
    /// The next prompt's first candidate, and its first distance between candidates.
    next: usize,
    next_between: usize,
}

/// A prompt's candidates.
struct Prompt<'a> {
    /// Its row of the data set.
    row: usize,
    candidates: Vec<Candidate>,
    /// Distances between them, where they were measured.
    between: &'a [f32],
    store: &'a TokenStore,
    /// Where in the store they begin.
    first: usize,
}

impl Prompt<'_> {
    /// Tokens of each candidate less those of the chosen response of the data, without sign.
    fn length_differences(&self) -> Vec<usize> {
        let golden = self.store.get(self.first, 1).len();
        (0..self.candidates.len()).map(|k| self.store.get(self.first + k, 2).len().abs_diff(golden)).collect()
    }

    /// Token ids of prompt, chosen and rejected of a pair of them.
    fn ids(&self, pair: &Pair) -> [Vec<u32>; 3] {
        let response = |response| match response {
            Response::Golden => self.store.get(self.first, 1).to_vec(),
            Response::Own(k) => self.store.get(self.first + k, 2).to_vec(),
        };
        let triple = [self.store.get(self.first, 0).to_vec(), response(pair.chosen), response(pair.rejected)];
        self.store.release();
        triple
    }
}

impl<L: Iterator<Item = Result<CandidateLine>>> Candidates<'_, L> {
    fn next(&mut self) -> Option<Result<Prompt<'_>>> {
        let line = match self.lines.next()? {
            Ok(line) => line,
            Err(e) => return Some(Err(e)),
        };
        let (store, first, n) = (&self.store, self.next, line.counts.len());
        let candidate = |k: usize| Candidate {
            count: line.counts[k],
            equal: store.get(first + k, 2) == store.get(first + k, 1),
            cut: line.cut[k],
            distance: self.distances.map_or(0.0, |d| d.chosen[first + k]),
        };
        let candidates = (0..n).map(candidate).collect();
        let between = self.distances.map_or(&[][..], |d| &d.between);
        let between = if between.is_empty() { between } else { &between[self.next_between..][..n * n] };
        self.next += n;
        self.next_between += n * n;
        Some(Ok(Prompt { row: line.row, candidates, between, store, first }))
    }
}

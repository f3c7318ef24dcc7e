//! Stage `score`: latents of chosen responses and candidates, and the distances between them that weights or the pairs'
//! rule depend on.

use super::Run;
use crate::{
    Code, Error, Result,
    data::tokens::TokenStore,
    diagnose, files,
    latents::{self, Encoding, FirstOf, Latents, Measure, Pairs, Part, Prompts, Stored},
    pairs::Asked,
    rundir::{Distances, FittedEncoder, RoundLayout},
    stats::bootstrap::below,
};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use std::path::{Path, PathBuf};

impl Run {
    pub(super) fn score(&mut self, round: u64) -> Result<Vec<PathBuf>> {
        if !self.measures() {
            return Ok(vec![]);
        }
        let dir = self.dir.round(round);
        let policy = self.policy(round)?;
        let candidates = TokenStore::open(&dir.candidates(), 3)?;
        let (rows, prompts) =
            Prompts::read(dir.candidate_lines().lines()?.map(|line| line.map(|line| (line.row, line.counts.len()))))?;
        let corpus = Stored { data: &self.data, codec: &self.codec, pairs: &candidates, rows: &rows };
        let learned = self.learned(round, RoundLayout::encoder_state)?;
        let services = self.services(Some(policy), &self.encoder);
        // Plugins learn from one pair a prompt, however many samples it has.
        let first = FirstOf { corpus: &corpus, prompts: &prompts };
        let encoding = Encoding::fit(&self.encoder, services, learned.as_deref(), &first)?;
        let shape = encoding.shape();
        let about = FittedEncoder {
            id: self.encoder.record().id.clone(),
            shape: [shape.slots, shape.dim],
            fit: encoding.fit.clone(),
        };
        dir.encoder().write(&about)?;
        let [chosen, own] = latents::OF_ROUND;
        let title = |side| format!("round {round} encode {side}");
        let parts = [
            Part::new(chosen, title("chosen"), (0..prompts.len()).map(|p| 2 * prompts.first(p))),
            Part::new(own, title("candidates"), latents::responses(candidates.len())),
        ];
        let [chosen, own] = encoding.encode(&corpus, parts, &dir.latents(), &[], damaged)?;
        files::write(&dir.encoder_state(), &encoding.save()?)?;
        encoding.close()?;
        let seen = |set: &Latents| set.read(&diagnose::evenly_spaced(set.len()));
        let rank = diagnose::effective_rank([seen(&chosen)?, seen(&own)?].concat(), shape.len())?;

        let learned = self.learned(round, RoundLayout::distance_state)?;
        let services = self.services(None, &self.distance);
        let first = Pairs::new([&chosen, &own], prompts.len(), |p| [p, prompts.first(p)]);
        let measure = Measure::fit(&self.distance, services, learned.as_deref(), &first)?;
        let beside = Pairs::new([&chosen, &own], candidates.len(), |c| [prompts.of_candidate(c), c]);
        let mut distances = measure.distances(&beside)?;
        if self.config.permute_distances {
            let differ = |c: &usize| candidates.get(*c, 1) != candidates.get(*c, 2);
            let differ = (0..candidates.len()).filter(differ).collect::<Vec<_>>();
            permute(&mut distances, &differ, self.config.seed, round);
        }
        let between = match self.pairing().rule.asks() {
            Asked::BetweenOwn => between(&measure, &own, &prompts)?,
            Asked::FromGolden | Asked::Nothing => vec![],
        };
        files::write(&dir.distance_state(), &measure.save()?)?;
        measure.close()?;
        Distances { chosen: distances, between, rank }.write(&dir.distances())?;
        Ok(vec![dir.encoder().into_path(), dir.latents(), dir.encoder_state(), dir.distance_state(), dir.distances()])
    }

    /// What a plugin learned in the round before.
    fn learned(&self, round: u64, state: fn(&RoundLayout) -> PathBuf) -> Result<Option<Vec<u8>>> {
        let path = state(&self.dir.round(round - 1));
        if round == 1 || !path.exists() {
            return Ok(None);
        }
        files::read(&path).map(Some)
    }
}

/// Distances between all samples of each prompt, prompt after prompt: of sample k from sample j at [j * n + k].
fn between(measure: &Measure, own: &Latents, prompts: &Prompts) -> Result<Vec<f32>> {
    let mut all = Vec::new();
    for prompt in 0..prompts.len() {
        let candidates = prompts.candidates(prompt);
        let n = candidates.len();
        let pairs = Pairs::new([own, own], n * n, |i| [candidates.start + i / n, candidates.start + i % n]);
        all.extend(measure.distances(&pairs)?);
    }
    Ok(all)
}

/// Latents that are not what was written a moment ago.
fn damaged(path: &Path, what: String) -> Error {
    Error::new(Code::RunLatents, format!("{}: {what}", path.display()))
        .hint("the disk or its controller loses data: write elsewhere")
}

/// Randomly permutes the values at `places`. (Fisher and Yates 1938)
fn permute(values: &mut [f32], places: &[usize], seed: u64, round: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(round);
    for last in (1..places.len()).rev() {
        values.swap(places[last], places[below(last + 1, &mut rng)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_moves_the_values_of_its_places_alone_by_seed_and_round() {
        let start: Vec<f32> = (0..100).map(|i| i as f32).collect();
        let places: Vec<usize> = (0..100).filter(|i| i % 3 > 0).collect();
        let permuted = |seed, round| {
            let mut values = start.clone();
            permute(&mut values, &places, seed, round);
            values
        };
        let values = permuted(1, 1);
        assert!((0..100).step_by(3).all(|i| values[i] == i as f32));
        let mut sorted = values.clone();
        sorted.sort_by(f32::total_cmp);
        assert_eq!(sorted, start);
        assert_eq!(values, permuted(1, 1));
        assert!(values != permuted(2, 1) && values != permuted(1, 2));
        // A shuffle leaves one value in its place on average.
        assert!(places.iter().filter(|i| values[**i] == **i as f32).count() < 6);
    }
}

//! Stage `score`: latents of golden and losing responses, their distances, and the weights at the first step.

use super::Run;
use crate::{
    Result,
    data::{Dataset, tokens::TokenStore},
    diagnose, files,
    latents::{SharedPolicy, encode, write_latents},
    plugin::{CorpusSource, OwnedSample},
    rundir::{FittedEncoder, RoundLayout, ScoreLine},
    stats::bootstrap::below,
    text::TextCodec,
    train,
};
use ldalign_sdk::StepContext;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use std::path::PathBuf;

impl Run {
    pub(super) fn score(&mut self, round: u64) -> Result<Vec<PathBuf>> {
        let dir = self.dir.round(round);
        let pairs = TokenStore::open(&dir.pairs(), 3)?;
        let rows: Vec<usize> = dir.rows().read()?;
        let mut outputs = Vec::new();
        let measured = self.measures();
        let mut latents = None;
        let distances = if measured {
            let policy = self.policy(round)?;
            let (distances, about) = self.distances(round, policy, &pairs, &rows, &mut outputs)?;
            latents = Some(about);
            distances
        } else if self.data.has_weights() {
            rows.iter().map(|&r| Ok(self.data.row(r)?.weight.unwrap_or(1.0))).collect::<Result<_>>()?
        } else {
            vec![0.0; rows.len()]
        };
        let weigher = self.weigher(&distances)?;
        let total_steps = train::total_steps(pairs.len(), &self.config.train)?;
        let start = StepContext { round: round - 1, rounds: self.config.rounds, step: 0, total_steps };
        let weights = weigher.weights(start, &distances)?;
        let corpus = Samples { data: &self.data, codec: &self.codec, pairs: &pairs, rows: &rows };
        let mut facts = diagnose::Pairs::default();
        let lines = (0..pairs.len()).map(|index| {
            let line = corpus.score_line(index, measured.then_some(distances[index]), weights[index])?;
            let tokens = [line.chosen_tokens, line.rejected_tokens];
            facts.add(&line.prompt, line.chosen == line.rejected, line.distance, line.weight, tokens);
            Ok(line)
        });
        dir.scores().write(lines)?;
        weigher.close()?;
        let diagnoses = diagnose::scored(&facts, latents.as_ref(), &self.config.diagnostics);
        diagnose::warn(round, &diagnoses);
        dir.diagnostics().write(&diagnoses)?;
        outputs.extend([dir.scores::<f32>().into_path(), dir.diagnostics().into_path()]);
        Ok(outputs)
    }

    /// Fits the encoder, encodes all pairs, fits the distance, and measures.
    fn distances(
        &mut self,
        round: u64,
        policy: SharedPolicy,
        pairs: &TokenStore,
        rows: &[usize],
        outputs: &mut Vec<PathBuf>,
    ) -> Result<(Vec<f32>, diagnose::Latents)> {
        let dir = self.dir.round(round);
        let mut encoder = self.encoder.encoder(self.services(Some(policy), &self.encoder))?;
        self.restore(round, RoundLayout::encoder_state, |state| encoder.load(state))?;
        let corpus = Samples { data: &self.data, codec: &self.codec, pairs, rows };
        let fit = encoder.fit(&corpus)?;
        let shape = encoder.shape();
        let about = FittedEncoder {
            id: self.encoder.record().id.clone(),
            shape: [shape.slots, shape.dim],
            fit: fit.into_iter().collect(),
        };
        dir.encoder().write(&about)?;
        let side = |side| (0..pairs.len()).map(|pair| 2 * pair + side).collect::<Vec<_>>();
        let golden = encode(&encoder, &corpus, &side(0), &format!("round {round} encode golden"))?;
        let losing = encode(&encoder, &corpus, &side(1), &format!("round {round} encode losing"))?;
        let rank = diagnose::effective_rank(&[&golden, &losing], shape.len())?;
        let latents = dir.latents();
        write_latents(&latents, [("golden", &golden), ("losing", &losing)], shape, None)?;
        let state = dir.encoder_state();
        files::write(&state, &encoder.save()?)?;
        encoder.close()?;

        let mut distance = self.distance.distance(self.services(None, &self.distance))?;
        self.restore(round, RoundLayout::distance_state, |state| distance.load(state))?;
        distance.fit(&golden, &losing, shape)?;
        let mut distances = distance.distances(&golden, &losing, shape)?;
        if self.config.permute_distances {
            let differ = (0..pairs.len()).filter(|&i| pairs.get(i, 1) != pairs.get(i, 2)).collect::<Vec<_>>();
            permute(&mut distances, &differ, self.config.seed, round);
        }
        let metric_state = dir.distance_state();
        files::write(&metric_state, &distance.save()?)?;
        distance.close()?;
        outputs.extend([dir.encoder().into_path(), latents, state, metric_state]);
        Ok((distances, diagnose::Latents { fit: about.fit, rank }))
    }

    /// Warm start: what a plugin learned in the round before.
    fn restore(
        &self,
        round: u64,
        state: fn(&RoundLayout) -> PathBuf,
        load: impl FnOnce(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let path = state(&self.dir.round(round - 1));
        if round == 1 || !path.exists() {
            return Ok(());
        }
        load(&files::read(&path)?)
    }
}

/// Deals the values at `places` out among them. (Fisher and Yates 1938)
fn permute(values: &mut [f32], places: &[usize], seed: u64, round: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(round);
    for last in (1..places.len()).rev() {
        values.swap(places[last], places[below(last + 1, &mut rng)]);
    }
}

/// The round's samples, read on demand: 2i the golden, 2i + 1 the losing response of pair i.
struct Samples<'a> {
    data: &'a Dataset,
    codec: &'a TextCodec,
    pairs: &'a TokenStore,
    rows: &'a [usize],
}

impl Samples<'_> {
    fn sample(&self, index: usize) -> Result<OwnedSample> {
        let (pair, side) = (index / 2, index % 2);
        let history = self.data.row(self.rows[pair])?.history;
        let response_ids = self.pairs.get(pair, 1 + side).to_vec();
        Ok(OwnedSample {
            prompt: history.iter().map(|m| m.content.as_str()).collect::<Vec<_>>().join("\n\n"),
            response: self.codec.decode(&response_ids)?,
            prompt_ids: self.pairs.get(pair, 0).to_vec(),
            response_ids,
        })
    }

    fn score_line(&self, index: usize, distance: Option<f32>, weight: f32) -> Result<ScoreLine> {
        let (golden, losing) = (self.sample(2 * index)?, self.sample(2 * index + 1)?);
        Ok(ScoreLine {
            index,
            line: self.data.row(self.rows[index])?.line,
            distance,
            weight,
            chosen_tokens: golden.response_ids.len(),
            rejected_tokens: losing.response_ids.len(),
            prompt: golden.prompt,
            chosen: golden.response,
            rejected: losing.response,
        })
    }
}

impl CorpusSource for Samples<'_> {
    fn len(&self) -> usize {
        2 * self.pairs.len()
    }

    fn read(&self, indices: &[usize]) -> Result<Vec<OwnedSample>> {
        indices.iter().map(|&i| self.sample(i)).collect()
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

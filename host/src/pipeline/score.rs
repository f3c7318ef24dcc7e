//! Stage `score`: latents of chosen and rejected responses, their distances, and the weights at the first step.

use super::Run;
use crate::{
    Code, Error, Result,
    data::{Selection, tokens::TokenStore},
    diagnose, files,
    latents::{self, Encoding, Latents, Measure, Pairs, Part, SharedPolicy, Stored, prompt_text},
    rundir::{FittedEncoder, RoundLayout, ScoreLine},
    stats::bootstrap::below,
    train,
};
use ldalign_sdk::StepContext;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use std::path::{Path, PathBuf};

impl Run {
    pub(super) fn score(&mut self, round: u64) -> Result<Vec<PathBuf>> {
        let dir = self.dir.round(round);
        let pairs = TokenStore::open(&dir.pairs(), 3)?;
        let rows = dir.rows().read()?;
        let mut outputs = Vec::new();
        let measured = self.measures();
        let mut latents = None;
        let distances = if measured {
            let policy = self.policy(round)?;
            let (distances, about) = self.distances(round, policy, &pairs, &rows, &mut outputs)?;
            latents = Some(about);
            distances
        } else if self.data.has_weights() {
            rows.iter().map(|row| Ok(self.data.row(row)?.weight.unwrap_or(1.0))).collect::<Result<_>>()?
        } else {
            vec![0.0; rows.len()]
        };
        let weigher = self.weigher(&distances)?;
        let total_steps = train::total_steps(pairs.len(), &self.config.train)?;
        let start = StepContext { round: round - 1, rounds: self.config.rounds, step: 0, total_steps };
        let weights = weigher.weights(start, &distances)?;
        let mut facts = diagnose::Pairs::new(dir.path(), pairs.len())?;
        let corpus = Stored { data: &self.data, codec: &self.codec, pairs: &pairs, rows: &rows };
        let lines = (0..pairs.len()).map(|index| {
            let line = score_line(&corpus, index, measured.then_some(distances[index]), weights[index])?;
            let tokens = [line.chosen_tokens, line.rejected_tokens];
            facts.add(&line.prompt, line.chosen == line.rejected, line.distance, line.weight, tokens)?;
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

    /// The distance of each pair, and what there is to say of the latents.
    fn distances(
        &mut self,
        round: u64,
        policy: SharedPolicy,
        pairs: &TokenStore,
        rows: &Selection,
        outputs: &mut Vec<PathBuf>,
    ) -> Result<(Vec<f32>, diagnose::Latents)> {
        let dir = self.dir.round(round);
        let corpus = Stored { data: &self.data, codec: &self.codec, pairs, rows };
        let learned = self.learned(round, RoundLayout::encoder_state)?;
        let services = self.services(Some(policy), &self.encoder);
        let encoding = Encoding::fit(&self.encoder, services, learned.as_deref(), &corpus)?;
        let shape = encoding.shape();
        let about = FittedEncoder {
            id: self.encoder.record().id.clone(),
            shape: [shape.slots, shape.dim],
            fit: encoding.fit.clone(),
        };
        dir.encoder().write(&about)?;
        let [chosen, rejected] = latents::OF_ROUND;
        let title = |side| format!("round {round} encode {side}");
        let parts = [
            Part::new(chosen, title("chosen"), latents::chosen(pairs.len())),
            Part::new(rejected, title("rejected"), latents::responses(pairs.len())),
        ];
        let [chosen, rejected] = encoding.encode(&corpus, parts, &dir.latents(), &[], damaged)?;
        files::write(&dir.encoder_state(), &encoding.save()?)?;
        encoding.close()?;
        let seen = |set: &Latents| set.read(&diagnose::evenly_spaced(set.len()));
        let rank = diagnose::effective_rank([seen(&chosen)?, seen(&rejected)?].concat(), shape.len())?;

        let both = Pairs::side_by_side(&chosen, &rejected);
        let learned = self.learned(round, RoundLayout::distance_state)?;
        let services = self.services(None, &self.distance);
        let measure = Measure::fit(&self.distance, services, learned.as_deref(), &both)?;
        let mut distances = measure.distances(&both)?;
        if self.config.permute_distances {
            let differ = (0..pairs.len()).filter(|&i| pairs.get(i, 1) != pairs.get(i, 2)).collect::<Vec<_>>();
            permute(&mut distances, &differ, self.config.seed, round);
        }
        files::write(&dir.distance_state(), &measure.save()?)?;
        measure.close()?;
        outputs.extend([dir.encoder().into_path(), dir.latents(), dir.encoder_state(), dir.distance_state()]);
        Ok((distances, diagnose::Latents { fit: about.fit, rank }))
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

fn score_line(corpus: &Stored<'_>, index: usize, distance: Option<f32>, weight: f32) -> Result<ScoreLine> {
    let row = corpus.data.row(corpus.rows.get(index))?;
    let [chosen, rejected] = [1, 2].map(|column| corpus.pairs.get(index, column));
    let line = ScoreLine {
        index,
        line: row.line,
        distance,
        weight,
        chosen_tokens: chosen.len(),
        rejected_tokens: rejected.len(),
        prompt: prompt_text(&row.history),
        chosen: corpus.codec.decode(chosen)?,
        rejected: corpus.codec.decode(rejected)?,
    };
    corpus.pairs.release();
    Ok(line)
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

//! The host, and the corpus, that plugins meet in the checks.

use crate::inputs::Rng;
use ldalign_sdk::{Error, Level, ModelFacts, OwnedSample, Pooling, Sample, Services};

/// Rows of the stand-in model's embedding.
const VOCABULARY: u32 = 97;
/// Width of its states.
const WIDTH: usize = 16;

/// A host with a model whose states are a fixed function of token, position, layer and number, pooled as the real ones
/// are; its likelihoods are those of a bag of words: each token of a response is drawn by how well its state suits the
/// mean of the prefix.
#[derive(Debug, Clone, Copy)]
pub struct StandIn {
    /// Whether there is a model.
    pub model: bool,
    /// Whether services fail that can.
    pub fails: bool,
    /// Threads it allows.
    pub threads: usize,
    /// Seed it gives.
    pub seed: u64,
}

impl Services for StandIn {
    /// Nobody reads it.
    fn log(&self, _level: Level, _message: &str) {}
    fn seed(&self) -> u64 {
        self.seed
    }
    fn threads(&self) -> usize {
        self.threads
    }
    fn model(&self) -> Option<ModelFacts> {
        self.model.then(|| ModelFacts {
            vocab_size: VOCABULARY as usize,
            hidden_size: WIDTH,
            num_layers: 4,
            max_positions: 512,
            end_ids: vec![0],
        })
    }
    fn hidden_states(
        &self,
        samples: &[Sample<'_>],
        layer: usize,
        pooling: Pooling,
        out: &mut [f32],
    ) -> Result<(), Error> {
        self.works()?;
        if layer > 4 || out.len() != samples.len() * WIDTH {
            return Err(Error::input(format!("no layer {layer}, or no room for {} samples", samples.len())));
        }
        for (out, sample) in out.chunks_exact_mut(WIDTH).zip(samples) {
            let ids: Vec<u32> = sample.prompt_ids.iter().chain(sample.response_ids).copied().collect();
            let from = match pooling {
                Pooling::Mean => sample.prompt_ids.len(),
                Pooling::Last => ids.len().saturating_sub(1).max(sample.prompt_ids.len()),
                Pooling::MeanAll => 0,
            };
            if from >= ids.len() {
                return Err(Error::input("a sample has no token to pool"));
            }
            for (i, out) in out.iter_mut().enumerate() {
                let state = |place: usize| state(ids[place], place, layer, i);
                *out = (from..ids.len()).map(state).sum::<f32>() / (ids.len() - from) as f32;
            }
        }
        Ok(())
    }
    fn token_states(&self, samples: &[Sample<'_>], layer: usize, out: &mut [f32]) -> Result<(), Error> {
        self.works()?;
        let ids = |s: &Sample<'_>| [s.prompt_ids, s.response_ids].concat();
        let all: Vec<Vec<u32>> = samples.iter().map(ids).collect();
        if layer > 4 || out.len() != all.concat().len() * WIDTH || all.iter().any(Vec::is_empty) {
            return Err(Error::input(format!("no layer {layer}, a sample without token, or no room for the states")));
        }
        let places = all.iter().flat_map(|ids| ids.iter().enumerate());
        for (out, (place, id)) in out.chunks_exact_mut(WIDTH).zip(places) {
            out.iter_mut().enumerate().for_each(|(i, out)| *out = state(*id, place, layer, i));
        }
        Ok(())
    }
    fn prefix_nll(
        &self,
        samples: &[Sample<'_>],
        prefixes: &[f32],
        nll: &mut [f32],
        gradients: &mut [f32],
    ) -> Result<(), Error> {
        self.works()?;
        let rows = prefixes.len() / samples.len().max(1) / WIDTH;
        let fits = prefixes.len() == samples.len() * rows * WIDTH && nll.len() == samples.len();
        if !fits || !(gradients.is_empty() || gradients.len() == prefixes.len()) {
            return Err(Error::input("no room for the likelihoods, or for the gradients, or no prefix a sample"));
        }
        for (i, (sample, nll)) in samples.iter().zip(nll).enumerate() {
            if sample.response_ids.is_empty() || sample.prompt_ids.len() + rows == 0 {
                return Err(Error::input("a response without token, or with nothing before it"));
            }
            let here = i * rows * WIDTH..(i + 1) * rows * WIDTH;
            let slope;
            (*nll, slope) = bag_of_words(sample.response_ids, &prefixes[here.clone()]);
            if !gradients.is_empty() {
                let each = gradients[here].chunks_exact_mut(WIDTH);
                each.for_each(|out| out.iter_mut().zip(&slope).for_each(|(out, s)| *out = s / rows as f32));
            }
        }
        Ok(())
    }
}

impl StandIn {
    fn works(&self) -> Result<(), Error> {
        match (self.model, self.fails) {
            (false, _) => Err(Error::unsupported("the host has no model loaded")),
            (true, true) => Err(Error::failed("the model is out of order")),
            (true, false) => Ok(()),
        }
    }
}

/// The negative log-likelihood of a response, and its gradient with respect to the mean of the prefix.
fn bag_of_words(response: &[u32], prefix: &[f32]) -> (f32, [f32; WIDTH]) {
    let rows = (prefix.len() / WIDTH).max(1) as f32;
    let mean: [f32; WIDTH] = std::array::from_fn(|j| prefix.iter().skip(j).step_by(WIDTH).sum::<f32>() / rows);
    let word = |id: u32, j: usize| state(id, 0, 0, j);
    let score = |id: u32| (0..WIDTH).map(|j| word(id, j) * mean[j]).sum::<f32>();
    let scores: Vec<f32> = (0..VOCABULARY).map(score).collect();
    let most = scores.iter().copied().fold(f32::MIN, f32::max);
    let total = scores.iter().map(|s| (s - most).exp()).sum::<f32>();
    let length = response.len() as f32;
    let nll = length * (most + total.ln()) - response.iter().map(|id| score(*id)).sum::<f32>();
    let expected =
        |j: usize| (0..VOCABULARY).map(|id| (scores[id as usize] - most).exp() / total * word(id, j)).sum::<f32>();
    let slope = |j: usize| length * expected(j) - response.iter().map(|id| word(*id, j)).sum::<f32>();
    (nll, std::array::from_fn(slope))
}

fn state(id: u32, place: usize, layer: usize, number: usize) -> f32 {
    ((id as f32 + 1.0) * (number as f32 * 0.7 + 1.0) + place as f32 * 0.1 + layer as f32).sin()
}

/// Samples as a small run has them: words made of letters, one token id a letter.
pub fn samples(n: usize, seed: u64) -> Vec<OwnedSample> {
    let mut rng = Rng::new(seed, "samples");
    let mut text = |least: usize, most: usize| {
        let letters = least + rng.below(most - least);
        let text: String = (0..letters).map(|_| *b"aeinorstl .".get(rng.below(11)).unwrap_or(&b' ') as char).collect();
        let ids = text.bytes().map(|b| 1 + u32::from(b) % (VOCABULARY - 1)).collect::<Vec<u32>>();
        (text, ids)
    };
    let sample = |_| {
        let ((prompt, prompt_ids), (response, mut response_ids)) = (text(4, 40), text(4, 60));
        response_ids.push(0);
        OwnedSample { prompt, response, prompt_ids, response_ids }
    };
    (0..n).map(sample).collect()
}

/// Samples of the kinds that surprise.
pub fn odd_samples() -> Vec<(&'static str, OwnedSample)> {
    let sample = |prompt: &str, response: &str, prompt_ids: &[u32], response_ids: &[u32]| OwnedSample {
        prompt: prompt.into(),
        response: response.into(),
        prompt_ids: prompt_ids.into(),
        response_ids: response_ids.into(),
    };
    vec![
        ("an empty response that has its end token", sample("a question", "", &[5, 6], &[0])),
        ("no token at all", sample("", "", &[], &[])),
        ("an empty prompt", sample("", "an answer", &[], &[7, 8, 0])),
        ("several scripts and control characters", sample("\u{0}\t\r\n", "日本 \u{202e}עב 🙂\u{301}", &[1], &[2, 3])),
        ("a long response", sample("long", &"word ".repeat(2000), &[3; 8], &[4; 500])),
        ("the largest token id", sample("x", "y", &[VOCABULARY - 1], &[VOCABULARY - 1])),
    ]
}

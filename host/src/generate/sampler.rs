//! Choosing the next token: temperature, then top-k, then top-p, as `transformers` orders and defines them.

use crate::{Code, Error, Result, config::GenerateConfig, ops};
use rand_chacha::{
    ChaCha12Rng,
    rand_core::{Rng, SeedableRng},
};

/// The source of one response's tokens.
pub struct Sampler {
    temperature: f64,
    top_k: usize,
    top_p: f64,
    rng: ChaCha12Rng,
}

impl Sampler {
    /// A sampler whose draws are a pure function of `seed`, `key`, `sample` and the number of the token. Samples of a
    /// key draw from streams of one generator that do not meet (ChaCha's).
    pub fn new(config: &GenerateConfig, seed: u64, key: u64, sample: u32) -> Self {
        let mut rng_seed = *b"................ldalign:generate";
        rng_seed[..8].copy_from_slice(&seed.to_le_bytes());
        rng_seed[8..16].copy_from_slice(&key.to_le_bytes());
        let mut rng = ChaCha12Rng::from_seed(rng_seed);
        rng.set_stream(sample.into());
        Self { temperature: config.temperature.into(), top_k: config.top_k, top_p: config.top_p.into(), rng }
    }

    /// Chooses a token given the logits of the whole vocabulary; at temperature 0 the first of the likeliest.
    ///
    /// Fails on logits that are NaN or positive infinity. Each call advances the randomness by one draw.
    pub fn next(&mut self, logits: &[f32]) -> Result<u32> {
        let best = likeliest(logits)?;
        // One draw of 53 bits, in [0, 1), greedy or not.
        let uniform = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        if self.temperature == 0.0 {
            return Ok(best as u32);
        }
        let weights = self.weights(logits, logits[best]);
        Ok(pick(&weights, uniform) as u32)
    }

    /// Unnormalised probability of each token, 0 for those left out.
    fn weights(&self, logits: &[f32], max: f32) -> Vec<f32> {
        let mut weights = ops::exp(logits, self.temperature.recip() as f32, max);
        if (1..logits.len()).contains(&self.top_k) {
            let mut sorted = logits.to_vec();
            let (_, kth, _) = sorted.select_nth_unstable_by(self.top_k - 1, |a, b| b.total_cmp(a));
            // Equals of the k-th stay.
            for (w, _) in weights.iter_mut().zip(logits).filter(|(_, logit)| **logit < *kth) {
                *w = 0.0;
            }
        }
        if self.top_p < 1.0 {
            self.keep_nucleus(&mut weights);
        }
        weights
    }

    /// Leaves the fewest likeliest tokens whose probabilities reach `top_p` together; among equals the first.
    fn keep_nucleus(&self, weights: &mut [f32]) {
        let total = sum(weights);
        // Tokens below this are together less than 1 - top_p, so none of them is kept: no need to sort them.
        let floor = (1.0 - self.top_p) * total / weights.len() as f64;
        let candidates = weights.iter().copied().enumerate().filter(|c| f64::from(c.1) > floor);
        let mut candidates: Vec<(usize, f32)> = candidates.collect();
        candidates.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        weights.fill(0.0);
        let mut sum = 0.0;
        for (id, weight) in candidates {
            weights[id] = weight;
            sum += f64::from(weight);
            if sum >= self.top_p * total {
                break;
            }
        }
    }
}

/// Index of the largest logit, the first among equals.
fn likeliest(logits: &[f32]) -> Result<usize> {
    let max = ops::max(logits);
    if max == f32::INFINITY || logits.iter().any(|logit| logit.is_nan()) {
        let wrong = |logit: &f32| logit.is_nan() || *logit == f32::INFINITY;
        let (id, logit) = logits.iter().enumerate().find(|(_, logit)| wrong(logit)).expect("one is wrong");
        let message = format!("the model's logit of token {id} is {logit}");
        return Err(Error::new(Code::GenerateLogits, message).hint("the model's weights are damaged or diverged"));
    }
    match logits.iter().position(|logit| *logit == max) {
        Some(best) if max > f32::NEG_INFINITY => Ok(best),
        _ => Err(Error::new(Code::GenerateLogits, "the model gives no token a probability")),
    }
}

/// Weights that are summed up at once in [`pick`].
const BLOCK: usize = 1024;

/// The token in whose share of the total `uniform` (in [0, 1)) falls.
fn pick(weights: &[f32], uniform: f64) -> usize {
    let sums: Vec<f64> = weights.chunks(BLOCK).map(sum).collect();
    let mut left = uniform * sums.iter().sum::<f64>();
    for (block, sum) in sums.iter().enumerate() {
        if left >= *sum {
            left -= sum;
            continue;
        }
        let first = block * BLOCK;
        for (id, weight) in weights.iter().enumerate().skip(first).take(BLOCK).filter(|(_, w)| **w > 0.0) {
            left -= f64::from(*weight);
            if left < 0.0 {
                return id;
            }
        }
    }
    // Only rounding leads here.
    weights.iter().rposition(|w| *w > 0.0).unwrap_or(0)
}

/// In sixteen interleaved sums, so that additions overlap.
fn sum(weights: &[f32]) -> f64 {
    let mut sums = [0.0; 16];
    let (chunks, rest) = weights.as_chunks::<16>();
    for chunk in chunks {
        for (sum, w) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(*w);
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|w| f64::from(*w)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn sampler(temperature: f32, top_k: usize, top_p: f32) -> Sampler {
        Sampler::new(&GenerateConfig { temperature, top_k, top_p, ..Default::default() }, 7, 11, 0)
    }

    fn logits(n: usize, seed: u64) -> Vec<f32> {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        (0..n).map(|_| (rng.next_u32() % 1000) as f32 / 125.0).collect()
    }

    /// The set that is kept, done the plain way: sort everything, walk down.
    fn reference(logits: &[f32], temperature: f32, top_k: usize, top_p: f32) -> Vec<usize> {
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
        if top_k > 0 && top_k < order.len() {
            let kth = logits[order[top_k - 1]];
            order.retain(|id| logits[*id] >= kth);
        }
        let p: Vec<f64> = order.iter().map(|id| f64::from(logits[*id] / temperature).exp()).collect();
        let total: f64 = p.iter().sum();
        let (mut kept, mut sum) = (vec![], 0.0);
        for (id, p) in order.into_iter().zip(p) {
            kept.push(id);
            sum += p / total;
            if top_p < 1.0 && sum >= f64::from(top_p) {
                break;
            }
        }
        kept.sort_unstable();
        kept
    }

    #[test]
    fn kept_sets_equal_the_plain_definition() {
        for seed in 0..200 {
            let l = logits(2 + seed as usize % 97, seed);
            for (t, k, p) in
                [(1.0, 0, 0.9), (0.7, 5, 1.0), (1.3, 20, 0.5), (0.3, 1, 0.99), (2.0, 0, 0.01), (1.0, 500, 1.0)]
            {
                let s = sampler(t, k, p);
                let w = s.weights(&l, l[likeliest(&l).unwrap()]);
                let kept: Vec<usize> = (0..l.len()).filter(|i| w[*i] > 0.0).collect();
                assert_eq!(kept, reference(&l, t, k, p), "seed {seed}, temperature {t}, top_k {k}, top_p {p}");
            }
        }
    }

    #[test]
    fn draws_follow_the_distribution() {
        let l = [1.0f32, 0.0, 2.0, -1.0, 0.5, f32::NEG_INFINITY];
        for t in [0.5f32, 1.0, 2.0] {
            let mut s = sampler(t, 0, 1.0);
            let n = 40_000;
            let mut counts = [0f64; 6];
            for _ in 0..n {
                counts[s.next(&l).unwrap() as usize] += 1.0;
            }
            let p: Vec<f64> = l.iter().map(|x| f64::from(x / t).exp()).collect();
            let total: f64 = p.iter().sum();
            let chi: f64 = (0..5).map(|i| (n as f64 * p[i] / total, counts[i])).map(|(e, o)| (o - e).powi(2) / e).sum();
            // 4 degrees of freedom: 23.5 is the 0.9999 quantile.
            assert!(chi < 23.5, "temperature {t}: chi-square {chi}, counts {counts:?}");
            assert_eq!(counts[5], 0.0);
        }
    }

    #[test]
    fn temperature_zero_takes_the_first_of_the_likeliest() {
        assert_eq!(sampler(0.0, 0, 1.0).next(&[0.0, 3.0, 3.0, 1.0]).unwrap(), 1);
    }

    #[test]
    fn draws_depend_on_seed_key_and_sample() {
        let config = GenerateConfig::default();
        let l = vec![0.0; 1000];
        let draw = |seed, key, sample| {
            let mut s = Sampler::new(&config, seed, key, sample);
            [s.next(&l).unwrap(), s.next(&l).unwrap(), s.next(&l).unwrap()]
        };
        assert_eq!(draw(1, 2, 0), draw(1, 2, 0));
        let others = [draw(2, 1, 0), draw(1, 3, 0), draw(1, 2, 1), draw(1, 2, 2)];
        assert!(others.iter().all(|other| *other != draw(1, 2, 0)));
        assert_ne!(others[2], others[3]);
    }

    #[test]
    fn logits_that_are_no_numbers_are_refused() {
        for bad in [vec![0.0, f32::NAN], vec![f32::INFINITY, 0.0], vec![f32::NEG_INFINITY; 2], vec![]] {
            assert_eq!(sampler(1.0, 0, 1.0).next(&bad).unwrap_err().code(), Code::GenerateLogits);
        }
    }
}

//! Which tokens go through which experts, and with what weights; the router's softmax, forward and backward.

use crate::{Result, model::config::Experts};
use candle_core::{Device, Tensor};

/// What an expert has of a pass.
pub struct Share {
    /// Its number.
    pub expert: usize,
    /// Its tokens, rising.
    pub tokens: Vec<u32>,
    weights: Vec<f32>,
}

impl Share {
    /// Its rows of x.
    pub fn gather(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.index_select(&Tensor::new(self.tokens.as_slice(), x.device())?, 0)?)
    }
    /// Of each token, [tokens, 1].
    pub fn weights(&self, device: &Device) -> Result<Tensor> {
        Ok(Tensor::from_slice(&self.weights, (self.tokens.len(), 1), device)?)
    }
}

/// The shares of all experts that have tokens, by rising number.
pub struct Routing {
    /// The shares.
    pub shares: Vec<Share>,
    /// Softmax of the router's logits, [tokens, experts].
    probabilities: Vec<f32>,
    /// What each token's weights were divided by.
    sums: Vec<f32>,
}

impl Routing {
    /// From the router's logits [tokens, experts]. Of equal probabilities, the expert with the lower number goes first.
    pub fn new(logits: &[f32], shape: Experts) -> Self {
        let (mut probabilities, mut sums) = (logits.to_vec(), vec![]);
        let mut shares: Vec<Share> =
            (0..shape.count).map(|expert| Share { expert, tokens: vec![], weights: vec![] }).collect();
        for (token, p) in probabilities.chunks_exact_mut(shape.count).enumerate() {
            softmax(p);
            let mut order: Vec<usize> = (0..p.len()).collect();
            order.sort_by(|a, b| p[*b].total_cmp(&p[*a]));
            order.truncate(shape.used);
            let sum = if shape.normalised { order.iter().map(|i| p[*i]).sum() } else { 1.0 };
            for expert in order {
                shares[expert].tokens.push(token as u32);
                shares[expert].weights.push(p[expert] / sum);
            }
            sums.push(sum);
        }
        shares.retain(|share| !share.tokens.is_empty());
        Self { shares, probabilities, sums }
    }

    /// Experts that no token goes through.
    pub fn unused(&self, shape: Experts) -> impl Iterator<Item = usize> {
        (0..shape.count).filter(|expert| self.shares.iter().all(|share| share.expert != *expert))
    }

    /// The gradient with respect to the logits, [tokens, experts], from those with respect to each share's weights.
    ///
    /// A weight is w = p / s with s the sum of the chosen probabilities, or p itself (s = 1, a constant); hence
    /// dp = (dw - sum(w dw)) / s, or dw; and of the softmax dlogit = p (dp - sum(p dp)).
    pub fn backward(&self, dweights: &[Vec<f32>], shape: Experts) -> Vec<f32> {
        let mut common = vec![0.0; self.sums.len()];
        let places = || {
            self.shares.iter().zip(dweights).flat_map(|(share, d)| {
                (share.tokens.iter().zip(&share.weights).zip(d)).map(|((t, w), d)| (*t as usize, share.expert, *w, *d))
            })
        };
        if shape.normalised {
            places().for_each(|(token, _, w, d)| common[token] += w * d);
        }
        let mut dlogits = vec![0.0; self.probabilities.len()];
        for (token, expert, _, d) in places() {
            dlogits[token * shape.count + expert] = (d - common[token]) / self.sums[token];
        }
        for (d, p) in dlogits.chunks_exact_mut(shape.count).zip(self.probabilities.chunks_exact(shape.count)) {
            let mean: f32 = d.iter().zip(p).map(|(d, p)| d * p).sum();
            d.iter_mut().zip(p).for_each(|(d, p)| *d = p * (*d - mean));
        }
        dlogits
    }
}

fn softmax(x: &mut [f32]) {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    x.iter_mut().for_each(|x| *x = (*x - max).exp());
    let sum: f32 = x.iter().sum();
    x.iter_mut().for_each(|x| *x /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Experts = Experts { count: 4, used: 2, width: 1, normalised: true };

    #[test]
    fn equal_probabilities_go_to_lower_numbers() {
        let routing = Routing::new(&[1.0, 1.0, 1.0, 1.0, 0.0, 2.0, 3.0, 2.0], SHAPE);
        let shares: Vec<_> = routing.shares.iter().map(|s| (s.expert, s.tokens.as_slice())).collect();
        assert_eq!(shares, [(0, &[0][..]), (1, &[0, 1]), (2, &[1])]);
        assert_eq!(routing.shares[0].weights, [0.5]);
        assert_eq!(routing.unused(SHAPE).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let logits = [0.3, -0.2, 1.1, 0.9, -0.5, 0.8, 0.1, 0.4];
        let of = |token: usize, expert: usize| ((3 * token + 5 * expert) as f32).sin();
        for normalised in [true, false] {
            let shape = Experts { normalised, ..SHAPE };
            let value = |logits: &[f32]| -> f64 {
                let each = |s: &Share| -> f64 {
                    let terms = s.tokens.iter().zip(&s.weights);
                    terms.map(|(t, w)| f64::from(*w) * f64::from(of(*t as usize, s.expert))).sum()
                };
                Routing::new(logits, shape).shares.iter().map(each).sum()
            };
            let routing = Routing::new(&logits, shape);
            let d: Vec<Vec<f32>> =
                (routing.shares.iter()).map(|s| s.tokens.iter().map(|t| of(*t as usize, s.expert)).collect()).collect();
            for (i, gradient) in routing.backward(&d, shape).iter().enumerate() {
                let moved = |by: f32| {
                    let mut at = logits;
                    at[i] += by;
                    value(&at)
                };
                let difference = (moved(0.01) - moved(-0.01)) / 0.02;
                assert!((difference - f64::from(*gradient)).abs() < 1e-4, "{i}: {difference} {gradient}");
            }
        }
    }
}

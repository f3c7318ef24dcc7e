//! How a distance splits a prompt's responses, which needs no judgements: how far apart they lie by it, whether by
//! length, which texts it puts at its ends, and whether other distances order them alike. None of it says that nearer
//! is better.

use super::{
    samples::Samples,
    statistics::{DRAWS, Figure, Truth},
};
use crate::{diagnose::Texts, stats::bootstrap::resample};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// How a distance splits responses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// The farthest distance less the nearest, over their mean: 0 where a distance does not tell responses apart. Mean
    /// over prompts.
    pub spread: Figure,
    /// Share of a prompt's pairs of responses in which the farther from the golden response is the one that differs
    /// more in length from it, of the pairs that differ in both; mean over prompts. 1: the order is that of length;
    /// 0.5: it has nothing to do with it.
    pub like_length: Figure,
    /// The text that is the nearest response of the most prompts.
    pub nearest: Commonest,
    /// The text that is the farthest response of the most prompts.
    pub farthest: Commonest,
}

/// A text that comes up for many prompts: boilerplate, if its share is large.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Commonest {
    /// Of the prompts.
    pub share: f64,
    /// Its beginning, in quotes.
    pub text: String,
}

impl Split {
    /// Of distances, one for each response; intervals are over resamples of the prompts.
    pub fn of(samples: &Samples, distances: &[f64], seed: u64) -> Self {
        let truth = &samples.truth;
        let [mut nearest, mut farthest] = [Texts::default(), Texts::default()];
        for prompt in &truth.prompts {
            // Of equal ones the first.
            let by = |i: &usize, j: &usize| distances[*i].total_cmp(&distances[*j]).then(i.cmp(j));
            let text = |i: usize| samples.corpus.responses[i].response.as_str();
            prompt.clone().min_by(by).into_iter().for_each(|i| nearest.add(text(i)));
            prompt.clone().max_by(|i, j| by(i, j).then(j.cmp(i))).into_iter().for_each(|i| farthest.add(text(i)));
        }
        let commonest = |texts: &Texts| {
            let (share, text) = texts.commonest();
            Commonest { share, text }
        };
        let like_length = |prompt: &Range<usize>| in_one_order(distances, &truth.length_differences, prompt);
        Self {
            spread: mean(truth, |prompt| spread(&distances[prompt.clone()]), seed),
            like_length: mean(truth, like_length, seed),
            nearest: commonest(&nearest),
            farthest: commonest(&farthest),
        }
    }
}

/// How far every two of some distances, each given for all responses, agree: the share of a prompt's pairs of responses
/// that both order, and order alike; mean over prompts. 1 of a distance with itself, 0.5 by chance; None where no pair
/// can be compared.
pub fn agreement(truth: &Truth, distances: &[Vec<f64>]) -> Vec<Vec<Option<f64>>> {
    let of = |a: &Vec<f64>, b: &Vec<f64>| {
        let shares: Vec<f64> = truth.prompts.iter().filter_map(|prompt| in_one_order(a, b, prompt)).collect();
        (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64)
    };
    distances.iter().map(|a| distances.iter().map(|b| of(a, b)).collect()).collect()
}

/// Farthest less nearest over the mean; None where all are 0.
fn spread(distances: &[f64]) -> Option<f64> {
    let mean = distances.iter().sum::<f64>() / distances.len() as f64;
    let end = |of: fn(f64, f64) -> f64| distances.iter().copied().reduce(of);
    Some((end(f64::max)? - end(f64::min)?) / mean).filter(|spread| spread.is_finite())
}

/// Share of a prompt's pairs of responses that two lists of numbers order alike, of those that both order.
fn in_one_order(a: &[f64], b: &[f64], prompt: &Range<usize>) -> Option<f64> {
    let (mut alike, mut pairs) = (0u32, 0u32);
    for i in prompt.clone() {
        for j in (i + 1..prompt.end).filter(|j| a[i] != a[*j] && b[i] != b[*j]) {
            pairs += 1;
            alike += u32::from((a[i] < a[j]) == (b[i] < b[j]));
        }
    }
    (pairs > 0).then(|| f64::from(alike) / f64::from(pairs))
}

/// The mean over the prompts that have a value.
fn mean(truth: &Truth, of: impl Fn(&Range<usize>) -> Option<f64>, seed: u64) -> Figure {
    let values: Vec<Option<f64>> = truth.prompts.iter().map(of).collect();
    let weighted = |counts: &[u32]| {
        let counted = || values.iter().zip(counts).filter_map(|(value, count)| Some((f64::from(*count), (*value)?)));
        let all: f64 = counted().map(|(count, _)| count).sum();
        (all > 0.0).then(|| counted().map(|(count, value)| count * value).sum::<f64>() / all)
    };
    let drawn = (0..DRAWS).map(|draw| weighted(&resample(values.len(), seed, draw)));
    Figure::new(weighted(&vec![1; values.len()]), drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_spreads_by_hand() {
        let (a, b) = ([1.0, 2.0, 3.0, 3.0], [5.0, 4.0, 6.0, 7.0]);
        // Of the six pairs a orders five, of which b turns one round.
        assert_eq!(in_one_order(&a, &b, &(0..4)), Some(0.8));
        assert_eq!(in_one_order(&a, &[1.0; 4], &(0..4)), None);
        assert_eq!((spread(&a), spread(&[2.0; 3]), spread(&[0.0; 3])), (Some(2.0 / 2.25), Some(0.0), None));
        let prompts = vec![0..2, 2..4];
        let truth = Truth {
            prompts,
            judged: false,
            labels: vec![0.0; 4],
            length_differences: b.to_vec(),
            apart: vec![true; 2],
        };
        // The second prompt's are equal by a.
        assert_eq!(agreement(&truth, &[a.to_vec(), b.to_vec()]), [[Some(1.0), Some(0.0)], [Some(0.0), Some(1.0)]]);
        assert_eq!(mean(&truth, |prompt| spread(&a[prompt.clone()]), 1).value, Some((1.0 / 1.5 + 0.0) / 2.0));
    }
}

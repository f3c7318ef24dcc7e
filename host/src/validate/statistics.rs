//! How well a distance orders responses as their labels do, and how sure that is: bootstrap over prompts.
//!
//! Every statistic takes the number of times each prompt counts, so that a resample costs no copy and no sort.

pub use crate::stats::bootstrap::{DRAWS, Figure, LEVEL};

use crate::stats::bootstrap::resample;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The judgements: responses of all prompts, one prompt's after the other.
#[derive(Debug)]
pub struct Truth {
    /// Responses of each prompt.
    pub prompts: Vec<Range<usize>>,
    /// Whether anybody has judged them.
    pub judged: bool,
    /// Label of each response, finite; the higher, the better. Each prompt has two different ones at least. Of
    /// responses that nobody has judged they say nothing.
    pub labels: Vec<f64>,
    /// Tokens of the golden response less tokens of the response, without sign.
    pub length_differences: Vec<f64>,
    /// Of each prompt, whether none of its responses equals the golden one.
    pub apart: Vec<bool>,
}

/// What a distance is worth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measures {
    /// Share of a prompt's pairs with different labels in which the better response is nearer, equal distances counting
    /// half; mean over prompts. 1 where distance follows the labels, 0.5 by chance.
    pub accuracy: Figure,
    /// The same over the prompts none of whose responses equals the golden one. A golden response that is boilerplate,
    /// or wrong, and that the model says too, is at distance 0 from itself by any measure; here that does not count.
    #[serde(default)]
    pub accuracy_apart: Figure,
    /// The same share over all pairs of responses, of one prompt or not. With two labels the area under the ROC curve,
    /// with more Harrell's concordance index.
    pub auc: Figure,
    /// Spearman's rank correlation of distance and label over all responses; -1 where distance follows the labels.
    pub label_correlation: Figure,
    /// Spearman's rank correlation of distance and difference in length from the golden response.
    pub length_correlation: Figure,
}

impl Measures {
    /// Measures distances, one for each response. The resamples are a pure function of `seed`, the same for all
    /// distances.
    pub fn of(truth: &Truth, distances: &[f64], seed: u64) -> Self {
        let (scorer, prompts) = (Scorer::new(truth, distances), truth.prompts.len());
        let drawn = (0..DRAWS).into_par_iter().map(|draw| scorer.score(&resample(prompts, seed, draw))).collect();
        Self::from(scorer.score(&vec![1; prompts]), drawn)
    }

    /// What distances that know nothing come to on these prompts: the mean of [`DRAWS`] random ones, and where they
    /// lie. One alone would pass for a good or a bad distance in one case of twenty.
    pub fn by_chance(truth: &Truth, seed: u64) -> Self {
        let once = vec![1; truth.prompts.len()];
        let random = |draw| Scorer::new(truth, &random_distances(truth.labels.len(), seed, draw)).score(&once);
        let drawn: Vec<_> = (0..DRAWS).into_par_iter().map(random).collect();
        let mean =
            std::array::from_fn(|i| drawn.iter().map(|d| d[i]).sum::<Option<f64>>().map(|sum| sum / DRAWS as f64));
        Self::from(mean, drawn)
    }

    fn from(values: Statistics, drawn: Vec<Statistics>) -> Self {
        let [accuracy, accuracy_apart, auc, label_correlation, length_correlation] =
            std::array::from_fn(|i| Figure::new(values[i], drawn.iter().map(|d| d[i])));
        Self { accuracy, accuracy_apart, auc, label_correlation, length_correlation }
    }
}

/// The fields of [`Measures`] in their order.
type Statistics = [Option<f64>; 5];

/// Distances, sorted once for all resamples.
struct Scorer<'a> {
    truth: &'a Truth,
    /// Each prompt's pairwise accuracy, which no resample changes.
    shares: Vec<f64>,
    by_distance: Ranking,
    by_label: Ranking,
    by_length: Ranking,
}

impl<'a> Scorer<'a> {
    fn new(truth: &'a Truth, distances: &[f64]) -> Self {
        let share = |p: &Range<usize>| share_in_order(&truth.labels[p.clone()], &distances[p.clone()]);
        let shares = truth.prompts.iter().map(share).collect();
        let [by_distance, by_label, by_length] = [distances, &truth.labels, &truth.length_differences].map(Ranking::of);
        Self { truth, shares, by_distance, by_label, by_length }
    }

    /// The statistics where each prompt counts as often as given; the counts' sum is the number of prompts.
    fn score(&self, counts: &[u32]) -> Statistics {
        let mut weights = vec![0.0; self.truth.labels.len()];
        for (prompt, count) in self.truth.prompts.iter().zip(counts) {
            weights[prompt.clone()].fill(f64::from(*count));
        }
        let ranks = self.by_distance.ranks(&weights);
        let rho = |other: &Ranking| correlation(&ranks, &other.ranks(&weights), &weights);
        let mean = |of: &dyn Fn(usize) -> bool| {
            let counted = || counts.iter().enumerate().filter(|(prompt, _)| of(*prompt));
            let prompts: u32 = counted().map(|(_, count)| count).sum();
            let in_order = counted().map(|(prompt, count)| self.shares[prompt] * f64::from(*count)).sum::<f64>();
            (prompts > 0 && self.truth.judged).then(|| in_order / f64::from(prompts))
        };
        let auc = concordance(&self.by_label, &self.by_distance, &weights);
        [mean(&|_| true), mean(&|prompt| self.truth.apart[prompt]), auc, rho(&self.by_label), rho(&self.by_length)]
    }
}

/// One number in 0..1 for each response.
fn random_distances(n: usize, seed: u64, draw: u64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // Beyond the streams of the resamples.
    rng.set_stream(DRAWS + draw);
    (0..n).map(|_| (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64).collect()
}

/// Share of pairs with different labels in which the higher label has the smaller distance, equal distances counting
/// half; 0.5 where no labels differ.
fn share_in_order(labels: &[f64], distances: &[f64]) -> f64 {
    let (mut in_order, mut pairs) = (0.0, 0.0);
    for (better, near) in labels.iter().zip(distances) {
        for (_, far) in labels.iter().zip(distances).filter(|(worse, _)| *worse < better) {
            pairs += 1.0;
            in_order += in_order_by(*near, *far);
        }
    }
    if pairs > 0.0 { in_order / pairs } else { 0.5 }
}

fn in_order_by(near: f64, far: f64) -> f64 {
    if near < far {
        1.0
    } else if near == far {
        0.5
    } else {
        0.0
    }
}

/// The order of some values, found once.
struct Ranking {
    /// Indices of the values in ascending order, equal ones together.
    groups: Vec<Vec<usize>>,
    /// The group of each value.
    group: Vec<usize>,
}

impl Ranking {
    fn of(values: &[f64]) -> Self {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|i, j| values[*i].total_cmp(&values[*j]));
        let groups: Vec<Vec<usize>> = order.chunk_by(|i, j| values[*i] == values[*j]).map(<[_]>::to_vec).collect();
        let mut group = vec![0; values.len()];
        for (number, members) in groups.iter().enumerate() {
            members.iter().for_each(|i| group[*i] = number);
        }
        Self { groups, group }
    }

    /// Ranks of the values, each there `weights` times, equal ones sharing their mean rank.
    fn ranks(&self, weights: &[f64]) -> Vec<f64> {
        let mut ranks = vec![0.0; weights.len()];
        let mut before = 0.0;
        for members in &self.groups {
            let here: f64 = members.iter().map(|i| weights[*i]).sum();
            members.iter().for_each(|i| ranks[*i] = before + (here + 1.0) / 2.0);
            before += here;
        }
        ranks
    }
}

/// Pearson's correlation of values that are there `weights` times; None where either side is constant.
fn correlation(a: &[f64], b: &[f64], weights: &[f64]) -> Option<f64> {
    let total: f64 = weights.iter().sum();
    let mean = |v: &[f64]| v.iter().zip(weights).map(|(v, w)| v * w).sum::<f64>() / total;
    let (ma, mb) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for ((x, y), w) in a.iter().zip(b).zip(weights) {
        ab += w * (x - ma) * (y - mb);
        aa += w * (x - ma) * (x - ma);
        bb += w * (y - mb) * (y - mb);
    }
    (aa > 0.0 && bb > 0.0).then(|| ab / (aa * bb).sqrt())
}

/// Share of pairs of responses with different labels in which the higher label is nearer, equal distances counting
/// half; None where no labels differ. In n log n: labels go up, and a Fenwick tree over the distances holds the
/// responses with lower ones.
fn concordance(labels: &Ranking, distances: &Ranking, weights: &[f64]) -> Option<f64> {
    let mut lower = Fenwick(vec![0.0; distances.groups.len() + 1]);
    let (mut held, mut in_order, mut pairs) = (0.0, 0.0, 0.0);
    for members in &labels.groups {
        for &i in members {
            let at = distances.group[i];
            let (nearer, not_farther) = (lower.sum(at), lower.sum(at + 1));
            in_order += weights[i] * (held - (nearer + not_farther) / 2.0);
            pairs += weights[i] * held;
        }
        for &i in members {
            lower.add(distances.group[i], weights[i]);
            held += weights[i];
        }
    }
    (pairs > 0.0).then(|| in_order / pairs)
}

/// Sums of the first numbers of a list that changes. (Fenwick 1994)
struct Fenwick(Vec<f64>);

impl Fenwick {
    /// Adds to the number at an index.
    fn add(&mut self, index: usize, value: f64) {
        let mut i = index + 1;
        while i < self.0.len() {
            self.0[i] += value;
            i += i & i.wrapping_neg();
        }
    }
    /// Sum of the first `n` numbers.
    fn sum(&self, n: usize) -> f64 {
        let (mut i, mut sum) = (n, 0.0);
        while i > 0 {
            sum += self.0[i];
            i &= i - 1;
        }
        sum
    }
}

#[cfg(test)]
mod tests;

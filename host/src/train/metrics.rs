//! Means over the steps between two lines of metrics.jsonl, whose columns [`column`] has.

use crate::rundir::column;
use serde::{Deserialize, Serialize};

/// Sums since the last line; part of a checkpoint, so that a line may straddle it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StepMeans {
    /// Name, sum, count: in order of first use.
    means: Vec<(String, f64, f64)>,
    weights: Option<Weights>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Weights {
    count: u64,
    sum: f64,
    squares: f64,
    min: f32,
    max: f32,
}

impl StepMeans {
    /// Adds a value to a mean.
    pub fn add(&mut self, name: &str, value: f64) {
        self.add_many(name, value, 1.0);
    }

    /// Adds the sum of `count` values to a mean.
    pub fn add_many(&mut self, name: &str, sum: f64, count: f64) {
        match self.means.iter_mut().find(|(n, ..)| n == name) {
            Some((_, sums, counts)) => {
                *sums += sum;
                *counts += count;
            }
            None => self.means.push((name.to_owned(), sum, count)),
        }
    }

    /// Adds a pair's weight.
    pub fn add_weight(&mut self, weight: f32) {
        let w = f64::from(weight);
        let all = self.weights.get_or_insert(Weights { count: 0, sum: 0.0, squares: 0.0, min: weight, max: weight });
        all.count += 1;
        all.sum += w;
        all.squares += w * w;
        all.min = all.min.min(weight);
        all.max = all.max.max(weight);
    }

    /// The mean of a name so far.
    pub fn mean(&self, name: &str) -> Option<f64> {
        self.means.iter().find(|(n, ..)| n == name).map(|(_, sum, count)| sum / count)
    }

    /// All that a line says of them, by name: means in order of first use, then the weights.
    pub fn values(&self) -> Vec<(String, f64)> {
        let mut values: Vec<_> = self.means.iter().map(|(name, sum, count)| (name.clone(), sum / count)).collect();
        if let Some(w) = &self.weights {
            let ess = if w.squares > 0.0 { w.sum * w.sum / w.squares } else { 0.0 };
            let weights = [
                (column::MEAN_WEIGHT, w.sum / w.count as f64),
                (column::MIN_WEIGHT, w.min.into()),
                (column::MAX_WEIGHT, w.max.into()),
                (column::EFFECTIVE_PAIRS, ess),
            ];
            values.extend(weights.map(|(name, value)| (name.to_owned(), value)));
        }
        values
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn means_and_weights_come_in_a_fixed_order_and_survive_a_checkpoint() {
        let mut means = StepMeans::default();
        for (x, w) in [(1.0, 0.5), (4.0, 1.5)] {
            means.add(column::LOSS, x);
            means.add_weight(w);
        }
        means.add_many(column::NLL, 6.0, 4.0);
        let means: StepMeans = serde_json::from_str(&serde_json::to_string(&means).unwrap()).unwrap();
        let expected = [
            ("loss", 2.5),
            ("nll_loss", 1.5),
            ("weights/mean", 1.0),
            ("weights/min", 0.5),
            ("weights/max", 1.5),
            ("weights/ess", 1.6),
        ];
        assert_eq!(means.values(), expected.map(|(name, value)| (name.to_owned(), value)));
        assert_eq!(StepMeans::default().values(), []);
    }
}

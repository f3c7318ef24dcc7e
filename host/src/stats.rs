//! Statistics of a round's distances, weights and latents; [`bootstrap`] has the resamples behind intervals.

pub mod bootstrap;

mod plane;
mod proportion;

pub use plane::{Plane, principal_plane};
pub use proportion::Proportion;

/// Weights, of which only sums are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Weights {
    /// How many there are.
    pub count: usize,
    /// Their sum.
    pub sum: f64,
    /// The sum of their squares.
    pub squares: f64,
    /// The largest; 0 where there is none.
    pub largest: f64,
}

impl Weights {
    /// Adds a weight of at least 0.
    pub fn add(&mut self, weight: f64) {
        self.count += 1;
        self.sum += weight;
        self.squares += weight * weight;
        self.largest = self.largest.max(weight);
    }

    /// Effective sample size: (sum w)^2 / sum w^2; 0 where there is no weight. (Kish 1965)
    pub fn effective_size(&self) -> f64 {
        if self.squares > 0.0 { self.sum * self.sum / self.squares } else { 0.0 }
    }
}

/// [`Weights::effective_size`] of some weights.
pub fn effective_size(weights: &[f64]) -> f64 {
    let mut all = Weights::default();
    weights.iter().for_each(|w| all.add(*w));
    all.effective_size()
}

/// Mean; NaN of nothing.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Spearman's rank correlation, equal values sharing their mean rank; None where either side is constant or a value is
/// not finite. Beside the values, memory is a sorted copy of them.
pub fn rank_correlation<A: Copy + Into<f64>, B: Copy + Into<f64>>(a: &[A], b: &[B]) -> Option<f64> {
    let (ranks_a, ranks_b) = (Ranks::of(a)?, Ranks::of(b)?);
    // Ranks that are shared have the same mean as those that are not.
    let mean = (a.len() as f64 + 1.0) / 2.0;
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (ranks_a.rank(*x) - mean, ranks_b.rank(*y) - mean);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    (aa > 0.0 && bb > 0.0).then(|| ab / (aa * bb).sqrt())
}

/// Values in ascending order.
struct Ranks<T>(Vec<T>);

impl<T: Copy + Into<f64>> Ranks<T> {
    /// None where a value is not finite.
    fn of(values: &[T]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(|a, b| (*a).into().total_cmp(&(*b).into()));
        values.iter().all(|v| (*v).into().is_finite()).then_some(Self(sorted))
    }

    /// The rank of one of the values, from 1: the mean of those that all equal ones have together.
    fn rank(&self, value: T) -> f64 {
        let value = value.into();
        let below = self.0.partition_point(|v| (*v).into() < value);
        let equal = self.0[below..].partition_point(|v| (*v).into() <= value);
        below as f64 + (equal as f64 + 1.0) / 2.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn effective_size_of_equal_and_of_single_weights() {
        assert_eq!(effective_size(&[2.0; 8]), 8.0);
        assert_eq!(effective_size(&[0.0, 3.0, 0.0]), 1.0);
        assert_eq!(effective_size(&[0.0, 0.0]), 0.0);
    }

    #[test]
    fn rank_correlation_shares_ranks() {
        // numpy: corrcoef of the ranks [1, 2.5, 2.5, 4, 5] and [2, 1, 3.5, 3.5, 5]
        let rho = rank_correlation(&[1., 2., 2., 4., 9.], &[3., 1., 4., 4., 8.]).unwrap();
        assert!((rho - 0.763_157_894_736_842).abs() < 1e-12, "{rho}");
        assert_eq!(rank_correlation(&[1., 2., 3.], &[9., 4., 1.]), Some(-1.0));
        assert_eq!(rank_correlation(&[1., 1.], &[1., 2.]), None);
        assert_eq!(rank_correlation(&[1., f64::NAN], &[1., 2.]), None);
    }
}

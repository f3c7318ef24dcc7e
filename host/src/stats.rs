//! Statistics of a round's distances, weights and latents; [`bootstrap`] has the resamples behind intervals.

pub mod bootstrap;

mod plane;
mod proportion;

pub use plane::{Plane, principal_plane};
pub use proportion::Proportion;

/// Effective sample size: (sum w)^2 / sum w^2; 0 where there is no weight. (Kish 1965)
pub fn effective_size(weights: &[f64]) -> f64 {
    let sum: f64 = weights.iter().sum();
    let squares: f64 = weights.iter().map(|w| w * w).sum();
    if squares > 0.0 { sum * sum / squares } else { 0.0 }
}

/// Mean; NaN of nothing.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Spearman's rank correlation, equal values sharing their mean rank; None where either side is constant or a value is
/// not finite.
pub fn rank_correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.iter().chain(b).any(|v| !v.is_finite()) {
        return None;
    }
    let (a, b) = (ranks(a), ranks(b));
    let (ma, mb) = (mean(&a), mean(&b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(&b) {
        ab += (x - ma) * (y - mb);
        aa += (x - ma) * (x - ma);
        bb += (y - mb) * (y - mb);
    }
    (aa > 0.0 && bb > 0.0).then(|| ab / (aa * bb).sqrt())
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|i, j| values[*i].total_cmp(&values[*j]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for equal in order.chunk_by(|i, j| values[*i] == values[*j]) {
        let shared = before as f64 + (equal.len() as f64 + 1.0) / 2.0;
        equal.iter().for_each(|i| ranks[*i] = shared);
        before += equal.len();
    }
    ranks
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

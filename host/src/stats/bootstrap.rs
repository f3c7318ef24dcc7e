//! Percentile bootstrap: seeded resamples of what was measured, and the interval of what comes of them.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use serde::{Deserialize, Serialize};

/// Resamples behind each interval.
pub const DRAWS: u64 = 1000;
/// Probability that an interval covers.
pub const LEVEL: f64 = 0.95;

/// A statistic with its bootstrap percentile interval; None where it is not defined, as a correlation with a constant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// On all that was measured.
    pub value: Option<f64>,
    /// Lower and upper end.
    pub interval: Option<[f64; 2]>,
}

impl Figure {
    /// A value, and what the resamples have come to where it was defined there.
    pub fn new(value: Option<f64>, drawn: impl IntoIterator<Item = Option<f64>>) -> Self {
        let mut sorted: Vec<f64> = drawn.into_iter().flatten().collect();
        sorted.sort_by(f64::total_cmp);
        Self { value, interval: value.and(percentiles(&sorted)) }
    }
}

/// How often each of `n` things is drawn in a resample of `n` with replacement: a pure function of `seed` and `stream`,
/// so that what thread computes which draw does not matter.
pub fn resample(n: usize, seed: u64, stream: u64) -> Vec<u32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    let mut counts = vec![0; n];
    for _ in 0..n {
        counts[below(n, &mut rng)] += 1;
    }
    counts
}

/// A number below `n`, uniform to within n / 2^64.
pub fn below(n: usize, rng: &mut ChaCha8Rng) -> usize {
    // The high half of the product.
    ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize
}

/// The ends of the interval between which [`LEVEL`] of the sorted values lie, interpolated linearly between neighbours.
pub fn percentiles(sorted: &[f64]) -> Option<[f64; 2]> {
    let last = sorted.len().checked_sub(1)?;
    Some([(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0].map(|p| {
        let at = p * last as f64;
        let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
        low + (high - low) * at.fract()
    }))
}

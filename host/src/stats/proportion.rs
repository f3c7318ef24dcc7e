//! A proportion of trials with its confidence interval.

use serde::Serialize;

/// 97.5 % of the standard normal distribution lie below.
const Z: f64 = 1.959_963_984_540_054;

/// A proportion with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Proportion {
    /// Hits by trials; 0 of none.
    pub value: f64,
    /// Wilson's 95 % interval (1927), which stays within 0 and 1 and has a width where all trials end alike.
    pub interval: [f64; 2],
}

impl Proportion {
    /// Of `hits` in `trials`.
    pub fn of(hits: usize, trials: usize) -> Self {
        if trials == 0 {
            return Self { value: 0.0, interval: [0.0, 1.0] };
        }
        let (n, p) = (trials as f64, hits as f64 / trials as f64);
        let (scale, middle) = (1.0 + Z * Z / n, p + Z * Z / (2.0 * n));
        let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        // Exact where rounding would miss the end.
        let low = if hits == 0 { 0.0 } else { (middle - half) / scale };
        let high = if hits == trials { 1.0 } else { (middle + half) / scale };
        Self { value: p, interval: [low, high] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ends of Wilson's interval are the proportions from which the one seen is just z standard errors away.
    #[test]
    fn the_proportion_seen_is_z_standard_errors_from_both_ends() {
        for (hits, trials) in [(7, 10), (1, 3), (0, 5), (400, 400)] {
            let Proportion { value, interval } = Proportion::of(hits, trials);
            assert_eq!(value, hits as f64 / trials as f64);
            for end in interval {
                let error = (end * (1.0 - end) / trials as f64).sqrt();
                assert!(((value - end).abs() - Z * error).abs() < 1e-9, "{hits} of {trials}: {end}");
            }
            assert!(interval[0] <= value && value <= interval[1] && interval[1] - interval[0] > 0.005);
        }
        // With no hits the upper end is z^2 / (n + z^2).
        assert!((Proportion::of(0, 5).interval[1] - Z * Z / (5.0 + Z * Z)).abs() < 1e-12);
        assert_eq!(Proportion::of(0, 0).interval, [0.0, 1.0]);
    }
}

//! Weights proportional to distances that were clipped at two quantiles of the round (winsorised): outliers on either
//! side count as much as the quantile does, wherever the distances' scale lies.

use ldalign_sdk::{Error, PerRound, PluginOptions, RoundSchedule};

/// The quantiles, as shares of the pairs whose distance is above 0.
#[derive(Debug, Clone, Copy, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Distances below this quantile count as it does; in 0..=1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub low: f64,
    /// Distances above this quantile count as it does; in 0..=1, at least `low`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub high: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { low: 0.05, high: 0.95 }
    }
}

impl PluginOptions for Options {
    fn validate(&self) -> Result<(), Error> {
        if !(0.0 <= self.low && self.low <= self.high && self.high <= 1.0) {
            return Err(Error::options(format!(
                "low {} and high {} do not fit: 0 <= low <= high <= 1 is needed",
                self.low, self.high
            )));
        }
        Ok(())
    }
}

/// `w = clip(d, q_low, q_high)`, scaled to mean 1; a distance of exactly 0 takes no part and weighs 0.
pub struct QuantileClip {
    low: f64,
    high: f64,
}

impl RoundSchedule for QuantileClip {
    const ID: &'static str = "quantile-clip";
    const SUMMARY: &'static str = "weights proportional to distance, clipped at two quantiles of the round, mean 1";
    type Options = Options;

    fn begin(options: &Options, distances: &[f32]) -> Result<Self, Error> {
        let mut ascending: Vec<f32> = distances.iter().copied().filter(|&d| d != 0.0).collect();
        ascending.sort_unstable_by(f32::total_cmp);
        Ok(Self { low: quantile(&ascending, options.low), high: quantile(&ascending, options.high) })
    }

    fn share(&self, distance: f32) -> f64 {
        f64::from(distance).clamp(self.low, self.high)
    }
}

/// Quantile by linear interpolation between order statistics (type 7 of Hyndman and Fan 1996, NumPy's default); 0 of
/// nothing.
fn quantile(ascending: &[f32], share: f64) -> f64 {
    let Some(last) = ascending.len().checked_sub(1) else { return 0.0 };
    let at = share * last as f64;
    let below = at.floor() as usize;
    let (a, b) = (f64::from(ascending[below]), f64::from(ascending[(below + 1).min(last)]));
    // Not `a + (b - a) t`, which can round beyond b and so put `low` above `high`.
    let t = at - below as f64;
    (a * (1.0 - t) + b * t).clamp(a, b)
}

ldalign_sdk::export_plugin! { schedules: [PerRound<QuantileClip>] }

#[cfg(test)]
ldalign_conformance::conforms! { "quantile-clip": {}, "quantile-clip": { "low": 0.25, "high": 0.5 } }

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ldalign_sdk::{Host, StepContext, WeightSchedule};

    fn weights(options: Options, distances: &[f32]) -> Vec<f32> {
        options.validate().unwrap();
        let mut schedule = PerRound::<QuantileClip>::new(options, Host::stand_in()).unwrap();
        schedule.begin_round(distances).unwrap();
        let mut out = vec![f32::NAN; distances.len()];
        schedule.weights(StepContext { round: 0, rounds: 1, step: 0, total_steps: 1 }, distances, &mut out).unwrap();
        out
    }

    #[test]
    fn quantiles_agree_with_numpy() {
        // numpy.quantile([1, 2, 4, 8, 16, 32], [0, .05, .3, .5, .77, 1])
        let ascending = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
        for (share, expected) in [(0.0, 1.0), (0.05, 1.25), (0.3, 3.0), (0.5, 6.0), (0.77, 14.8), (1.0, 32.0)] {
            assert!((quantile(&ascending, share) - expected).abs() < 1e-12, "{share}");
        }
        assert_eq!((quantile(&[3.0], 0.4), quantile(&[], 0.4)), (3.0, 0.0));
    }

    #[test]
    fn distances_beyond_the_quantiles_count_as_the_quantiles() {
        // Quartiles of 1, 2, 4, 8, 1000 are 2 and 8: clipped 2, 2, 4, 8, 8; the 0 takes no part, but counts in the mean
        // of 4.
        let w = weights(Options { low: 0.25, high: 0.75 }, &[4.0, 1000.0, 0.0, 1.0, 2.0, 8.0]);
        assert_eq!(w, [1.0, 2.0, 0.0, 0.5, 0.5, 2.0]);
    }

    #[test]
    fn the_outermost_quantiles_are_plain_proportional_weights_and_one_quantile_is_uniform() {
        assert_eq!(weights(Options { low: 0.0, high: 1.0 }, &[1.0, 3.0, 0.0, 4.0]), [0.5, 1.5, 0.0, 2.0]);
        assert_eq!(weights(Options { low: 0.5, high: 0.5 }, &[1.0, 3.0, 7.0, 4.0]), [1.0; 4]);
    }

    #[test]
    fn mean_is_one_and_order_is_kept_at_every_scale() {
        for scale in [1e-40f32, 1.0, 1e33] {
            let mut distances: Vec<f32> = (0..5_000).map(|i| ((i * 7919) % 10_007) as f32 * scale).collect();
            distances.sort_by(f32::total_cmp);
            let w = weights(Options::default(), &distances);
            let mean = w.iter().map(|&w| f64::from(w)).sum::<f64>() / w.len() as f64;
            assert!((mean - 1.0).abs() < 1e-6 && w.is_sorted(), "{mean}");
        }
    }

    #[test]
    fn quantiles_are_shares_in_their_order() {
        for (low, high) in [(-0.1, 0.9), (0.6, 0.4), (0.1, 1.1), (f64::NAN, 0.5), (0.5, f64::NAN)] {
            assert!(Options { low, high }.validate().is_err(), "{low} {high}");
        }
    }
}

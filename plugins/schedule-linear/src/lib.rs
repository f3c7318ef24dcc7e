//! Weights proportional to distance: a pair twice as far apart counts twice as much.

use ldalign_sdk::{Error, PerRound, PluginOptions, RoundSchedule};

/// Bounds of the weights.
#[derive(Debug, Clone, Copy, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Least d / mean(d) of a pair whose distance is above 0; at least 0.
    #[schemars(range(min = 0.0))]
    pub min: f64,
    /// Greatest d / mean(d), against outliers; no bound by default.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub max: Option<f64>,
}

impl Default for Options {
    fn default() -> Self {
        Self { min: 0.0, max: None }
    }
}

impl PluginOptions for Options {
    fn validate(&self) -> Result<(), Error> {
        let max = self.max.unwrap_or(f64::INFINITY);
        if !(self.min >= 0.0 && self.min.is_finite() && max > 0.0 && self.min <= max) {
            return Err(Error::options(format!(
                "min {} and max {max} do not fit: 0 <= min <= max and max > 0 are needed",
                self.min
            )));
        }
        Ok(())
    }
}

/// `w = clip(d / mean(d), min, max)`, scaled to mean 1 over the round; a distance of exactly 0 weighs 0.
pub struct Linear {
    options: Options,
    /// Mean distance of the round.
    mean: f64,
}

impl RoundSchedule for Linear {
    const ID: &'static str = "linear";
    const SUMMARY: &'static str = "weights proportional to distance, with optional bounds, mean 1";
    type Options = Options;

    fn begin(options: &Options, distances: &[f32]) -> Result<Self, Error> {
        let sum: f64 = distances.iter().map(|&d| f64::from(d)).sum();
        Ok(Self { options: *options, mean: sum / distances.len().max(1) as f64 })
    }

    fn share(&self, distance: f32) -> f64 {
        (f64::from(distance) / self.mean).clamp(self.options.min, self.options.max.unwrap_or(f64::INFINITY))
    }
}

ldalign_sdk::export_plugin! { schedules: [PerRound<Linear>] }

#[cfg(test)]
ldalign_conformance::conforms!();

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ldalign_sdk::{Host, StepContext, WeightSchedule};

    fn weights(options: Options, distances: &[f32]) -> Vec<f32> {
        options.validate().unwrap();
        let at = StepContext { round: 0, rounds: 1, step: 0, total_steps: 1 };
        let mut schedule = PerRound::<Linear>::new(options, Host::stand_in()).unwrap();
        schedule.begin_round(distances).unwrap();
        let mut out = vec![f32::NAN; distances.len()];
        schedule.weights(at, distances, &mut out).unwrap();
        out
    }

    #[test]
    fn proportional_with_mean_one() {
        assert_eq!(weights(Options::default(), &[1.0, 3.0, 0.0, 4.0]), [0.5, 1.5, 0.0, 2.0]);
    }

    #[test]
    fn bounds_are_applied_before_the_mean_is_restored() {
        // d / mean = 0.1, 0.1, 2.8 -> 0.5, 0.5, 2 -> divided by their mean 1
        let options = Options { min: 0.5, max: Some(2.0) };
        assert_eq!(weights(options, &[0.1, 0.1, 2.8]), [0.5, 0.5, 2.0]);
        // 0, 0, 0, 4 -> 0, 0, 0, 2 -> divided by 0.5: identical responses stay without weight whatever `min` says
        assert_eq!(weights(options, &[0.0, 0.0, 0.0, 9.0]), [0.0, 0.0, 0.0, 4.0]);
    }

    #[test]
    fn mean_is_one_and_order_is_kept_over_many_distances() {
        let mut distances: Vec<f32> = (0..10_000).map(|i| ((i * 7919) % 10_007) as f32 / 991.0).collect();
        distances.sort_by(f32::total_cmp);
        for options in [Options::default(), Options { min: 0.3, max: Some(1.2) }] {
            let w = weights(options, &distances);
            let mean = w.iter().map(|&w| f64::from(w)).sum::<f64>() / w.len() as f64;
            assert!((mean - 1.0).abs() < 1e-6, "{mean}");
            assert!(w.is_sorted());
        }
    }

    #[test]
    fn all_zero_distances_weigh_nothing() {
        assert_eq!(weights(Options { min: 0.5, max: None }, &[0.0; 3]), [0.0; 3]);
        assert!(weights(Options::default(), &[]).is_empty());
    }

    #[test]
    fn extreme_scales_stay_finite() {
        for d in [1e-45f32, 1e-38, 1e38] {
            assert_eq!(weights(Options::default(), &[d, d]), [1.0, 1.0]);
        }
    }

    #[test]
    fn impossible_bounds_are_refused() {
        for (min, max) in [(-1.0, None), (2.0, Some(1.0)), (0.0, Some(0.0)), (f64::NAN, None), (0.0, Some(f64::NAN))] {
            assert!(Options { min, max }.validate().is_err(), "{min} {max:?}");
        }
    }
}

//! Focal weights: near pairs fade out by a power, far pairs saturate. After the focal loss of Lin et al. 2017 (arXiv
//! 1708.02002), whose modulating factor `(1 - p)^gamma` takes weight from examples that are already solved.

use ldalign_sdk::{Error, PerRound, PluginOptions, RoundSchedule};

/// How hard near pairs are faded out.
#[derive(Debug, Clone, Copy, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Exponent, in 0..=20: 0 weighs all pairs alike, larger values leave near pairs ever less.
    #[schemars(range(min = 0.0, max = 20.0))]
    pub gamma: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { gamma: 2.0 }
    }
}

impl PluginOptions for Options {
    fn validate(&self) -> Result<(), Error> {
        match self.gamma {
            gamma if (0.0..=20.0).contains(&gamma) => Ok(()),
            gamma => Err(Error::options(format!("gamma {gamma} must lie in 0..=20"))),
        }
    }
}

/// `w = (1 - exp(-d / m))^gamma`, scaled to mean 1, m the mean of the round's distances above 0.
pub struct Focal {
    gamma: f64,
    mean: f64,
}

impl RoundSchedule for Focal {
    const ID: &'static str = "focal";
    const SUMMARY: &'static str = "weights that fade near pairs out by a power and saturate for far ones, mean 1";
    type Options = Options;

    fn begin(options: &Options, distances: &[f32]) -> Result<Self, Error> {
        let taking_part = || distances.iter().map(|&d| f64::from(d)).filter(|&d| d != 0.0);
        Ok(Self { gamma: options.gamma, mean: taking_part().sum::<f64>() / taking_part().count().max(1) as f64 })
    }

    /// `exp(-d / m)` is the closeness that stands for the focal loss's probability of being right.
    fn share(&self, distance: f32) -> f64 {
        // Not `1 - exp`, which loses what is small.
        (-(-f64::from(distance) / self.mean).exp_m1()).powf(self.gamma)
    }
}

ldalign_sdk::export_plugin! { schedules: [PerRound<Focal>] }

#[cfg(test)]
ldalign_conformance::conforms! { "focal": {}, "focal": { "gamma": 0.0 } }

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ldalign_sdk::{Host, StepContext, WeightSchedule};

    fn weights(gamma: f64, distances: &[f32]) -> Vec<f32> {
        let mut schedule = PerRound::<Focal>::new(Options { gamma }, Host::stand_in()).unwrap();
        schedule.begin_round(distances).unwrap();
        let mut out = vec![f32::NAN; distances.len()];
        schedule.weights(StepContext { round: 0, rounds: 1, step: 0, total_steps: 1 }, distances, &mut out).unwrap();
        out
    }

    #[test]
    fn agrees_with_the_formula() {
        // numpy: d = array([1, 2, 0, 6]); s = (1 - exp(-d / 3)) ** 2; s / s.mean()
        let expected = [0.301_868_26, 0.889_448_7, 0.0, 2.808_683];
        for (w, e) in weights(2.0, &[1.0, 2.0, 0.0, 6.0]).iter().zip(expected) {
            assert!((w - e).abs() < 1e-6, "{w} {e}");
        }
    }

    #[test]
    fn gamma_goes_from_all_alike_to_the_far_ones() {
        assert_eq!(weights(0.0, &[1.0, 2.0, 0.0, 6.0]), [4.0 / 3.0, 4.0 / 3.0, 0.0, 4.0 / 3.0]);
        let near = |gamma| weights(gamma, &[0.5, 2.0, 6.0])[0];
        assert!(near(0.5) > near(1.0) && near(1.0) > near(4.0) && near(4.0) > near(20.0));
    }

    #[test]
    fn near_pairs_go_by_the_power_and_far_ones_saturate() {
        let mut distances = vec![1e-6f32, 2e-6];
        distances.extend([1.0; 50]);
        distances.extend([1000.0, 2000.0]);
        let w = weights(2.0, &distances);
        assert!((w[1] / w[0] - 4.0).abs() < 1e-4, "{} {}", w[0], w[1]);
        assert!((w[53] / w[52] - 1.0).abs() < 1e-6, "{} {}", w[52], w[53]);
    }

    #[test]
    fn mean_is_one_and_order_is_kept_at_every_scale() {
        for scale in [1e-40f32, 1.0, 1e33] {
            let mut distances: Vec<f32> = (0..5_000).map(|i| ((i * 7919) % 10_007) as f32 * scale).collect();
            distances.sort_by(f32::total_cmp);
            let w = weights(2.0, &distances);
            let mean = w.iter().map(|&w| f64::from(w)).sum::<f64>() / w.len() as f64;
            assert!((mean - 1.0).abs() < 1e-6 && w.is_sorted(), "{mean}");
        }
    }

    #[test]
    fn gamma_has_bounds() {
        for gamma in [-0.1, 20.5, f64::NAN] {
            assert!(Options { gamma }.validate().is_err(), "{gamma}");
        }
    }
}

//! Weights by a softmax over standardised distances: a temperature decides how much the far pairs count.

use ldalign_sdk::{Error, PerRound, PluginOptions, RoundSchedule};

/// How sharp the softmax is.
#[derive(Debug, Clone, Copy, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// In standard deviations, above 0: a pair this much farther than another counts e times as much.
    /// Towards 0 only the farthest pair counts, towards infinity all pairs count alike.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub temperature: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { temperature: 1.0 }
    }
}

impl PluginOptions for Options {
    fn validate(&self) -> Result<(), Error> {
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return Err(Error::options(format!("temperature {} must be a number above 0", self.temperature)));
        }
        Ok(())
    }
}

/// `w = n softmax(z / temperature)`, z the standardised distances; a distance of exactly 0 takes no part and weighs 0.
pub struct Softmax {
    /// Largest distance of the round: the exponent is never positive for its pairs, so nothing overflows.
    largest: f64,
    /// Temperature times standard deviation.
    width: f64,
}

impl RoundSchedule for Softmax {
    const ID: &'static str = "softmax";
    const SUMMARY: &'static str = "weights by a softmax with temperature over standardised distances, mean 1";
    type Options = Options;

    fn begin(options: &Options, distances: &[f32]) -> Result<Self, Error> {
        let taking_part = || distances.iter().map(|&d| f64::from(d)).filter(|&d| d != 0.0);
        let n = taking_part().count().max(1) as f64;
        let mean = taking_part().sum::<f64>() / n;
        let deviation = (taking_part().map(|d| (d - mean).powi(2)).sum::<f64>() / n).sqrt();
        Ok(Self { largest: taking_part().fold(0.0, f64::max), width: options.temperature * deviation })
    }

    /// Relative to the largest; 1 for all where distances do not differ.
    fn share(&self, distance: f32) -> f64 {
        match self.largest - f64::from(distance) {
            gap if gap <= 0.0 => 1.0,
            gap => (-gap / self.width).exp(),
        }
    }
}

ldalign_sdk::export_plugin! { schedules: [PerRound<Softmax>] }

#[cfg(test)]
ldalign_conformance::conforms!();

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ldalign_sdk::{Host, StepContext, WeightSchedule};

    fn weights(temperature: f64, distances: &[f32]) -> Vec<f32> {
        let at = StepContext { round: 0, rounds: 1, step: 0, total_steps: 1 };
        let mut schedule = PerRound::<Softmax>::new(Options { temperature }, Host::stand_in()).unwrap();
        schedule.begin_round(distances).unwrap();
        let mut out = vec![f32::NAN; distances.len()];
        schedule.weights(at, distances, &mut out).unwrap();
        out
    }

    #[test]
    fn agrees_with_the_formula() {
        // numpy: d = array([1, 2, 4]); z = (d - d.mean()) / d.std(); e = exp(z / 0.5); 3 * e / e.sum()
        let expected = [0.023_293_99, 0.115_788_22, 2.860_917_8];
        for (w, e) in weights(0.5, &[1.0, 2.0, 4.0]).iter().zip(expected) {
            assert!((w - e).abs() < 1e-6, "{w} {e}");
        }
    }

    #[test]
    fn scale_and_shift_of_the_distances_do_not_matter() {
        let (a, b) = (weights(1.0, &[1.0, 2.0, 4.0]), weights(1.0, &[1100.0, 1200.0, 1400.0]));
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5), "{a:?} {b:?}");
    }

    #[test]
    fn temperature_goes_from_one_pair_to_all() {
        assert_eq!(weights(1e-9, &[1.0, 2.0, 4.0]), [0.0, 0.0, 3.0]);
        assert!(weights(1e9, &[1.0, 2.0, 4.0]).iter().all(|w| (w - 1.0).abs() < 1e-6));
    }

    #[test]
    fn zero_distances_weigh_nothing_and_the_mean_stays_one() {
        let w = weights(1.0, &[0.0, 1.0, 2.0, 0.0]);
        assert_eq!((w[0], w[3]), (0.0, 0.0));
        assert!((w.iter().sum::<f32>() - 4.0).abs() < 1e-5, "{w:?}");
        assert_eq!(weights(1.0, &[0.0, 0.0]), [0.0, 0.0]);
        assert!(weights(1.0, &[]).is_empty());
    }

    #[test]
    fn equal_distances_weigh_alike() {
        assert_eq!(weights(1.0, &[2.5; 3]), [1.0; 3]);
    }

    #[test]
    fn extreme_scales_stay_finite_and_ordered() {
        for scale in [1e-44f32, 1.0, 1e37] {
            let w = weights(0.01, &[scale, 2.0 * scale, 9.0 * scale]);
            assert!(w.iter().all(|w| w.is_finite()) && w.is_sorted(), "{w:?}");
        }
    }

    #[test]
    fn a_temperature_must_be_positive() {
        for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Options { temperature }.validate().is_err(), "{temperature}");
        }
    }
}

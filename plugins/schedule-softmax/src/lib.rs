//! Weights by a softmax over standardised distances: a temperature decides how much the far pairs count.

use ldalign_sdk::{Error, Host, Level, PluginOptions, StepContext, WeightSchedule};

/// How sharp the softmax is.
#[derive(Debug, Clone, Copy, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// In standard deviations, above 0: a pair this much farther than another counts e times as much.
    /// Towards 0 only the farthest pair counts, towards infinity all pairs count alike.
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
    options: Options,
    host: Host,
    round: Option<Round>,
}

impl WeightSchedule for Softmax {
    const ID: &'static str = "softmax";
    const SUMMARY: &'static str = "weights by a softmax with temperature over standardised distances, mean 1";
    type Options = Options;

    fn new(options: Options, host: Host) -> Result<Self, Error> {
        Ok(Self { options, host, round: None })
    }

    fn begin_round(&mut self, distances: &[f32]) -> Result<(), Error> {
        if !distances.is_empty() && distances.iter().all(|&d| d == 0.0) {
            self.host.log(Level::Warn, "every distance of the round is 0: no pair gets any weight");
        }
        self.round = Some(Round::new(self.options, distances)?);
        Ok(())
    }

    fn weights(&self, _at: StepContext, distances: &[f32], out: &mut [f32]) -> Result<(), Error> {
        let round = self.round.as_ref().ok_or_else(|| Error::input("softmax needs begin_round before weights"))?;
        for (out, &d) in out.iter_mut().zip(distances) {
            *out = round.weight(d);
        }
        Ok(())
    }
}

/// What one round's distances fix: `w(d) = scale exp((d - largest) / width)`.
struct Round {
    /// Largest distance: the exponent is never positive, so nothing overflows.
    largest: f64,
    /// Temperature times standard deviation.
    width: f64,
    /// Weight of the largest distance.
    scale: f64,
}

impl Round {
    fn new(options: Options, distances: &[f32]) -> Result<Self, Error> {
        let taking_part = || distances.iter().map(|&d| f64::from(d)).filter(|&d| d != 0.0);
        let n = taking_part().count() as f64;
        if n == 0.0 {
            return Ok(Self { largest: 0.0, width: 0.0, scale: 0.0 });
        }
        let mean = taking_part().sum::<f64>() / n;
        let deviation = (taking_part().map(|d| (d - mean).powi(2)).sum::<f64>() / n).sqrt();
        if !deviation.is_finite() {
            return Err(Error::input("a distance of the round is not finite"));
        }
        let largest = taking_part().fold(0.0, f64::max);
        let mut round = Self { largest, width: options.temperature * deviation, scale: 1.0 };
        round.scale = distances.len() as f64 / taking_part().map(|d| round.share(d)).sum::<f64>();
        Ok(round)
    }

    /// Weight of a distance above 0, relative to that of the largest; 1 for all where they do not differ.
    fn share(&self, d: f64) -> f64 {
        match self.largest - d {
            gap if gap <= 0.0 => 1.0,
            gap => (-gap / self.width).exp(),
        }
    }

    fn weight(&self, d: f32) -> f32 {
        if d == 0.0 { 0.0 } else { (self.scale * self.share(f64::from(d))) as f32 }
    }
}

ldalign_sdk::export_plugin! { schedules: [Softmax] }

#[cfg(test)]
ldalign_conformance::conforms!();

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn weights(temperature: f64, distances: &[f32]) -> Vec<f32> {
        let at = StepContext { round: 0, rounds: 1, step: 0, total_steps: 1 };
        let mut schedule = Softmax::new(Options { temperature }, Host::stand_in()).unwrap();
        assert!(schedule.weights(at, &[], &mut []).is_err(), "before begin_round");
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
        assert!(Round::new(Options::default(), &[1.0, f32::INFINITY]).is_err());
    }

    #[test]
    fn a_temperature_must_be_positive() {
        for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Options { temperature }.validate().is_err(), "{temperature}");
        }
    }
}

//! Minkowski distance `(sum |a - b|^p)^(1/p)`: a third party's plugin, whole.

use ldalign_sdk::{DistanceMetric, Error, Host, Latent, MetricProperties, PluginOptions, export_plugin};

/// What a config may say under `options:`.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Options {
    /// 1 is the Manhattan distance, 2 the Euclidean; larger values look more and more at the largest difference alone.
    p: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { p: 1.0 }
    }
}

impl PluginOptions for Options {
    fn validate(&self) -> Result<(), Error> {
        if self.p >= 1.0 && self.p.is_finite() {
            Ok(())
        } else {
            Err(Error::options(format!("p = {} gives no distance: it must be a number of at least 1", self.p)))
        }
    }
}

struct Minkowski {
    p: f64,
}

impl DistanceMetric for Minkowski {
    const ID: &'static str = "minkowski";
    const SUMMARY: &'static str = "Minkowski distance of order p";
    const PROPERTIES: MetricProperties = MetricProperties { symmetric: true, zero_on_equal: true, triangle: true };
    type Options = Options;

    fn new(options: Options, _host: Host) -> Result<Self, Error> {
        Ok(Self { p: options.p })
    }

    fn distance(&self, a: Latent<'_>, b: Latent<'_>) -> Result<f32, Error> {
        let differences = || a.values().iter().zip(b.values()).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
        if !differences().all(f64::is_finite) {
            return Err(Error::input("a latent holds a NaN or an infinity"));
        }
        // Relative to the largest, no power overflows.
        let largest = differences().fold(0.0, f64::max);
        if largest == 0.0 {
            return Ok(0.0);
        }
        let sum: f64 = differences().map(|d| (d / largest).powf(self.p)).sum();
        Ok((largest * sum.powf(1.0 / self.p)) as f32)
    }
}

export_plugin! { distances: [Minkowski] }

// Everything that `ldalign plugin check` does, as a test.
#[cfg(test)]
ldalign_conformance::conforms!();

#[cfg(test)]
mod tests {
    use super::*;

    fn distance(p: f64, a: &[f32], b: &[f32]) -> f32 {
        let metric = Minkowski::new(Options { p }, Host::stand_in()).expect("valid options");
        metric.distance(Latent::new(a, a.len()), Latent::new(b, b.len())).expect("a distance")
    }

    #[test]
    fn known_orders() {
        let (a, b) = ([0.0, 0.0, 1.0], [3.0, -4.0, 1.0]);
        assert_eq!(distance(1.0, &a, &b), 7.0);
        assert_eq!(distance(2.0, &a, &b), 5.0);
        assert!((distance(200.0, &a, &b) - 4.0).abs() < 1e-5, "towards the largest difference");
    }

    #[test]
    fn zero_between_equals_and_finite_for_large_numbers() {
        assert_eq!(distance(3.0, &[1.5, -2.0], &[1.5, -2.0]), 0.0);
        assert_eq!(distance(50.0, &[1e30], &[-1e30]), 2e30);
    }

    #[test]
    fn p_below_one_is_refused() {
        for p in [0.5, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Options { p }.validate().is_err(), "{p}");
        }
    }
}

//! Euclidean distance between latents, plain or squared: the norm ||phi(x, y) - phi(x, y')|| of the paper (arXiv
//! 2404.06390).
//!
//! Also the model to copy when writing a distance. A plugin is four things: options, a type, the trait, and one line
//! that exports it.

use ldalign_sdk::{DistanceMetric, Error, Host, Latent, MetricProperties, PluginOptions};

/// What a config may say under `options`. Doc comments become the option's description in `plugin info`; unknown keys
/// are refused; `default` makes every key optional.
#[derive(Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Give the squared distance: far pairs then gain weight faster.
    squared: bool,
}

// Ranges of numbers would be checked in `validate`, a method of this trait.
impl PluginOptions for Options {}

/// The metric, holding whatever it needs between calls.
pub struct Euclidean {
    squared: bool,
}

impl DistanceMetric for Euclidean {
    const ID: &'static str = "euclidean";
    const SUMMARY: &'static str = "Euclidean distance between two latents, plain or squared";
    // Squared, the triangle inequality fails; promises hold for all options.
    const PROPERTIES: MetricProperties = MetricProperties { symmetric: true, zero_on_equal: true, triangle: false };
    type Options = Options;

    fn new(options: Options, _host: Host) -> Result<Self, Error> {
        Ok(Self { squared: options.squared })
    }

    /// Summed in f64: with hundreds of dimensions an f32 sum loses digits, and a square of an f32 cannot overflow an
    /// f64.
    fn distance(&self, a: Latent<'_>, b: Latent<'_>) -> Result<f32, Error> {
        let sum: f64 = a.values().iter().zip(b.values()).map(|(a, b)| (*a as f64 - *b as f64).powi(2)).sum();
        Ok(if self.squared { sum } else { sum.sqrt() } as f32)
    }
}

// Makes the library a plugin. Lists may hold several types; `encoders` and `schedules` are the other kinds.
ldalign_sdk::export_plugin! { distances: [Euclidean] }

// One test that runs everything `ldalign plugin check` does.
#[cfg(test)]
ldalign_conformance::conforms! { "euclidean": {}, "euclidean": { "squared": true } }

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn distance(squared: bool, a: &[f32], b: &[f32]) -> f32 {
        // `Host::stand_in` is a host for tests.
        let metric = Euclidean::new(Options { squared }, Host::stand_in()).unwrap();
        metric.distance(Latent::new(a, a.len()), Latent::new(b, b.len())).unwrap()
    }

    #[test]
    fn three_four_five() {
        assert_eq!(distance(false, &[0.0, 1.0], &[3.0, 5.0]), 5.0);
        assert_eq!(distance(true, &[0.0, 1.0], &[3.0, 5.0]), 25.0);
    }

    #[test]
    fn equal_latents_are_at_zero_and_order_does_not_matter() {
        let (a, b) = ([0.1, -7.5, 3e-20], [1.5, 2.25, -0.0]);
        assert_eq!(distance(false, &a, &a), 0.0);
        assert_eq!(distance(false, &a, &b), distance(false, &b, &a));
    }

    #[test]
    fn large_and_small_numbers_neither_overflow_nor_vanish() {
        assert_eq!(distance(false, &[3e30, 0.0], &[0.0, 4e30]), 5e30);
        assert_eq!(distance(false, &[3e-30, 0.0], &[0.0, 4e-30]), 5e-30);
    }
}

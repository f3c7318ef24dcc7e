//! __NAME__: the mean absolute difference between two latents, to be replaced by a distance of your own.

use ldalign_sdk::{DistanceMetric, Error, Host, Latent, MetricProperties, PluginOptions};

/// What a config may say under `options:`. Doc comments are what `ldalign plugin info --options` shows; unknown keys
/// are refused.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Options {
    /// Factor by which distances are multiplied, in 0.001..=1000.
    #[schemars(range(min = 0.001, max = 1000.0))]
    scale: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { scale: 1.0 }
    }
}

impl PluginOptions for Options {
    /// Checks what types cannot say; called before any model is loaded.
    fn validate(&self) -> Result<(), Error> {
        if !(0.001..=1000.0).contains(&self.scale) {
            return Err(Error::options(format!("scale {} must lie in 0.001..=1000", self.scale)));
        }
        Ok(())
    }
}

struct Metric {
    scale: f64,
}

impl DistanceMetric for Metric {
    const ID: &'static str = "__NAME__";
    const SUMMARY: &'static str = "mean absolute difference";
    // Promise only what holds for all options: the tests below hold you to it.
    const PROPERTIES: MetricProperties = MetricProperties { symmetric: true, zero_on_equal: true, triangle: true };
    type Options = Options;

    fn new(options: Options, _host: Host) -> Result<Self, Error> {
        Ok(Self { scale: options.scale })
    }

    /// Distance of one pair: finite and at least 0. Sums are in f64, where f32 numbers neither overflow nor get lost.
    fn distance(&self, a: Latent<'_>, b: Latent<'_>) -> Result<f32, Error> {
        let differences = a.values().iter().zip(b.values()).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
        let mean = differences.sum::<f64>() / a.values().len() as f64;
        if !mean.is_finite() {
            return Err(Error::input("a latent holds a NaN or an infinity"));
        }
        Ok((self.scale * mean).min(f64::from(f32::MAX)) as f32)
    }
}

ldalign_sdk::export_plugin! { distances: [Metric] }
__CONFORMS__
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_distances() {
        let metric = Metric::new(Options { scale: 2.0 }, Host::stand_in()).expect("valid options");
        let distance = |a: &[f32], b: &[f32]| metric.distance(Latent::new(a, 2), Latent::new(b, 2)).expect("a distance");
        assert_eq!(distance(&[0.0, 1.0], &[3.0, 5.0]), 7.0);
        assert_eq!(distance(&[0.5, 1.0], &[0.5, 1.0]), 0.0);
    }

    #[test]
    fn a_scale_out_of_bounds_is_refused() {
        for scale in [0.0, -1.0, 1e4, f64::NAN] {
            assert!(Options { scale }.validate().is_err(), "{scale}");
        }
    }
}

//! A metric learned from annotated triplets (golden, better, worse): the weights of dimensions under which better
//! responses lie nearer to the golden one than worse ones do.
//!
//! What the triplets' latents are is read from files as `ldalign score` writes them, so that the run's own encoder has
//! made them.

mod fit;
mod triplets;

use ldalign_sdk::{DistanceMetric, Error, Host, Latent, Latents, Level, MetricProperties, PluginOptions};
use std::path::PathBuf;
use triplets::Triplets;

/// Where the annotated latents lie, and how far the metric may leave the Euclidean one.
#[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// latents.safetensors of a `score` whose losing responses were the better ones; a relative path starts where the
    /// program was started.
    pub better: PathBuf,
    /// latents.safetensors of a `score` on the same rows, whose losing responses were the worse ones.
    pub worse: PathBuf,
    /// Pull towards Euclidean distance, above 0: large values stay there, small ones trust the triplets.
    #[serde(default = "ridge")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub ridge: f64,
}

fn ridge() -> f64 {
    0.3
}

impl PluginOptions for Options {
    fn validate(&self) -> Result<(), Error> {
        match self.ridge {
            ridge if ridge > 0.0 && ridge.is_finite() => Ok(()),
            ridge => Err(Error::options(format!("ridge {ridge} must be a number above 0"))),
        }
    }
}

/// `sqrt(sum_k w_k (a_k - b_k)^2)`, w at least 0.
pub struct Learned {
    host: Host,
    ridge: f64,
    triplets: Triplets,
    /// One for each number of a latent, once fitted.
    weights: Option<Vec<f64>>,
}

impl DistanceMetric for Learned {
    const ID: &'static str = "learned";
    const SUMMARY: &'static str = "weighted Euclidean distance, its weights fitted on annotated triplets";
    // A norm of the weighted difference.
    const PROPERTIES: MetricProperties = MetricProperties { symmetric: true, zero_on_equal: true, triangle: true };
    type Options = Options;

    /// Reads the files, so that a fault in them is told before any model is loaded.
    fn new(options: Options, host: Host) -> Result<Self, Error> {
        let triplets = Triplets::read(&options.better, &options.worse)?;
        Ok(Self { host, ridge: options.ridge, triplets, weights: None })
    }

    /// Fits on the triplets alone; of the round's latents only the shape matters.
    fn fit(&mut self, golden: Latents<'_>, _generated: Latents<'_>) -> Result<(), Error> {
        self.triplets.expect(golden.shape())?;
        let weights = fit::weights(&self.triplets.differences(), self.ridge)?;
        let share = |ones: &[f64]| 100.0 * self.triplets.in_order(ones);
        self.host.log(
            Level::Info,
            &format!(
                "of {} triplets {:.1} % are in order, {:.1} % by Euclidean distance (the triplets that were fitted on)",
                self.triplets.len(),
                share(&weights),
                share(&vec![1.0; weights.len()])
            ),
        );
        self.weights = Some(weights);
        Ok(())
    }

    fn distance(&self, a: Latent<'_>, b: Latent<'_>) -> Result<f32, Error> {
        let weights = self
            .weights
            .as_ref()
            .ok_or_else(|| Error::input("learned has no weights yet: fit it, or load a fitted state, first"))?;
        if a.values().len() != weights.len() {
            let (ours, theirs) = (weights.len(), a.values().len());
            return Err(Error::input(format!(
                "learned was fitted on latents of {ours} numbers and got one of {theirs}"
            )));
        }
        let distance = triplets::squared(weights, a.values(), b.values()).sqrt() as f32;
        if distance.is_finite() {
            Ok(distance)
        } else {
            Err(Error::input("the latents are not finite or too far apart"))
        }
    }

    fn save(&self) -> Result<Vec<u8>, Error> {
        Ok(self.weights.iter().flatten().flat_map(|w| w.to_le_bytes()).collect())
    }

    fn load(&mut self, state: &[u8]) -> Result<(), Error> {
        let (numbers, rest) = state.as_chunks::<8>();
        let weights: Vec<f64> = numbers.iter().map(|b| f64::from_le_bytes(*b)).collect();
        if !rest.is_empty() || !weights.iter().all(|w| w.is_finite() && *w >= 0.0) {
            return Err(Error::state(format!("{} bytes that are not weights of at least 0", state.len())));
        }
        self.weights = (!weights.is_empty()).then_some(weights);
        Ok(())
    }
}

ldalign_sdk::export_plugin! { distances: [Learned] }

#[cfg(test)]
ldalign_conformance::conforms! { "learned" [2, 3]: { "better": "fixtures/better.safetensors", "worse": "fixtures/worse.safetensors" } }

#[cfg(test)]
mod tests;

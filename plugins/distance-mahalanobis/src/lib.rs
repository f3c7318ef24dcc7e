//! Mahalanobis distance: differences measured in units of how much the latents of the round vary in that direction.

mod covariance;

use covariance::Cholesky;
use ldalign_sdk::{DistanceMetric, Error, Host, Latent, Latents, Level, MetricProperties, PluginOptions};

/// How the covariance is estimated.
#[derive(Debug, Clone, Copy, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Share of the scaled identity in the covariance, in 0..=1: 0 takes the sample covariance as it is, 1 is a scaled
    /// Euclidean distance. By default estimated from the latents (Ledoit and Wolf 2004).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub shrinkage: Option<f64>,
}

impl PluginOptions for Options {
    fn validate(&self) -> Result<(), Error> {
        match self.shrinkage {
            Some(s) if !(0.0..=1.0).contains(&s) => Err(Error::options(format!("shrinkage {s} must lie in 0..=1"))),
            _ => Ok(()),
        }
    }
}

/// `sqrt((a - b)' C^-1 (a - b))`, C the shrunk covariance of all golden and generated latents of the round, flattened.
pub struct Mahalanobis {
    options: Options,
    host: Host,
    /// Factor of the covariance, once fitted.
    factor: Option<Cholesky>,
}

impl DistanceMetric for Mahalanobis {
    const ID: &'static str = "mahalanobis";
    const SUMMARY: &'static str = "distance under the shrunk covariance of the round's latents";
    // A norm of the difference, so the triangle inequality holds.
    const PROPERTIES: MetricProperties = MetricProperties { symmetric: true, zero_on_equal: true, triangle: true };
    type Options = Options;

    fn new(options: Options, host: Host) -> Result<Self, Error> {
        Ok(Self { options, host, factor: None })
    }

    fn fit(&mut self, golden: Latents<'_>, generated: Latents<'_>) -> Result<(), Error> {
        let rows: Vec<&[f32]> = golden.iter().chain(generated.iter()).map(|latent| latent.values()).collect();
        let fit = covariance::fit(&rows, self.options.shrinkage)?;
        self.host.log(
            Level::Info,
            &format!(
                "covariance of {} latents of {} numbers, shrinkage {:.4}",
                rows.len(),
                rows[0].len(),
                fit.shrinkage
            ),
        );
        self.factor = Some(fit.factor);
        Ok(())
    }

    fn distance(&self, a: Latent<'_>, b: Latent<'_>) -> Result<f32, Error> {
        distance(self.factor.as_ref(), a.values(), b.values())
    }

    fn save(&self) -> Result<Vec<u8>, Error> {
        Ok(self.factor.as_ref().map(Cholesky::to_bytes).unwrap_or_default())
    }

    fn load(&mut self, state: &[u8]) -> Result<(), Error> {
        self.factor = if state.is_empty() { None } else { Some(Cholesky::from_bytes(state)?) };
        Ok(())
    }
}

fn distance(factor: Option<&Cholesky>, a: &[f32], b: &[f32]) -> Result<f32, Error> {
    let factor = factor.ok_or_else(|| {
        Error::input("mahalanobis has no covariance yet: fit it on the round's latents, or load a fitted state, first")
    })?;
    if a.len() != factor.dim() {
        return Err(Error::input(format!(
            "mahalanobis was fitted on latents of {} numbers and got one of {}",
            factor.dim(),
            a.len()
        )));
    }
    let difference = a.iter().zip(b).map(|(&a, &b)| f64::from(a) - f64::from(b)).collect();
    let distance = factor.norm_of_solution(difference) as f32;
    if distance.is_finite() { Ok(distance) } else { Err(Error::input("the latents are not finite or too far apart")) }
}

ldalign_sdk::export_plugin! { distances: [Mahalanobis] }

#[cfg(test)]
ldalign_conformance::conforms!();

#[cfg(test)]
mod tests;

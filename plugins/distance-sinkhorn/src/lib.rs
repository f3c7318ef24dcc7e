//! Entropic optimal transport between the slots of two latents: what it costs to move one set of vectors onto the
//! other.
//!
//! Two metrics: `sinkhorn`, the debiased divergence (Feydy et al. 2019), and `sinkhorn-cost`, the regularised cost
//! itself (Cuturi 2013), which is cheaper and above 0 also between equal latents.

mod transport;

use ldalign_sdk::{DistanceMetric, Error, Host, Latent, MetricProperties, PluginOptions};

/// How much entropy, and how long to iterate.
#[derive(Debug, Clone, Copy, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Regularisation as a share of the mean distance between the slots of both latents; 0.001..=1000. Small values
    /// come near the unregularised transport and take more iterations; large ones compare the sets more and more by
    /// mean distances alone.
    #[schemars(range(min = 0.001, max = 1000.0))]
    pub epsilon: f64,
    /// Iterations at most, at least 1.
    #[schemars(range(min = 1))]
    pub max_iterations: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { epsilon: 0.1, max_iterations: 500 }
    }
}

impl PluginOptions for Options {
    fn validate(&self) -> Result<(), Error> {
        if !(1e-3..=1e3).contains(&self.epsilon) {
            return Err(Error::options(format!("epsilon {} must lie in 0.001..=1000", self.epsilon)));
        }
        if self.max_iterations == 0 {
            return Err(Error::options("max_iterations must be at least 1"));
        }
        Ok(())
    }
}

/// `OT(a, b)`, or where debiased `OT(a, b) - OT(a, a) / 2 - OT(b, b) / 2`, with Euclidean distances between slots as
/// costs.
pub struct Sinkhorn<const DEBIASED: bool>(Options);

impl<const DEBIASED: bool> DistanceMetric for Sinkhorn<DEBIASED> {
    const ID: &'static str = if DEBIASED { "sinkhorn" } else { "sinkhorn-cost" };
    const SUMMARY: &'static str = if DEBIASED {
        "debiased Sinkhorn divergence between the slots of two latents"
    } else {
        "entropic optimal transport cost between the slots of two latents"
    };
    const PROPERTIES: MetricProperties = MetricProperties { symmetric: true, zero_on_equal: DEBIASED, triangle: false };
    type Options = Options;

    fn new(options: Options, _: Host) -> Result<Self, Error> {
        Ok(Self(options))
    }

    fn distance(&self, a: Latent<'_>, b: Latent<'_>) -> Result<f32, Error> {
        let (a, b): (Vec<&[f32]>, Vec<&[f32]>) = (a.slots().collect(), b.slots().collect());
        let between = transport::costs(&a, &b);
        let mean = between.iter().sum::<f64>() / between.len() as f64;
        if !mean.is_finite() {
            return Err(Error::input("a latent holds a NaN or an infinity; sinkhorn needs finite numbers"));
        }
        // One slot has one way to go; and where all slots coincide there is none.
        if a.len() == 1 || mean == 0.0 {
            return Ok(mean as f32);
        }
        // Relative to the mean cost, so that the scale of latents does not matter; the same for all three terms.
        let epsilon = self.0.epsilon * mean;
        let cost = |costs: &[f64]| transport::cost(costs, a.len(), epsilon, self.0.max_iterations);
        let mut d = cost(&between);
        if DEBIASED {
            d -= 0.5 * cost(&transport::costs(&a, &a)) + 0.5 * cost(&transport::costs(&b, &b));
        }
        Ok(d.max(0.0) as f32)
    }
}

ldalign_sdk::export_plugin! { distances: [Sinkhorn<true>, Sinkhorn<false>] }

#[cfg(test)]
ldalign_conformance::conforms! { "sinkhorn": {}, "sinkhorn": { "epsilon": 1.0 }, "sinkhorn-cost": {} }

#[cfg(test)]
mod tests;

//! The distance kind: how far apart two latents are.

use crate::{Error, Host, Latent, Latents, PluginOptions};

/// What a metric promises; `plugin check` tests exactly what is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricProperties {
    /// d(a, b) = d(b, a).
    pub symmetric: bool,
    /// d(a, a) = 0.
    pub zero_on_equal: bool,
    /// d(a, c) <= d(a, b) + d(b, c).
    pub triangle: bool,
}

/// A distance between the latents of a golden and of a generated response.
///
/// Two members are required: [`new`](Self::new) and [`distance`](Self::distance).
/// The host calls from one thread or several; values must be finite and at least 0.
pub trait DistanceMetric: Sized + Send + Sync + 'static {
    /// Name by which a config chooses this metric, such as `euclidean`.
    const ID: &'static str;
    /// One sentence for listings.
    const SUMMARY: &'static str;
    /// What the metric promises beyond finite values of at least 0.
    const PROPERTIES: MetricProperties = MetricProperties { symmetric: true, zero_on_equal: true, triangle: false };
    /// Typed options; `()`-like for none: see [`crate::NoOptions`].
    type Options: PluginOptions;

    // ---- set-up, once
    /// Builds the metric. An error here is reported before any model is loaded.
    fn new(options: Self::Options, host: Host) -> Result<Self, Error>;
    /// Learns from the round's latents before the first distance (golden and generated, pair i at index i of both).
    fn fit(&mut self, _golden: Latents<'_>, _generated: Latents<'_>) -> Result<(), Error> {
        Ok(())
    }

    // ---- hot path
    /// Distance of one pair.
    fn distance(&self, a: Latent<'_>, b: Latent<'_>) -> Result<f32, Error>;
    /// Distances of many pairs: `out[i] = distance(a[i], b[i])`. Override for speed; results must equal the default's.
    fn distances(&self, a: Latents<'_>, b: Latents<'_>, out: &mut [f32]) -> Result<(), Error> {
        for ((out, a), b) in out.iter_mut().zip(a.iter()).zip(b.iter()) {
            *out = self.distance(a, b)?;
        }
        Ok(())
    }

    // ---- state: what `fit` learned
    /// Bytes that [`load`](Self::load) turns into the same metric; empty when `fit` learns nothing.
    fn save(&self) -> Result<Vec<u8>, Error> {
        Ok(Vec::new())
    }
    /// Restores what [`save`](Self::save) wrote.
    fn load(&mut self, _state: &[u8]) -> Result<(), Error> {
        Ok(())
    }
}

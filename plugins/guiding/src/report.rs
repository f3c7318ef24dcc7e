//! What a fit reports: how much the latent tells the decoder.

use candle_core::{Result, Tensor};
use ldalign_sdk::FitReport;

/// Nats per response token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Likelihoods {
    /// With each sample's own latent.
    pub with: f64,
    /// Without latent.
    pub without: f64,
    /// With the latent of another row.
    pub shuffled: f64,
}

impl Likelihoods {
    /// What the right latent is better than, of no latent and of another row's: a latent may also help, or harm, by
    /// what it has in common with all others, which says nothing of the response.
    pub fn gain(self) -> f64 {
        self.without.min(self.shuffled) - self.with
    }

    /// The figures under the names that diagnostics know.
    pub fn report(self, measured: usize, held_out: usize) -> FitReport {
        [
            ("nll_with_latent", self.with),
            ("nll_without_latent", self.without),
            ("nll_shuffled_latent", self.shuffled),
            ("latent_gain", self.gain()),
            ("measured_samples", measured as f64),
            ("held_out_samples", held_out as f64),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }
}

/// How many directions latents [n, dim] use: (sum of the covariance's eigenvalues)^2 / sum of their squares; 0 where
/// all are the same point.
pub fn effective_rank(latents: &Tensor) -> Result<f64> {
    let x = latents.broadcast_sub(&latents.mean_keepdim(0)?)?;
    // Its eigenvalues are the covariance's, and their trace and norm need no decomposition.
    let squares = |t: &Tensor| t.sqr()?.sum_all()?.to_scalar::<f32>().map(f64::from);
    let (trace, norm) = (squares(&x)?, squares(&x.matmul(&x.t()?)?)?);
    Ok(if norm > 0.0 { trace * trace / norm } else { 0.0 })
}

//! How many directions latents use.

use crate::Result;
use candle_core::{Device, Tensor};

/// Latents of a set looked at: more tell nothing new of the spectrum and cost memory.
const SAMPLE: usize = 1024;

/// Indices of the latents to look at in a set of `n`: of more than 1,024 as many evenly spaced ones.
pub fn evenly_spaced(n: usize) -> Vec<usize> {
    let taken = n.min(SAMPLE);
    (0..taken).map(|i| i * n / taken).collect()
}

/// Effective rank of the covariance of latents [n, dim]: (sum of eigenvalues)^2 / sum of their squares (the
/// participation ratio), 1 where they lie on a line, 0 where all are the same point.
pub fn effective_rank(latents: Vec<f32>, dim: usize) -> Result<f64> {
    let taken = latents.len() / dim.max(1);
    let x = Tensor::from_vec(latents, (taken, dim), &Device::Cpu)?;
    let x = x.broadcast_sub(&x.mean_keepdim(0)?)?;
    // Both products have the covariance's eigenvalues, and their trace and norm need no decomposition.
    let product = if dim <= taken { x.t()?.matmul(&x)? } else { x.matmul(&x.t()?)? };
    let squares = |t: &Tensor| -> Result<f64> {
        Ok(t.flatten_all()?.to_vec1::<f32>()?.iter().map(|v| f64::from(*v).powi(2)).sum())
    };
    let (trace, norm) = (squares(&x)?, squares(&product)?);
    Ok(if norm > 0.0 { trace * trace / norm } else { 0.0 })
}

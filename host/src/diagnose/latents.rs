//! How many directions latents use.

use crate::Result;
use candle_core::{Device, Tensor};

/// Latents looked at: more tell nothing new of the spectrum and cost memory.
const SAMPLE: usize = 2048;

/// Effective rank of the covariance of latents [n, dim]: (sum of eigenvalues)^2 / sum of their squares (the participation
/// ratio), 1 where they lie on a line, 0 where all are the same point. Of more than 2,048 latents, as many evenly spaced ones.
pub fn effective_rank(latents: &[f32], dim: usize) -> Result<f64> {
    let n = latents.len() / dim.max(1);
    let taken = n.min(SAMPLE);
    let rows: Vec<f32> = (0..taken).flat_map(|i| &latents[i * n / taken * dim..][..dim]).copied().collect();
    let x = Tensor::from_vec(rows, (taken, dim), &Device::Cpu)?;
    let x = x.broadcast_sub(&x.mean_keepdim(0)?)?;
    // Both products have the covariance's eigenvalues, and their trace and norm need no decomposition.
    let product = if dim <= taken { x.t()?.matmul(&x)? } else { x.matmul(&x.t()?)? };
    let squares = |t: &Tensor| -> Result<f64> {
        Ok(t.flatten_all()?.to_vec1::<f32>()?.iter().map(|v| f64::from(*v).powi(2)).sum())
    };
    let (trace, norm) = (squares(&x)?, squares(&product)?);
    Ok(if norm > 0.0 { trace * trace / norm } else { 0.0 })
}

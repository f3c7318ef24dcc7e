//! How many directions latents use.

use crate::Result;
use candle_core::{Device, Tensor};

/// Latents of a part looked at: more tell nothing new of the spectrum and cost memory.
const SAMPLE: usize = 1024;

/// Effective rank of the covariance of latents [n, dim]: (sum of eigenvalues)^2 / sum of their squares (the participation
/// ratio), 1 where they lie on a line, 0 where all are the same point. The latents are given in parts; of a part with more
/// than 1,024 as many evenly spaced ones are taken.
pub fn effective_rank(parts: &[&[f32]], dim: usize) -> Result<f64> {
    let mut rows = Vec::new();
    for part in parts {
        let n = part.len() / dim.max(1);
        let taken = n.min(SAMPLE);
        rows.extend((0..taken).flat_map(|i| &part[i * n / taken * dim..][..dim]).copied());
    }
    let taken = rows.len() / dim.max(1);
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

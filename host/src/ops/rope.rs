//! Rotary position embedding (Su et al. 2021, arXiv 2104.09864), halves rotated as Hugging Face's models do.

use super::{
    buffer::{update, with},
    has_kernels,
    simd::{self, Level},
};
use candle_core::{Device, Result, Tensor, bail};
use rayon::prelude::*;

/// Cosines and sines of the tokens' positions, [tokens, head_dim / 2] each.
pub struct Angles {
    cos: Tensor,
    sin: Tensor,
}

impl Angles {
    /// Angles of `positions` for each of `frequencies`.
    pub fn new(positions: &[u32], frequencies: &[f32], device: &Device) -> Result<Self> {
        let table = |f: fn(f32) -> f32| {
            let values = positions.iter().flat_map(|p| frequencies.iter().map(move |w| f(*p as f32 * w)));
            Tensor::from_vec(values.collect(), (positions.len(), frequencies.len()), device)
        };
        Ok(Self { cos: table(f32::cos)?, sin: table(f32::sin)? })
    }
}

/// Rotates every head of x [tokens, heads * dim] by the angles of its token, in the memory of x.
pub fn rope(x: Tensor, angles: &Angles) -> Result<Tensor> {
    rotated(x, angles, 1.0)
}

/// The gradient by the argument of [`rope`] for the gradient g of its result: the inverse of a rotation is its transpose.
pub fn rope_backward(g: Tensor, angles: &Angles) -> Result<Tensor> {
    rotated(g, angles, -1.0)
}

fn rotated(x: Tensor, Angles { cos, sin }: &Angles, sign: f32) -> Result<Tensor> {
    let ((tokens, width), (rows, half)) = (x.dims2()?, cos.dims2()?);
    if rows != tokens || half == 0 || width % (2 * half) != 0 {
        bail!("rope: x is [{tokens}, {width}] but the angles are [{rows}, {half}]")
    }
    if !has_kernels(&x) {
        return plain(&x, cos, &(sin * f64::from(sign))?);
    }
    with([cos, sin], |[cos, sin]| {
        update(&x, |x| {
            let level = Level::best();
            x.par_chunks_mut(width).enumerate().with_min_len(16).for_each(|(t, x)| {
                let (cos, sin) = (&cos[t * half..(t + 1) * half], &sin[t * half..(t + 1) * half]);
                for head in x.chunks_mut(2 * half) {
                    simd::rotate(level, head, cos, sin, sign);
                }
            });
            Ok(())
        })
    })?;
    Ok(x)
}

/// The rotation in candle's operations.
fn plain(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let ((tokens, width), half) = (x.dims2()?, cos.dim(1)?);
    let x3 = x.reshape((tokens, width / (2 * half), 2 * half))?;
    let (a, b) = (x3.narrow(2, 0, half)?, x3.narrow(2, half, half)?);
    let (cos, sin) = (cos.unsqueeze(1)?, sin.unsqueeze(1)?);
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (a.broadcast_mul(&sin)? + b.broadcast_mul(&cos)?)?;
    Tensor::cat(&[first, second], 2)?.reshape((tokens, width))
}

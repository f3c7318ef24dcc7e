//! Root-mean-square normalisation (Zhang & Sennrich 2019, arXiv 1910.07467).

use super::{
    buffer::{filled, update, with},
    has_kernels,
    simd::{self, Level},
};
use candle_core::{D, Result, Tensor, bail};
use rayon::prelude::*;

/// Rows of one task. Fixed, so that the order of sums does not depend on the number of threads.
const ROWS: usize = 64;

fn inverse_norm(level: Level, x: &[f32], eps: f32) -> f32 {
    1.0 / (simd::dot(level, x, x) / x.len() as f32 + eps).sqrt()
}

/// `x / sqrt(mean(x²) + eps) * w` of each row of x [rows, width], w `[width]`.
pub fn rms_norm(x: &Tensor, w: &Tensor, eps: f64) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    if w.dims() != [width] {
        bail!("rms-norm: x is {:?} but the weight has {:?} numbers", x.dims(), w.dims())
    }
    if !has_kernels(x) {
        return plain(x, w, eps);
    }
    let level = Level::best();
    with([&x.contiguous()?, w], |[x, w]| {
        filled((rows, width), &candle_core::Device::Cpu, None, |out, _| {
            out.par_chunks_mut(width * ROWS).zip(x.par_chunks(width * ROWS)).for_each(|(out, x)| {
                for (out, x) in out.chunks_mut(width).zip(x.chunks(width)) {
                    simd::norm(level, x, w, inverse_norm(level, x, eps as f32), out);
                }
            });
        })
    })
}

/// The gradient by x for the gradient g of [`rms_norm`]'s result, added to `onto` in its memory; the gradient by w, `[width]`, if
/// `want_dw`.
pub fn rms_norm_backward(
    x: &Tensor,
    w: &Tensor,
    eps: f64,
    g: &Tensor,
    onto: Tensor,
    want_dw: bool,
) -> Result<(Tensor, Option<Tensor>)> {
    if !has_kernels(x) {
        return plain_backward(x, w, eps, g, onto, want_dw);
    }
    let (width, level, eps) = (x.dim(1)?, Level::best(), eps as f32);
    let parts: Vec<Option<Vec<f32>>> = with([&x.contiguous()?, w, &g.contiguous()?], |[x, w, g]| {
        let mut parts = vec![];
        update(&onto, |dx| {
            let inputs = x.par_chunks(width * ROWS).zip(g.par_chunks(width * ROWS));
            dx.par_chunks_mut(width * ROWS)
                .zip(inputs)
                .map(|(dx, (x, g))| {
                    let mut dw = want_dw.then(|| vec![0.0; width]);
                    for ((dx, x), g) in dx.chunks_mut(width).zip(x.chunks(width)).zip(g.chunks(width)) {
                        let r = inverse_norm(level, x, eps);
                        let c = simd::dot3(level, x, w, g) * r * r / width as f32;
                        simd::norm_backward(level, x, w, g, r, c, dx);
                        if let Some(dw) = &mut dw {
                            simd::norm_weight(level, x, g, r, dw);
                        }
                    }
                    dw
                })
                .collect_into_vec(&mut parts);
            Ok(())
        })?;
        Ok(parts)
    })?;
    let dw = want_dw.then(|| {
        let mut dw = vec![0.0; width];
        parts.iter().flatten().for_each(|part| simd::axpy(level, 1.0, part, &mut dw));
        Tensor::from_vec(dw, width, w.device())
    });
    Ok((onto, dw.transpose()?))
}

/// [`rms_norm`] in candle's operations.
pub fn plain(x: &Tensor, w: &Tensor, eps: f64) -> Result<Tensor> {
    let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
    x.broadcast_div(&(mean + eps)?.sqrt()?)?.broadcast_mul(w)
}

/// [`rms_norm_backward`] in candle's operations.
fn plain_backward(
    x: &Tensor,
    w: &Tensor,
    eps: f64,
    g: &Tensor,
    onto: Tensor,
    want_dw: bool,
) -> Result<(Tensor, Option<Tensor>)> {
    // With r = 1 / sqrt(mean(x²) + eps): dx = r (g w - x r² mean(x g w)), dw = sum over rows of g x r.
    let r = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?.recip()?;
    let gw = g.broadcast_mul(w)?;
    let c = ((x * &gw)?.mean_keepdim(D::Minus1)? * r.sqr()?)?;
    let dx = (gw - x.broadcast_mul(&c)?)?.broadcast_mul(&r)?;
    let dw = want_dw.then(|| (g * x)?.broadcast_mul(&r)?.sum(0));
    Ok(((onto + dx)?, dw.transpose()?))
}

//! Root-mean-square normalisation.

use super::{
    buffer::{filled, update, with},
    simd::{self, Level},
};
use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

/// Rows of one task. Fixed, so that the order of sums does not depend on the number of threads.
const ROWS: usize = 64;

fn inverse_norm(level: Level, x: &[f32], eps: f32) -> f32 {
    1.0 / (simd::dot(level, x, x) / x.len() as f32 + eps).sqrt()
}

/// `x / sqrt(mean(x²) + eps) * w` of each row of x [rows, width], w `[width]`.
pub fn forward(x: &Tensor, w: &Tensor, eps: f64) -> Result<Tensor> {
    let ((rows, width), level) = (x.dims2()?, Level::best());
    with([&x.contiguous()?, w], |[x, w]| {
        filled((rows, width), &Device::Cpu, None, |out, _| {
            out.par_chunks_mut(width * ROWS).zip(x.par_chunks(width * ROWS)).for_each(|(out, x)| {
                for (out, x) in out.chunks_mut(width).zip(x.chunks(width)) {
                    simd::norm(level, x, w, inverse_norm(level, x, eps as f32), out);
                }
            });
        })
    })
}

/// The gradient with respect to x for the gradient g of the result, added to `onto` in its memory; the one with respect
/// to w, `[width]`, if `want_dw`.
pub fn backward(
    x: &Tensor,
    w: &Tensor,
    eps: f64,
    g: &Tensor,
    onto: Tensor,
    want_dw: bool,
) -> Result<(Tensor, Option<Tensor>)> {
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

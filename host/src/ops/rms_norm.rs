//! Root-mean-square normalisation (Zhang & Sennrich 2019, arXiv 1910.07467).

use super::{
    buffer::{slice, uninit, with},
    simd::{self, Level},
};
use candle_core::{CpuStorage, CustomOp2, D, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// `x / sqrt(mean(x²) + eps) * w` over the last dimension, w `[last]`.
pub fn rms_norm(x: &Tensor, w: &Tensor, eps: f64) -> Result<Tensor> {
    if x.device().is_cpu() {
        x.contiguous()?.apply_op2(&w.contiguous()?, RmsNorm { eps: eps as f32 })
    } else {
        plain(x, w, eps)
    }
}

/// [`rms_norm`] in candle's operations.
pub fn plain(x: &Tensor, w: &Tensor, eps: f64) -> Result<Tensor> {
    let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
    x.broadcast_div(&(mean + eps)?.sqrt()?)?.broadcast_mul(w)
}

struct RmsNorm {
    eps: f32,
}

/// Rows of one task. Fixed, so that the order of sums does not depend on the number of threads.
const ROWS: usize = 64;

impl RmsNorm {
    fn inverse_norm(&self, level: Level, x: &[f32]) -> f32 {
        1.0 / (simd::dot(level, x, x) / x.len() as f32 + self.eps).sqrt()
    }
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }
    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (slice(x, lx)?, slice(w, lw)?);
        let (d, level) = (w.len(), Level::best());
        if d == 0 || lx.dims().last() != Some(&d) {
            bail!("rms-norm: x is {:?} but the weight has {d} numbers", lx.dims())
        }
        // SAFETY: every row is written.
        let mut out = unsafe { uninit(x.len()) };
        out.par_chunks_mut(d * ROWS).zip(x.par_chunks(d * ROWS)).for_each(|(out, x)| {
            for (out, x) in out.chunks_mut(d).zip(x.chunks(d)) {
                simd::norm(level, x, w, self.inverse_norm(level, x), out);
            }
        });
        Ok((CpuStorage::F32(out), lx.shape().clone()))
    }
    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let g = g.contiguous()?;
        let (d, level) = (w.elem_count(), Level::best());
        with([x, w, &g], |[xs, ws, gs]| {
            let chunks = xs.par_chunks(d * ROWS).zip(gs.par_chunks(d * ROWS));
            let dx = || {
                // SAFETY: every row is written.
                let mut dx = unsafe { uninit(xs.len()) };
                dx.par_chunks_mut(d * ROWS).zip(chunks.clone()).for_each(|(dx, (x, g))| {
                    for ((dx, x), g) in dx.chunks_mut(d).zip(x.chunks(d)).zip(g.chunks(d)) {
                        let r = self.inverse_norm(level, x);
                        let c = simd::dot3(level, x, ws, g) * r * r / d as f32;
                        simd::norm_backward(level, x, ws, g, r, c, dx);
                    }
                });
                Tensor::from_vec(dx, x.shape(), x.device())
            };
            let dw = || {
                let parts: Vec<Vec<f32>> = chunks
                    .clone()
                    .map(|(x, g)| {
                        let mut dw = vec![0.0; d];
                        for (x, g) in x.chunks(d).zip(g.chunks(d)) {
                            simd::norm_weight(level, x, g, self.inverse_norm(level, x), &mut dw);
                        }
                        dw
                    })
                    .collect();
                let mut dw = vec![0.0; d];
                parts.iter().for_each(|part| simd::axpy(level, 1.0, part, &mut dw));
                Tensor::from_vec(dw, w.shape(), w.device())
            };
            Ok((x.track_op().then(dx).transpose()?, w.track_op().then(dw).transpose()?))
        })
    }
}

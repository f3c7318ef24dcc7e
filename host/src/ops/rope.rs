//! Rotary position embedding (Su et al. 2021, arXiv 2104.09864), halves rotated as Hugging Face's models do.

use super::{
    buffer::{slice, uninit, with},
    simd::{self, Level},
};
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// Rotates every head of x [tokens, heads * dim] by the angles of its token: cos, sin [tokens, dim / 2].
pub fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() { x.contiguous()?.apply_op3(cos, sin, Rope) } else { plain(x, cos, sin) }
}

/// [`rope`] in candle's operations.
pub fn plain(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let ((tokens, width), half) = (x.dims2()?, cos.dim(1)?);
    let x3 = x.reshape((tokens, width / (2 * half), 2 * half))?;
    let (a, b) = (x3.narrow(2, 0, half)?, x3.narrow(2, half, half)?);
    let (cos, sin) = (cos.unsqueeze(1)?, sin.unsqueeze(1)?);
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (a.broadcast_mul(&sin)? + b.broadcast_mul(&cos)?)?;
    Tensor::cat(&[first, second], 2)?.reshape((tokens, width))
}

struct Rope;

fn rotate(x: &[f32], cos: &[f32], sin: &[f32], tokens: usize, sign: f32) -> Vec<f32> {
    let (width, half, level) = (x.len() / tokens, cos.len() / tokens, Level::best());
    // SAFETY: every head of every token is written.
    let mut out = unsafe { uninit(x.len()) };
    out.par_chunks_mut(width).zip(x.par_chunks(width)).enumerate().with_min_len(16).for_each(|(t, (out, x))| {
        let (cos, sin) = (&cos[t * half..(t + 1) * half], &sin[t * half..(t + 1) * half]);
        for (out, x) in out.chunks_mut(2 * half).zip(x.chunks(2 * half)) {
            simd::rotate(level, x, cos, sin, sign, out);
        }
    });
    out
}

impl CustomOp3 for Rope {
    fn name(&self) -> &'static str {
        "rope"
    }
    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        cos: &CpuStorage,
        lcos: &Layout,
        sin: &CpuStorage,
        lsin: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((tokens, width), (t, half)) = (lx.shape().dims2()?, lcos.shape().dims2()?);
        if t != tokens || lsin.shape().dims2()? != (t, half) || half == 0 || width % (2 * half) != 0 {
            bail!("rope: x is [{tokens}, {width}] but the angles are [{t}, {half}]")
        }
        let out = rotate(slice(x, lx)?, slice(cos, lcos)?, slice(sin, lsin)?, tokens, 1.0);
        Ok((CpuStorage::F32(out), lx.shape().clone()))
    }
    fn bwd(
        &self,
        x: &Tensor,
        cos: &Tensor,
        sin: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        // The inverse of a rotation is its transpose.
        let dx = with([&g.contiguous()?, cos, sin], |[g, cos, sin]| Ok(rotate(g, cos, sin, x.dim(0)?, -1.0)))?;
        Ok((Some(Tensor::from_vec(dx, x.shape(), x.device())?), None, None))
    }
}

//! silu(gate) * up, the gated unit of the feed-forward layers (Shazeer 2020, arXiv 2002.05202).

use super::{
    buffer::{CHUNK, filled, update, with},
    has_kernels,
    simd::{self, Level},
};
use candle_core::{Device, Result, Tensor, bail};
use rayon::prelude::*;

/// `gate * sigmoid(gate) * up`, element by element; both [rows, width].
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if gate.shape() != up.shape() {
        bail!("swiglu: gate is {:?} but up is {:?}", gate.dims(), up.dims())
    }
    if !has_kernels(gate) {
        return gate.silu()? * up;
    }
    let (level, shape) = (Level::best(), gate.dims2()?);
    with([gate, up], |[gate, up]| {
        filled(shape, &Device::Cpu, None, |out, _| {
            out.par_chunks_mut(CHUNK)
                .zip(gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK)))
                .for_each(|(out, (gate, up))| simd::swiglu(level, gate, up, out));
        })
    })
}

/// Gradients by gate and up for the gradient d of [`swiglu`]'s result, in the memory of gate and up.
pub fn swiglu_backward(gate: Tensor, up: Tensor, d: &Tensor) -> Result<(Tensor, Tensor)> {
    if !has_kernels(&gate) {
        // silu' = s + silu (1 - s), with s the sigmoid.
        let s = ((gate.neg()?.exp()? + 1.0)?).recip()?;
        let silu = (&gate * &s)?;
        let slope = (&s + (&silu * (1.0 - &s)?)?)?;
        return Ok((((d * up)? * slope)?, (d * silu)?));
    }
    with([d], |[d]| {
        update(&gate, |gate| {
            update(&up, |up| {
                let level = Level::best();
                gate.par_chunks_mut(CHUNK)
                    .zip(up.par_chunks_mut(CHUNK).zip(d.par_chunks(CHUNK)))
                    .for_each(|(gate, (up, d))| simd::swiglu_backward(level, gate, up, d));
                Ok(())
            })
        })
    })?;
    Ok((gate, up))
}

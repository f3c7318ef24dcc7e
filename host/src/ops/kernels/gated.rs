//! activation(gate) * up, the gated unit of the feed-forward layers.

use super::{
    buffer::{CHUNK, filled, update, with},
    simd::{self, Level},
};
use crate::ops::backend::Activation;
use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

/// `activation(gate) * up`, element by element; both [rows, width].
pub fn forward(activation: Activation, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let (level, shape) = (Level::best(), gate.dims2()?);
    let kernel = match activation {
        Activation::Silu => simd::swiglu,
        Activation::GeluTanh => simd::geglu,
    };
    with([gate, up], |[gate, up]| {
        filled(shape, &Device::Cpu, None, |out, _| {
            out.par_chunks_mut(CHUNK)
                .zip(gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK)))
                .for_each(|(out, (gate, up))| kernel(level, gate, up, out));
        })
    })
}

/// Gradients with respect to gate and up for the gradient d of the result, in the memory of gate and up.
pub fn backward(activation: Activation, gate: Tensor, up: Tensor, d: &Tensor) -> Result<(Tensor, Tensor)> {
    let kernel = match activation {
        Activation::Silu => simd::swiglu_backward,
        Activation::GeluTanh => simd::geglu_backward,
    };
    with([d], |[d]| {
        update(&gate, |gate| {
            update(&up, |up| {
                let level = Level::best();
                gate.par_chunks_mut(CHUNK)
                    .zip(up.par_chunks_mut(CHUNK).zip(d.par_chunks(CHUNK)))
                    .for_each(|(gate, (up, d))| kernel(level, gate, up, d));
                Ok(())
            })
        })
    })?;
    Ok((gate, up))
}

//! Rotary position embedding, in place.

use super::{
    buffer::{update, with},
    simd::{self, Level},
};
use crate::ops::rope::Angles;
use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// Rotates every head by the angles of its token, backwards for `sign` -1.
pub fn rotate(x: Tensor, Angles { cos, sin }: &Angles, sign: f32) -> Result<Tensor> {
    let (width, half) = (x.dim(1)?, cos.dim(1)?);
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

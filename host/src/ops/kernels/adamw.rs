//! AdamW in one pass over memory, and the sum of a gradient's squares.

use super::buffer::{update, with};
use crate::ops::adamw::AdamStep;
use candle_core::{Result, Tensor, Var};
use rayon::prelude::*;

/// Numbers a thread works on at a time. Sums depend on it, not on the number of threads.
const CHUNK: usize = 1 << 15;

/// A step, in place.
pub fn step(step: AdamStep, param: &Var, gradient: &Tensor, [m, v]: &mut [Tensor; 2]) -> Result<()> {
    with([&gradient.contiguous()?], |[gradient]| {
        update(param, |param| {
            update(m, |m| {
                update(v, |v| {
                    param
                        .par_chunks_mut(CHUNK)
                        .zip(m.par_chunks_mut(CHUNK))
                        .zip(v.par_chunks_mut(CHUNK))
                        .zip(gradient.par_chunks(CHUNK))
                        .for_each(|(((p, m), v), g)| on_slices(step, p, m, v, g));
                    Ok(())
                })
            })
        })
    })
}

/// Operation for operation what torch does.
fn on_slices(step: AdamStep, param: &mut [f32], m: &mut [f32], v: &mut [f32], gradient: &[f32]) {
    for (((p, m), v), g) in param.iter_mut().zip(m).zip(v).zip(gradient) {
        let g = g * step.scale;
        *m += (g - *m) * step.new1;
        *v = *v * step.keep2 + step.new2 * g * g;
        *p = *p * step.keep - step.rate * (*m / (v.sqrt() / step.root + step.epsilon));
    }
}

/// In f64, chunk by chunk.
pub fn sum_of_squares(x: &Tensor) -> Result<f64> {
    let squares = |x: &[f32]| x.par_chunks(CHUNK).map(squares).collect::<Vec<f64>>().iter().sum();
    with([&x.contiguous()?], |[x]| Ok(squares(x)))
}

/// Eight sums side by side: one would wait for each addition.
fn squares(x: &[f32]) -> f64 {
    let square = |g: &f32| f64::from(*g) * f64::from(*g);
    let (eights, rest) = x.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for eight in eights {
        sums.iter_mut().zip(eight).for_each(|(sum, g)| *sum += square(g));
    }
    sums.iter().sum::<f64>() + rest.iter().map(square).sum::<f64>()
}

//! Kernels of our own for the CPU, in f32 and with products in f32 or bf16.
//!
//! | module | owns |
//! |---|---|
//! | `product` | matrix products and packing for them; where the time goes |
//! | `simd` | the other arithmetic, one definition compiled for each instruction set |
//! | `buffer` | tensors as slices, writes in place and from several threads |
//! | the others | an operation each, on top of these |

mod adamw;
mod attention;
mod buffer;
mod gated;
mod head;
mod linear;
mod product;
mod rms_norm;
mod rope;
mod simd;

use super::{
    adamw::AdamStep,
    attention::{Attention, LogSums},
    backend::{Activation, Backend, Factor, Precision, Rows},
    rope::Angles,
};
use candle_core::{Result, Tensor, Var};
use simd::Level;

/// The backend of the CPU. Its operations fail for tensors that lie elsewhere or hold no f32.
#[derive(Debug)]
pub struct Kernels;

impl Backend for Kernels {
    fn rms_norm(&self, x: &Tensor, w: &Tensor, eps: f64) -> Result<Tensor> {
        rms_norm::forward(x, w, eps)
    }
    fn rms_norm_backward(
        &self,
        x: &Tensor,
        w: &Tensor,
        eps: f64,
        g: &Tensor,
        onto: Tensor,
        want_dw: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        rms_norm::backward(x, w, eps, g, onto, want_dw)
    }
    fn rotate(&self, x: Tensor, angles: &Angles, sign: f32) -> Result<Tensor> {
        rope::rotate(x, angles, sign)
    }
    fn gated(&self, activation: Activation, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        gated::forward(activation, gate, up)
    }
    fn gated_backward(&self, activation: Activation, gate: Tensor, up: Tensor, d: &Tensor) -> Result<(Tensor, Tensor)> {
        gated::backward(activation, gate, up, d)
    }
    fn attention(&self, spec: &Attention, qkv: [&Tensor; 3], window: Option<usize>) -> Result<(Tensor, LogSums)> {
        attention::forward(spec, qkv, window)
    }
    fn attention_backward(
        &self,
        spec: &Attention,
        qkv: [&Tensor; 3],
        window: Option<usize>,
        result: (&Tensor, &LogSums),
        dout: &Tensor,
    ) -> Result<[Tensor; 3]> {
        attention::backward(spec, qkv, window, result, dout)
    }
    fn rows(&self, x: &Tensor, precision: Precision) -> Result<Rows> {
        linear::rows(x, precision)
    }
    fn product(&self, x: &Rows, w: Factor, onto: Option<Tensor>) -> Result<Tensor> {
        linear::product(x, w, onto)
    }
    fn weight_gradient(&self, dy: &Tensor, x: &Tensor, precision: Precision, onto: Option<Tensor>) -> Result<Tensor> {
        linear::weight_gradient(dy, x, precision, onto)
    }
    fn rounded(&self, w: &Tensor) -> Result<Tensor> {
        linear::rounded(w)
    }
    fn rounded_transposed(&self, w: &Tensor) -> Result<Tensor> {
        linear::rounded_transposed(w)
    }
    fn log_softmax(&self, logits: &Tensor, tokens: &[u32]) -> Result<(Vec<f32>, Vec<f32>)> {
        head::log_softmax(logits, tokens)
    }
    fn log_softmax_backward(&self, logits: Tensor, tokens: &[u32], lse: &[f32], dlogps: &[f32]) -> Result<Tensor> {
        head::log_softmax_backward(logits, tokens, lse, dlogps)
    }
    fn scale(&self, x: Tensor, by: f64) -> Result<Tensor> {
        buffer::scale(x, by)
    }
    fn add_vector(&self, x: Tensor, v: &Tensor) -> Result<Tensor> {
        buffer::add_vector(x, v)
    }
    fn set_rows(&self, dst: &Tensor, src: &Tensor, rows: &[usize]) -> Result<()> {
        buffer::set_rows(dst, src, rows)
    }
    fn add_rows(&self, dst: Tensor, src: &Tensor, rows: &[u32]) -> Result<Tensor> {
        buffer::add_rows(dst, src, rows)
    }
    fn read(&self, x: &Tensor, f: &mut dyn FnMut(&[f32])) -> Result<()> {
        buffer::with([&x.contiguous()?], |[x]| {
            f(x);
            Ok(())
        })
    }
    fn adamw(&self, step: AdamStep, param: &Var, gradient: &Tensor, moments: &mut [Tensor; 2]) -> Result<()> {
        adamw::step(step, param, gradient, moments)
    }
    fn sum_of_squares(&self, x: &Tensor) -> Result<f64> {
        adamw::sum_of_squares(x)
    }
}

/// The largest number; NaN counts for nothing.
pub fn max(x: &[f32]) -> f32 {
    simd::max(Level::best(), x)
}

/// `exp((x - shift) * scale)` of each number.
pub fn exp(x: &[f32], scale: f32, shift: f32) -> Vec<f32> {
    let mut out = x.to_vec();
    simd::exp_scale(Level::best(), &mut out, scale, shift * scale, 1.0);
    out
}

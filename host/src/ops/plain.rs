//! Compositions of candle's operations, on any device: what serves CUDA, and what the kernels are compared with.
//!
//! Attention has a file of its own, and one more for FlashAttention, which takes its forward pass where it is built in.

mod attention;
mod flash;

use super::{
    adamw::AdamStep,
    attention::{Attention, LogSums},
    backend::{Activation, Backend, Factor, Precision, Rows},
    rope::Angles,
    stored::Stored,
};
use candle_core::{D, DType, Device, Result, Tensor, Var};

/// The backend of other devices than the CPU, which can do the CPU too.
#[derive(Debug)]
pub struct Plain {
    /// FlashAttention's kernel, for the heads it can do.
    flash: Option<flash::Kernel>,
}

impl Plain {
    /// The operations for a device.
    pub fn new(device: &Device) -> Self {
        Self { flash: flash::kernel(device) }
    }
}

/// Rows as products read them: contiguous, and rounded if the operands are.
struct Packed {
    x: Tensor,
    /// Type of the rows before, and of products' results.
    activations: DType,
}

/// A tensor in the format of operands.
fn operand(x: &Tensor, precision: Precision) -> Result<Tensor> {
    if precision == Precision::Bf16 { x.to_dtype(DType::BF16) } else { Ok(x.clone()) }
}

/// x, added to `onto` if there is one.
fn added(x: Tensor, onto: Option<Tensor>) -> Result<Tensor> {
    match onto {
        Some(onto) => onto + x,
        None => Ok(x),
    }
}

/// Numbers as a column beside the rows of `like`.
fn column(x: &[f32], like: &Tensor) -> Result<Tensor> {
    Tensor::new(x, like.device())?.unsqueeze(1)
}

impl Backend for Plain {
    fn rms_norm(&self, x: &Tensor, w: &Tensor, eps: f64) -> Result<Tensor> {
        let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
        x.broadcast_div(&(mean + eps)?.sqrt()?)?.broadcast_mul(w)
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
        // With r = 1 / sqrt(mean(x²) + eps): dx = r (g w - x r² mean(x g w)), dw = sum over rows of g x r.
        let r = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?.recip()?;
        let gw = g.broadcast_mul(w)?;
        let c = ((x * &gw)?.mean_keepdim(D::Minus1)? * r.sqr()?)?;
        let dx = (gw - x.broadcast_mul(&c)?)?.broadcast_mul(&r)?;
        let dw = want_dw.then(|| (g * x)?.broadcast_mul(&r)?.sum(0));
        Ok(((onto + dx)?, dw.transpose()?))
    }

    fn rotate(&self, x: Tensor, Angles { cos, sin }: &Angles, sign: f32) -> Result<Tensor> {
        let ((tokens, width), half) = (x.dims2()?, cos.dim(1)?);
        let x3 = x.reshape((tokens, width / (2 * half), 2 * half))?;
        let (a, b) = (x3.narrow(2, 0, half)?, x3.narrow(2, half, half)?);
        let (cos, sin) = (cos.unsqueeze(1)?, (sin * f64::from(sign))?.unsqueeze(1)?);
        let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
        let second = (a.broadcast_mul(&sin)? + b.broadcast_mul(&cos)?)?;
        Tensor::cat(&[first, second], 2)?.reshape((tokens, width))
    }

    fn gated(&self, activation: Activation, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        match activation {
            Activation::Silu => gate.silu()? * up,
            Activation::GeluTanh => gate.gelu()? * up,
        }
    }

    fn gated_backward(&self, activation: Activation, gate: Tensor, up: Tensor, d: &Tensor) -> Result<(Tensor, Tensor)> {
        // With value = x s and s = sigmoid(z), value' = s + value (1 - s) z'; z is x for SiLU.
        let argument = match activation {
            Activation::Silu => None,
            Activation::GeluTanh => {
                let (slope, square) = (2.0 * (2.0 / std::f64::consts::PI).sqrt(), gate.sqr()?);
                let z = (&gate * square.affine(slope * 0.044715, slope)?)?;
                Some((z, square.affine(slope * 3.0 * 0.044715, slope)?))
            }
        };
        let z = argument.as_ref().map_or(&gate, |(z, _)| z);
        let s = ((z.neg()?.exp()? + 1.0)?).recip()?;
        let value = (&gate * &s)?;
        let mut bend = (&value * (1.0 - &s)?)?;
        if let Some((_, dz)) = &argument {
            bend = (bend * dz)?;
        }
        Ok((((d * up)? * (&s + bend)?)?, (d * value)?))
    }

    fn attention(&self, spec: &Attention, qkv: [&Tensor; 3], window: Option<usize>) -> Result<(Tensor, LogSums)> {
        let out = match self.flash {
            Some(kernel) if flash::supports(spec.head_dim) => flash::forward(kernel, spec, qkv, window)?,
            _ => attention::forward(spec, qkv, window)?,
        };
        Ok((out, LogSums(vec![])))
    }

    fn attention_backward(
        &self,
        spec: &Attention,
        qkv: [&Tensor; 3],
        window: Option<usize>,
        _: (&Tensor, &LogSums),
        dout: &Tensor,
    ) -> Result<[Tensor; 3]> {
        attention::backward(spec, qkv, window, dout)
    }

    fn rows(&self, x: &Tensor, precision: Precision) -> Result<Rows> {
        let (n, features) = x.dims2()?;
        Ok(Rows::new(n, features, Packed { x: operand(x, precision)?, activations: x.dtype() }))
    }

    /// With bf16, the result of a product is rounded too. Blocks are unpacked as a whole.
    fn product(&self, x: &Rows, w: Factor, onto: Option<Tensor>) -> Result<Tensor> {
        let Packed { x, activations } = x.packed()?;
        let read = |w: &Stored| match w {
            Stored::Tensor(t) => t.to_dtype(x.dtype()),
            Stored::Blocks(_) => w.to_f32(x.device())?.to_dtype(x.dtype()),
        };
        let w = match w {
            Factor::Transposed(w) => read(w)?.t()?,
            Factor::AsItIs(w) => read(w)?,
        };
        added(x.matmul(&w)?.to_dtype(*activations)?, onto)
    }

    fn weight_gradient(&self, dy: &Tensor, x: &Tensor, precision: Precision, onto: Option<Tensor>) -> Result<Tensor> {
        added(operand(dy, precision)?.t()?.matmul(&operand(x, precision)?)?.to_dtype(DType::F32)?, onto)
    }

    fn rounded(&self, w: &Tensor) -> Result<Tensor> {
        w.to_dtype(DType::BF16)
    }

    fn rounded_transposed(&self, w: &Tensor) -> Result<Tensor> {
        w.to_dtype(DType::BF16)?.t()?.contiguous()
    }

    fn log_softmax(&self, logits: &Tensor, tokens: &[u32]) -> Result<(Vec<f32>, Vec<f32>)> {
        let max = logits.max_keepdim(D::Minus1)?;
        let lse = (logits.broadcast_sub(&max)?.exp()?.sum_keepdim(D::Minus1)?.log()? + max)?;
        let index = Tensor::new(tokens, logits.device())?.unsqueeze(1)?;
        let logps = (logits.gather(&index, 1)? - &lse)?;
        Ok((logps.flatten_all()?.to_vec1()?, lse.flatten_all()?.to_vec1()?))
    }

    fn log_softmax_backward(&self, logits: Tensor, tokens: &[u32], lse: &[f32], dlogps: &[f32]) -> Result<Tensor> {
        let (p, d) = (logits.broadcast_sub(&column(lse, &logits)?)?.exp()?, column(dlogps, &logits)?);
        p.broadcast_mul(&d.neg()?)?.scatter_add(&Tensor::new(tokens, logits.device())?.unsqueeze(1)?, &d, 1)
    }

    fn scale(&self, x: Tensor, by: f64) -> Result<Tensor> {
        x * by
    }

    fn add_vector(&self, x: Tensor, v: &Tensor) -> Result<Tensor> {
        x.broadcast_add(v)
    }

    fn set_rows(&self, dst: &Tensor, src: &Tensor, rows: &[usize]) -> Result<()> {
        // Rows that follow each other go in one copy.
        let mut from = 0;
        for run in rows.chunk_by(|a, b| a + 1 == *b) {
            dst.slice_set(&src.narrow(0, from, run.len())?.contiguous()?, 0, run[0])?;
            from += run.len();
        }
        Ok(())
    }

    fn add_rows(&self, dst: Tensor, src: &Tensor, rows: &[u32]) -> Result<Tensor> {
        dst.index_add(&Tensor::new(rows, dst.device())?, &src.contiguous()?, 0)
    }

    fn read(&self, x: &Tensor, f: &mut dyn FnMut(&[f32])) -> Result<()> {
        f(&x.flatten_all()?.to_vec1()?);
        Ok(())
    }

    fn adamw(&self, step: AdamStep, param: &Var, gradient: &Tensor, [m, v]: &mut [Tensor; 2]) -> Result<()> {
        let g = (gradient * f64::from(step.scale))?;
        *m = (&*m + ((&g - &*m)? * f64::from(step.new1))?)?;
        *v = ((&*v * f64::from(step.keep2))? + (g.sqr()? * f64::from(step.new2))?)?;
        let denominator = ((v.sqrt()? / f64::from(step.root))? + f64::from(step.epsilon))?;
        param.set(&((param.as_tensor() * f64::from(step.keep))? - ((&*m / denominator)? * f64::from(step.rate))?)?)
    }

    fn sum_of_squares(&self, x: &Tensor) -> Result<f64> {
        Ok(f64::from(x.sqr()?.sum_all()?.to_scalar::<f32>()?))
    }
}

#[cfg(test)]
mod tests;

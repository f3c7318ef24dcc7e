//! The value that says how a model computes, made once where it is loaded: everything else gets it from there.

use super::{
    adamw::AdamStep,
    attention::{Attention, LogSums},
    backend::{Activation, Backend, Precision, Rows},
    kernels::Kernels,
    plain::Plain,
    rope::Angles,
};
use candle_core::{DType, Device, Result, Tensor, Var, bail};
use std::sync::Arc;

/// Device, type of activations, type of products' operands, and the backend that computes with them.
///
/// Its methods are the operations of a transformer, forward, and backward from the gradient of the result. None records
/// a graph. Activations are [tokens, features]. Where a method says "in the memory of x", x's numbers may be
/// overwritten, under every name they have.
#[derive(Debug, Clone)]
pub struct Compute {
    device: Device,
    activations: DType,
    precision: Precision,
    backend: Arc<dyn Backend>,
}

impl Compute {
    /// The fastest there is for a device: our kernels on the CPU, candle's operations elsewhere. Activations are f32.
    pub fn new(device: &Device, precision: Precision) -> Self {
        if device.is_cpu() { Self::with(Arc::new(Kernels), device, precision) } else { Self::plain(device, precision) }
    }

    /// candle's operations on any device, the CPU too: what the kernels are compared with.
    pub fn plain(device: &Device, precision: Precision) -> Self {
        Self::with(Arc::new(Plain::new(device)), device, precision)
    }

    /// Activations are f32 with both backends there are.
    fn with(backend: Arc<dyn Backend>, device: &Device, precision: Precision) -> Self {
        Self { device: device.clone(), activations: DType::F32, precision, backend }
    }

    /// Where tensors lie.
    pub fn device(&self) -> &Device {
        &self.device
    }
    /// Type of activations, and of keys and values in a cache.
    pub fn activations(&self) -> DType {
        self.activations
    }
    /// Number format of the products' operands.
    pub fn precision(&self) -> Precision {
        self.precision
    }
    /// What computes.
    pub(super) fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// Root-mean-square normalisation (Zhang & Sennrich 2019, arXiv 1910.07467): `x / sqrt(mean(x²) + eps) * w` of each
    /// row of x [rows, width], w `[width]`.
    pub fn rms_norm(&self, x: &Tensor, w: &Tensor, eps: f64) -> Result<Tensor> {
        if w.dims() != [x.dims2()?.1] {
            bail!("rms-norm: x is {:?} but the weight has {:?} numbers", x.dims(), w.dims())
        }
        self.backend.rms_norm(x, w, eps)
    }

    /// The gradient with respect to x for the gradient g of [`rms_norm`](Self::rms_norm)'s result, added to `onto` in
    /// its memory; the one with respect to w, `[width]`, if `want_dw`.
    pub fn rms_norm_backward(
        &self,
        x: &Tensor,
        w: &Tensor,
        eps: f64,
        g: &Tensor,
        onto: Tensor,
        want_dw: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        self.backend.rms_norm_backward(x, w, eps, g, onto, want_dw)
    }

    /// Rotary position embedding: rotates every head of x [tokens, heads * dim] by the angles of its token, halves
    /// against each other as Hugging Face's models do, in the memory of x.
    pub fn rope(&self, x: Tensor, angles: &Angles) -> Result<Tensor> {
        self.rotate(x, angles, 1.0)
    }

    /// The gradient with respect to the argument of [`rope`](Self::rope) for the gradient g of its result, in the
    /// memory of g: the inverse of a rotation is its transpose.
    pub fn rope_backward(&self, g: Tensor, angles: &Angles) -> Result<Tensor> {
        self.rotate(g, angles, -1.0)
    }

    fn rotate(&self, x: Tensor, angles: &Angles, sign: f32) -> Result<Tensor> {
        let ((tokens, width), (rows, half)) = (x.dims2()?, angles.cos.dims2()?);
        if rows != tokens || half == 0 || width % (2 * half) != 0 {
            bail!("rope: x is [{tokens}, {width}] but the angles are [{rows}, {half}]")
        }
        self.backend.rotate(x, angles, sign)
    }

    /// The gated unit of the feed-forward layers (Shazeer 2020, arXiv 2002.05202), `activation(gate) * up`, element by
    /// element; both [rows, width].
    pub fn gated(&self, activation: Activation, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        if gate.shape() != up.shape() {
            bail!("gated unit: gate is {:?} but up is {:?}", gate.dims(), up.dims())
        }
        self.backend.gated(activation, gate, up)
    }

    /// Gradients with respect to gate and up for the gradient d of [`gated`](Self::gated)'s result, in the memory of
    /// gate and up.
    pub fn gated_backward(
        &self,
        activation: Activation,
        gate: Tensor,
        up: Tensor,
        d: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        self.backend.gated_backward(activation, gate, up, d)
    }

    /// Causal attention of each span's queries to the keys of its sequence up to themselves: [queries, heads * dim] of
    /// q of the same shape, k and v [keys, kv_heads * dim]; and what the backward pass needs besides.
    ///
    /// With a (sliding) window, a query sees that many tokens at most, itself included.
    pub fn attention(&self, spec: &Attention, qkv: [&Tensor; 3], window: Option<usize>) -> Result<(Tensor, LogSums)> {
        self.backend.attention(spec, qkv, window)
    }

    /// Gradients with respect to q, k and v for the gradient of [`attention`](Self::attention)'s result.
    pub fn attention_backward(
        &self,
        spec: &Attention,
        qkv: [&Tensor; 3],
        window: Option<usize>,
        result: (&Tensor, &LogSums),
        dout: &Tensor,
    ) -> Result<[Tensor; 3]> {
        self.backend.attention_backward(spec, qkv, window, result, dout)
    }

    /// Packs x [n, features] for products with [`Weight`](super::Weight)s, rounded to the operands' format.
    pub fn rows(&self, x: &Tensor) -> Result<Rows> {
        self.backend.rows(&x.contiguous()?, self.precision)
    }

    /// x times a number, in the memory of x.
    pub fn scale(&self, x: Tensor, by: f64) -> Result<Tensor> {
        self.backend.scale(x, by)
    }

    /// Adds a vector `[width]` to every row of x [rows, width], in the memory of x.
    pub fn add_vector(&self, x: Tensor, v: &Tensor) -> Result<Tensor> {
        self.backend.add_vector(x, v)
    }

    /// The sum of the rows of x [rows, width], added to `onto` `[width]` if there is one: the gradient of
    /// [`add_vector`](Self::add_vector).
    pub fn column_sums(&self, x: &Tensor, onto: Option<Tensor>) -> Result<Tensor> {
        let sums = x.sum(0)?;
        onto.map_or(Ok(sums.clone()), |onto| onto + &sums)
    }

    /// Writes row i of `src` [n, width] over row `rows[i]` of `dst` [m, width], in place.
    pub fn set_rows(&self, dst: &Tensor, src: &Tensor, rows: &[usize]) -> Result<()> {
        self.backend.set_rows(dst, src, rows)
    }

    /// Adds row i of `src` [n, width] to row `rows[i]` of `dst` [m, width], in order of i, in the memory of `dst`.
    pub fn add_rows(&self, dst: Tensor, src: &Tensor, rows: &[u32]) -> Result<Tensor> {
        self.backend.add_rows(dst, src, rows)
    }

    /// Calls `f` with the numbers of a tensor, which are copied only where they lie on a device.
    pub fn read<R>(&self, x: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
        let (mut f, mut result) = (Some(f), None);
        self.backend.read(x, &mut |numbers| result = f.take().map(|f| f(numbers)))?;
        Ok(result.expect("a backend that reads a tensor calls the function once"))
    }

    /// A step of AdamW on a parameter, with its gradient and the running means of that and of its square.
    pub fn adamw(&self, step: AdamStep, param: &Var, gradient: &Tensor, moments: &mut [Tensor; 2]) -> Result<()> {
        if param.shape() != gradient.shape() {
            bail!("adamw: {:?} has a gradient of {:?}", param.shape(), gradient.shape())
        }
        self.backend.adamw(step, param, gradient, moments)
    }

    /// The sum of the squares of all numbers, in f64 where our kernels serve, in an order that does not depend on the
    /// number of threads.
    pub fn sum_of_squares(&self, x: &Tensor) -> Result<f64> {
        self.backend.sum_of_squares(x)
    }
}

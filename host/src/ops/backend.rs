//! What a backend must do: the operations of a transformer as one trait, and the types it speaks of.
//!
//! A backend is reached through [`Compute`](super::Compute), whose methods say what each operation is and check shapes
//! first. So an implementation may assume that shapes fit; it says what it can do with devices and types of numbers.

use super::{
    adamw::AdamStep,
    attention::{Attention, LogSums},
    rope::Angles,
    stored::Stored,
};
use candle_core::{Result, Tensor, Var, bail};
use std::{any::Any, fmt::Debug};

/// Number format of a product's operands; sums are always f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Operands are f32.
    F32,
    /// Operands are rounded to bf16, to nearest even.
    Bf16,
}

/// What a gated unit makes of its gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x sigmoid(x)`.
    Silu,
    /// GELU in its approximation by tanh (Hendrycks & Gimpel 2016, arXiv 1606.08415).
    GeluTanh,
}

/// Rows [n, features] made ready for products with several weights, in a form that the backend which made it knows.
pub struct Rows {
    n: usize,
    features: usize,
    packed: Box<dyn Any>,
}

impl Rows {
    /// Wraps what a backend made of `n` rows of `features` numbers.
    pub fn new(n: usize, features: usize, packed: impl Any) -> Self {
        Self { n, features, packed: Box::new(packed) }
    }
    /// Number of rows, and of numbers in a row.
    pub fn sizes(&self) -> (usize, usize) {
        (self.n, self.features)
    }
    /// What the backend made. Fails if another one did.
    pub fn packed<T: Any>(&self) -> Result<&T> {
        match self.packed.downcast_ref() {
            Some(packed) => Ok(packed),
            None => bail!("linear: the rows were packed by another backend"),
        }
    }
}

/// The second factor of a product: a matrix as a [`Weight`](super::Weight) keeps it.
#[derive(Clone, Copy)]
pub enum Factor<'a> {
    /// x wᵀ of w [n, k].
    Transposed(&'a Stored),
    /// x w of w [k, n].
    AsItIs(&'a Stored),
}

/// One way to compute everything. See [`Compute`](super::Compute) for what each operation is.
pub trait Backend: Debug + Send + Sync {
    /// [`Compute::rms_norm`](super::Compute::rms_norm)
    fn rms_norm(&self, x: &Tensor, w: &Tensor, eps: f64) -> Result<Tensor>;
    /// [`Compute::rms_norm_backward`](super::Compute::rms_norm_backward)
    fn rms_norm_backward(
        &self,
        x: &Tensor,
        w: &Tensor,
        eps: f64,
        g: &Tensor,
        onto: Tensor,
        want_dw: bool,
    ) -> Result<(Tensor, Option<Tensor>)>;

    /// [`Compute::rope`](super::Compute::rope), and for `sign` -1 its inverse, which is its backward pass.
    fn rotate(&self, x: Tensor, angles: &Angles, sign: f32) -> Result<Tensor>;

    /// [`Compute::gated`](super::Compute::gated)
    fn gated(&self, activation: Activation, gate: &Tensor, up: &Tensor) -> Result<Tensor>;
    /// [`Compute::gated_backward`](super::Compute::gated_backward)
    fn gated_backward(&self, activation: Activation, gate: Tensor, up: Tensor, d: &Tensor) -> Result<(Tensor, Tensor)>;

    /// [`Compute::attention`](super::Compute::attention)
    fn attention(&self, spec: &Attention, qkv: [&Tensor; 3], window: Option<usize>) -> Result<(Tensor, LogSums)>;
    /// [`Compute::attention_backward`](super::Compute::attention_backward)
    fn attention_backward(
        &self,
        spec: &Attention,
        qkv: [&Tensor; 3],
        window: Option<usize>,
        result: (&Tensor, &LogSums),
        dout: &Tensor,
    ) -> Result<[Tensor; 3]>;

    /// [`Compute::rows`](super::Compute::rows)
    fn rows(&self, x: &Tensor, precision: Precision) -> Result<Rows>;
    /// x times a weight, [rows, n]; added to `onto`, in its memory, if there is one. The weight is read in the format
    /// that x was made ready for: f32, or bf16, to which numbers of f32 and of blocks are rounded.
    fn product(&self, x: &Rows, w: Factor, onto: Option<Tensor>) -> Result<Tensor>;
    /// dyᵀ x [n, k] in f32, for dy [m, n] and x [m, k]; added to `onto` likewise.
    fn weight_gradient(&self, dy: &Tensor, x: &Tensor, precision: Precision, onto: Option<Tensor>) -> Result<Tensor>;
    /// A copy of a contiguous tensor, rounded to bf16.
    fn rounded(&self, w: &Tensor) -> Result<Tensor>;
    /// The transpose [cols, rows] of a contiguous matrix, rounded to bf16.
    fn rounded_transposed(&self, w: &Tensor) -> Result<Tensor>;

    /// Log-probability of one token of each row of logits [tokens, vocabulary], and the rows' log-sum-exps.
    fn log_softmax(&self, logits: &Tensor, tokens: &[u32]) -> Result<(Vec<f32>, Vec<f32>)>;
    /// The gradient with respect to the logits, in their memory: d logp[token] / d logits = onehot(token) - softmax.
    fn log_softmax_backward(&self, logits: Tensor, tokens: &[u32], lse: &[f32], dlogps: &[f32]) -> Result<Tensor>;

    /// [`Compute::scale`](super::Compute::scale)
    fn scale(&self, x: Tensor, by: f64) -> Result<Tensor>;
    /// [`Compute::add_vector`](super::Compute::add_vector)
    fn add_vector(&self, x: Tensor, v: &Tensor) -> Result<Tensor>;
    /// [`Compute::set_rows`](super::Compute::set_rows)
    fn set_rows(&self, dst: &Tensor, src: &Tensor, rows: &[usize]) -> Result<()>;
    /// [`Compute::add_rows`](super::Compute::add_rows)
    fn add_rows(&self, dst: Tensor, src: &Tensor, rows: &[u32]) -> Result<Tensor>;
    /// [`Compute::read`](super::Compute::read)
    fn read(&self, x: &Tensor, f: &mut dyn FnMut(&[f32])) -> Result<()>;

    /// [`Compute::adamw`](super::Compute::adamw)
    fn adamw(&self, step: AdamStep, param: &Var, gradient: &Tensor, moments: &mut [Tensor; 2]) -> Result<()>;
    /// [`Compute::sum_of_squares`](super::Compute::sum_of_squares)
    fn sum_of_squares(&self, x: &Tensor) -> Result<f64>;
}

//! A linear module of a layer, forward and backward: its matrix, its bias and its adapter.

use super::{gradients::Sums, policy::Parameter};
use crate::{
    Result,
    ops::{self, Precision, Rows, Weight},
};
use candle_core::Tensor;

/// A matrix with its name.
pub struct Matrix {
    name: String,
    trained: bool,
    /// In the form its products read.
    pub weight: Weight,
}

impl Matrix {
    /// The form of a parameter that products of this precision read.
    pub fn new(p: Parameter, precision: Precision) -> Result<Self> {
        Ok(Self { weight: Weight::new(&p.tensor, precision)?, name: p.name, trained: p.trained })
    }
    /// Accumulates dyᵀ x if the matrix is trained.
    fn gradient(&self, dy: &Tensor, x: &Tensor, grads: &mut Sums) -> Result<()> {
        grads.add(&self.name, self.trained, |onto| self.weight.gradient(dy, x, onto))
    }
}

/// Of each adapter u = scale x Aᵀ [tokens, r], in the order of the forward pass, reversed by the backward pass.
pub type Inner = Vec<Tensor>;

/// y = x Wᵀ + b + u Bᵀ, the last two where there are a bias and an adapter.
pub struct Linear {
    weight: Matrix,
    bias: Option<Parameter>,
    adapter: Option<Adapter>,
}

struct Adapter {
    a: Matrix,
    b: Matrix,
    scale: f64,
}

impl Adapter {
    /// u
    fn inner(&self, x: &Rows) -> Result<Tensor> {
        Ok(ops::scale(self.a.weight.forward(x, None)?, self.scale)?)
    }
}

impl Linear {
    /// One without an adapter.
    pub fn new(weight: Matrix, bias: Option<Parameter>) -> Self {
        Self { weight, bias, adapter: None }
    }

    /// The result is added to `onto`, in its memory, if there is one. An adapter's u is put into `inner`.
    pub fn forward(&self, x: &Rows, onto: Option<Tensor>, inner: &mut Inner) -> Result<Tensor> {
        let mut y = self.weight.weight.forward(x, onto)?;
        if let Some(b) = &self.bias {
            y = ops::add_vector(y, &b.tensor)?;
        }
        if let Some(adapter) = &self.adapter {
            let (u, b) = (adapter.inner(x)?, &adapter.b.weight);
            y = b.forward(&Rows::new(&u, b.precision())?, Some(y))?;
            inner.push(u);
        }
        Ok(y)
    }

    /// What [`forward`](Self::forward) puts into `inner`, without the result. Asks for `x` if there is an adapter.
    pub fn forward_inner(&self, x: impl FnOnce() -> Result<Rows>, inner: &mut Inner) -> Result<()> {
        if let Some(adapter) = &self.adapter {
            inner.push(adapter.inner(&x()?)?);
        }
        Ok(())
    }

    /// Gradients of what is trained; and by x, added to `onto`, if `want_dx`. Takes the last of `inner` if it has an adapter.
    pub fn backward(
        &self,
        x: &Tensor,
        inner: &mut Inner,
        dy: &Tensor,
        onto: Option<Tensor>,
        want_dx: bool,
        grads: &mut Sums,
    ) -> Result<Option<Tensor>> {
        let weight = &self.weight.weight;
        self.weight.gradient(dy, x, grads)?;
        if let Some(b) = &self.bias {
            grads.add(&b.name, b.trained, |onto| ops::column_sums(dy, onto))?;
        }
        let rows = Rows::new(dy, weight.precision())?;
        let mut dx = onto;
        if want_dx {
            dx = Some(weight.backward(&rows, dx)?);
        }
        if let Some(Adapter { a, b, scale }) = &self.adapter {
            let u = inner.pop().expect("the forward pass put it there");
            let du = ops::scale(b.weight.backward(&rows, None)?, *scale)?;
            b.gradient(dy, &u, grads)?;
            a.gradient(&du, x, grads)?;
            if want_dx {
                dx = Some(a.weight.backward(&Rows::new(&du, weight.precision())?, dx)?);
            }
        }
        Ok(dx)
    }

    /// W + scale B A.
    pub fn merged(&self) -> Result<Tensor> {
        let w = self.weight.weight.tensor();
        match &self.adapter {
            None => Ok(w.clone()),
            Some(Adapter { a, b, scale }) => Ok((w + (b.weight.tensor().matmul(a.weight.tensor())? * *scale)?)?),
        }
    }
    /// Width of its input and of its output.
    pub fn sizes(&self) -> (usize, usize) {
        self.weight.weight.sizes()
    }
    /// Puts an adapter on it, y += scale (x Aᵀ) Bᵀ.
    pub fn adapt(&mut self, a: Matrix, b: Matrix, scale: f64) {
        self.adapter = Some(Adapter { a, b, scale });
    }
}

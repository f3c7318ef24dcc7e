//! A linear module of a layer, forward and backward: its matrix, its bias and its adapter.

use super::{gradients::Sums, parameter::Parameter};
use crate::{
    Code, Error, Result,
    ops::{Compute, Rows, Weight},
};
use candle_core::Tensor;

/// A matrix with its name.
pub struct Matrix {
    /// Of its tensor.
    pub name: String,
    /// Whether its gradient is wanted.
    pub trained: bool,
    /// In the form its products read.
    pub weight: Weight,
}

impl Matrix {
    /// A parameter in that form.
    pub fn new(p: Parameter, compute: &Compute) -> Result<Self> {
        Ok(Self { weight: Weight::new(&p.stored, compute)?, name: p.name, trained: p.trained })
    }
    /// The numbers in f32, unpacked where they are in blocks.
    pub fn master(&self) -> Result<Tensor> {
        self.weight.master()?.ok_or_else(|| {
            Error::new(Code::ModelMerge, "the base is rounded to bf16, so an adapter cannot be merged into it")
                .hint("load it in f32 to merge")
        })
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
        let a = &self.a.weight;
        Ok(a.compute().scale(a.forward(x, None)?, self.scale)?)
    }
}

impl Linear {
    /// One without an adapter.
    pub fn new(weight: Matrix, bias: Option<Parameter>) -> Self {
        Self { weight, bias, adapter: None }
    }

    /// The result is added to `onto`, in its memory, if there is one. An adapter's u is put into `inner`.
    pub fn forward(&self, x: &Rows, onto: Option<Tensor>, inner: &mut Inner) -> Result<Tensor> {
        let (weight, compute) = (&self.weight.weight, self.compute());
        let mut y = weight.forward(x, onto)?;
        if let Some(b) = &self.bias {
            y = compute.add_vector(y, b.tensor())?;
        }
        if let Some(adapter) = &self.adapter {
            let u = adapter.inner(x)?;
            y = adapter.b.weight.forward(&compute.rows(&u)?, Some(y))?;
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

    /// Gradients of what is trained; and with respect to x, added to `onto`, if `want_dx`. Takes the last of `inner` if
    /// it has an adapter.
    pub fn backward(
        &self,
        x: &Tensor,
        inner: &mut Inner,
        dy: &Tensor,
        onto: Option<Tensor>,
        want_dx: bool,
        grads: &mut Sums,
    ) -> Result<Option<Tensor>> {
        let (weight, compute) = (&self.weight.weight, self.compute());
        self.weight.gradient(dy, x, grads)?;
        if let Some(b) = &self.bias {
            grads.add(&b.name, b.trained, |onto| compute.column_sums(dy, onto))?;
        }
        let rows = compute.rows(dy)?;
        let mut dx = onto;
        if want_dx {
            dx = Some(weight.backward(&rows, dx)?);
        }
        if let Some(Adapter { a, b, scale }) = &self.adapter {
            let u = inner.pop().expect("the forward pass put it there");
            let du = compute.scale(b.weight.backward(&rows, None)?, *scale)?;
            b.gradient(dy, &u, grads)?;
            a.gradient(&du, x, grads)?;
            if want_dx {
                dx = Some(a.weight.backward(&compute.rows(&du)?, dx)?);
            }
        }
        Ok(dx)
    }

    /// Gives gradients of 0 to what is trained and has none: nothing went through it.
    pub fn unused(&self, grads: &mut Sums) -> Result<()> {
        let (outputs, inputs) = {
            let (i, o) = self.weight.weight.sizes();
            (o, i)
        };
        let zeros = |shape: &[usize]| Tensor::zeros(shape, candle_core::DType::F32, self.compute().device());
        let Matrix { name, trained, .. } = &self.weight;
        grads.add(name, *trained, |sum| sum.map_or_else(|| zeros(&[outputs, inputs]), Ok))?;
        self.bias
            .iter()
            .try_for_each(|b| grads.add(&b.name, b.trained, |sum| sum.map_or_else(|| zeros(&[outputs]), Ok)))
    }

    /// W + scale B A, which needs W in f32.
    pub fn merged(&self) -> Result<Tensor> {
        let w = self.weight.master()?;
        match &self.adapter {
            None => Ok(w),
            Some(Adapter { a, b, scale }) => Ok((w + (b.master()?.matmul(&a.master()?)? * *scale)?)?),
        }
    }

    /// To be called where trained numbers have changed.
    pub fn changed(&self) {
        let adapter = self.adapter.iter().flat_map(|adapter| [&adapter.a, &adapter.b]);
        adapter.chain([&self.weight]).for_each(|matrix| matrix.weight.changed());
    }

    fn compute(&self) -> &Compute {
        self.weight.weight.compute()
    }
    /// Puts an adapter on it, y += scale (x Aᵀ) Bᵀ.
    pub fn adapt(&mut self, a: Matrix, b: Matrix, scale: f64) {
        self.adapter = Some(Adapter { a, b, scale });
    }
}

//! Weights: a matrix in the form that its products read, y = x Wᵀ and backwards dx = dy W and dW = dyᵀ x.
//!
//! | form | kept | read for x Wᵀ | read for dy W |
//! |---|---|---|---|
//! | f32 master | the tensor, which training may change | the tensor | the tensor |
//! | rounded copy of a master | that, and a bf16 copy while it stands still | the copy | a transpose, rounded anew |
//! | frozen bf16 | a tensor in bf16 | the tensor | its transpose, made once |
//!
//! **A new form**, such as a frozen matrix in blocks of 4 bits, is a variant of `Form`. It must provide
//! - how it is made of an f32 tensor of the base that nobody trains any more: [`Weight::frozen`]. What that returns is
//!   what a policy keeps by name and hands to [`Weight::new`], a tensor today: blocks need their scales beside it;
//! - what products read, as a [`Factor`], of which it adds a variant: in [`Weight::forward`], and in
//!   [`Weight::backward`], where it either keeps a transpose or is read as it is. Each backend reads it in its
//!   `product`: the kernels as a variant of `Weights` in `kernels/product.rs`, widened in passing, a block of rows or a
//!   strip at a time, as `Narrow` is in `multiply.rs` and `few_rows.rs`; `plain` as a tensor widened whole;
//! - no gradient: [`Weight::gradient`] refuses it;
//! - no master: [`Weight::master`] has nothing for it, so `merge` refuses to add an adapter to it.

use super::{
    backend::{Factor, Precision, Rows},
    compute::Compute,
};
use candle_core::{DType, Result, Tensor, bail};
use std::sync::{Mutex, OnceLock};

/// A matrix [outputs, inputs] in the form its products read.
pub struct Weight {
    form: Form,
    compute: Compute,
    outputs: usize,
    inputs: usize,
}

enum Form {
    /// Products read the tensor itself.
    Master(Tensor),
    /// Products read a copy rounded to bf16. It is made when first needed, and dropped when the gradient is taken,
    /// since the tensor is about to change, and wherever else it changes.
    Rounded { master: Tensor, copy: Mutex<Option<Tensor>> },
    /// Frozen, rounded for good; the backward pass reads the transpose.
    Frozen { weight: Tensor, transposed: OnceLock<Tensor> },
}

impl Weight {
    /// A matrix as its products see it: one of dtype bf16 is frozen, and needs products in bf16.
    pub fn new(w: &Tensor, compute: &Compute) -> Result<Self> {
        let (outputs, inputs) = w.dims2()?;
        let w = w.contiguous()?;
        let form = match (w.dtype(), compute.precision()) {
            (DType::BF16, Precision::Bf16) => Form::Frozen { weight: w, transposed: OnceLock::new() },
            (DType::F32, Precision::F32) => Form::Master(w),
            (DType::F32, Precision::Bf16) => Form::Rounded { master: w, copy: Mutex::default() },
            (dtype, precision) => bail!("linear: a weight of {dtype:?} for products in {precision:?}"),
        };
        Ok(Self { form, compute: compute.clone(), outputs, inputs })
    }

    /// A tensor of a model as it is kept when nobody trains it any more: with products in bf16, matrices are rounded.
    pub fn frozen(t: &Tensor, compute: &Compute) -> Result<Tensor> {
        let rounds = compute.precision() == Precision::Bf16 && t.rank() == 2 && t.dtype() == DType::F32;
        if rounds { compute.backend().rounded(&t.contiguous()?) } else { Ok(t.clone()) }
    }

    /// Width of the input and of the output.
    pub fn sizes(&self) -> (usize, usize) {
        (self.inputs, self.outputs)
    }

    /// How its products are computed.
    pub fn compute(&self) -> &Compute {
        &self.compute
    }

    /// The matrix in f32, where there is one.
    pub fn master(&self) -> Option<&Tensor> {
        match &self.form {
            Form::Master(w) | Form::Rounded { master: w, .. } => Some(w),
            Form::Frozen { .. } => None,
        }
    }

    /// To be called where the numbers of a master have changed: a copy of what they were is not read again.
    pub fn changed(&self) {
        if let Form::Rounded { copy, .. } = &self.form {
            copy.lock().expect("no thread panics while it rounds").take();
        }
    }

    /// x [n, inputs] times the transpose: [n, outputs]; added to `onto`, in its memory, if there is one.
    pub fn forward(&self, x: &Rows, onto: Option<Tensor>) -> Result<Tensor> {
        self.fits(x, self.inputs)?;
        let backend = self.compute.backend();
        let product = |w: &Tensor, onto| backend.product(x, Factor::Transposed(w), onto);
        match &self.form {
            Form::Master(w) => product(w, onto),
            Form::Frozen { weight, .. } => product(weight, onto),
            Form::Rounded { master, copy } => {
                let mut copy = copy.lock().expect("no thread panics while it rounds");
                let copy = match &mut *copy {
                    Some(copy) => copy,
                    none => none.insert(backend.rounded(master)?),
                };
                product(copy, onto)
            }
        }
    }

    /// dy [n, outputs] times the matrix: [n, inputs]; added to `onto`, in its memory, if there is one.
    pub fn backward(&self, dy: &Rows, onto: Option<Tensor>) -> Result<Tensor> {
        self.fits(dy, self.outputs)?;
        let backend = self.compute.backend();
        let product = |w: &Tensor, onto| backend.product(dy, Factor::Transposed(w), onto);
        match &self.form {
            Form::Master(w) => backend.product(dy, Factor::AsItIs(w), onto),
            Form::Rounded { master, .. } => product(&backend.rounded_transposed(master)?, onto),
            Form::Frozen { weight, transposed } => {
                if let Some(t) = transposed.get() {
                    return product(t, onto);
                }
                let t = weight.t()?.contiguous()?;
                product(transposed.get_or_init(|| t), onto)
            }
        }
    }

    /// The gradient with respect to a master, dyᵀ x [outputs, inputs], for dy [n, outputs] and x [n, inputs]; added to
    /// `onto`, in its memory, if there is one.
    pub fn gradient(&self, dy: &Tensor, x: &Tensor, onto: Option<Tensor>) -> Result<Tensor> {
        match &self.form {
            Form::Master(_) | Form::Rounded { .. } => self.changed(),
            Form::Frozen { .. } => bail!("linear: a frozen weight has no gradient"),
        }
        let (m, n, k) = (dy.dim(0)?, self.outputs, self.inputs);
        if dy.dims() != [m, n] || x.dims() != [m, k] {
            bail!("linear: gradient {:?} and input {:?} of a weight [{n}, {k}]", dy.dims(), x.dims())
        }
        let (dy, x) = (dy.contiguous()?, x.contiguous()?);
        self.compute.backend().weight_gradient(&dy, &x, self.compute.precision(), onto)
    }

    /// Fails unless rows are as wide as a product needs them.
    fn fits(&self, x: &Rows, width: usize) -> Result<()> {
        let (_, features) = x.sizes();
        if features == width {
            Ok(())
        } else {
            bail!("linear: rows of {features} numbers for a weight with {width} inputs")
        }
    }
}

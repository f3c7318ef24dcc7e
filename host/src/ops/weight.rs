//! Weights: a matrix in the form that its products read, y = x Wᵀ and backwards dx = dy W and dW = dyᵀ x.
//!
//! | form | kept | read for x Wᵀ | read for dy W |
//! |---|---|---|---|
//! | f32 master | the tensor, which training may change | the tensor | the tensor |
//! | rounded copy of a master | that, and a bf16 copy while it stands still | the copy | a transpose, rounded anew |
//! | frozen | a tensor in bf16, or blocks ([`Stored`]) | that | that |
//!
//! **A product with a frozen matrix equals, to the bit, the product with the same numbers in f32**, or, where products
//! are in bf16, with those rounded to bf16: bf16 is widened and blocks are unpacked in passing, a part of a row at a
//! time, and never a whole matrix (by our kernels; `plain` unpacks one matrix at a time).
//!
//! A new kind of blocks is a variant of [`BlockKind`](super::BlockKind), whose module says how a piece is unpacked;
//! nothing here or in the backends asks for the kind.

use super::{
    backend::{Factor, Precision, Rows},
    compute::Compute,
    stored::Stored,
};
use candle_core::{DType, Result, Tensor, bail};
use std::sync::Mutex;

/// A matrix [outputs, inputs] in the form its products read.
pub struct Weight {
    form: Form,
    compute: Compute,
    outputs: usize,
    inputs: usize,
}

enum Form {
    /// Products read the tensor itself.
    Master(Stored),
    /// Products read a copy rounded to bf16. It is made when first needed, and dropped when the gradient is taken,
    /// since the tensor is about to change, and wherever else it changes.
    Rounded { master: Tensor, copy: Mutex<Option<Stored>> },
    /// Products read it as it is.
    Frozen(Stored),
}

impl Weight {
    /// A matrix as its products see it: one of f32 may be trained, another is frozen.
    pub fn new(w: &Stored, compute: &Compute) -> Result<Self> {
        let (outputs, inputs) = w.dims2()?;
        let form = match (w, compute.precision()) {
            (Stored::Blocks(_), _) => Form::Frozen(w.clone()),
            (Stored::Tensor(t), precision) => match (t.dtype(), precision) {
                (DType::BF16, _) => Form::Frozen(t.contiguous()?.into()),
                (DType::F32, Precision::F32) => Form::Master(t.contiguous()?.into()),
                (DType::F32, Precision::Bf16) => Form::Rounded { master: t.contiguous()?, copy: Mutex::default() },
                (dtype, precision) => bail!("linear: a weight of {dtype:?} for products in {precision:?}"),
            },
        };
        Ok(Self { form, compute: compute.clone(), outputs, inputs })
    }

    /// Numbers of a model as they are kept when nobody trains them: with products in bf16, matrices are rounded.
    pub fn frozen(w: &Stored, compute: &Compute) -> Result<Stored> {
        match w.detach() {
            Stored::Tensor(t) if compute.precision() == Precision::Bf16 && t.rank() == 2 && t.dtype() == DType::F32 => {
                Ok(compute.backend().rounded(&t.contiguous()?)?.into())
            }
            frozen => Ok(frozen),
        }
    }

    /// Width of the input and of the output.
    pub fn sizes(&self) -> (usize, usize) {
        (self.inputs, self.outputs)
    }

    /// How its products are computed.
    pub fn compute(&self) -> &Compute {
        &self.compute
    }

    /// The matrix in f32, unpacked where it is in blocks; none where it was rounded to bf16.
    pub fn master(&self) -> Result<Option<Tensor>> {
        match &self.form {
            Form::Master(w) => Ok(w.tensor().cloned()),
            Form::Rounded { master, .. } => Ok(Some(master.clone())),
            Form::Frozen(w @ Stored::Blocks(_)) => Ok(Some(w.to_f32(self.compute.device())?)),
            Form::Frozen(Stored::Tensor(_)) => Ok(None),
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
        let product = |w: &Stored, onto| backend.product(x, Factor::Transposed(w), onto);
        match &self.form {
            Form::Master(w) | Form::Frozen(w) => product(w, onto),
            Form::Rounded { master, copy } => {
                let mut copy = copy.lock().expect("no thread panics while it rounds");
                let copy = match &mut *copy {
                    Some(copy) => copy,
                    none => none.insert(backend.rounded(master)?.into()),
                };
                product(copy, onto)
            }
        }
    }

    /// dy [n, outputs] times the matrix: [n, inputs]; added to `onto`, in its memory, if there is one.
    pub fn backward(&self, dy: &Rows, onto: Option<Tensor>) -> Result<Tensor> {
        self.fits(dy, self.outputs)?;
        let backend = self.compute.backend();
        match &self.form {
            Form::Master(w) | Form::Frozen(w) => backend.product(dy, Factor::AsItIs(w), onto),
            Form::Rounded { master, .. } => {
                backend.product(dy, Factor::Transposed(&backend.rounded_transposed(master)?.into()), onto)
            }
        }
    }

    /// The gradient with respect to a master, dyᵀ x [outputs, inputs], for dy [n, outputs] and x [n, inputs]; added to
    /// `onto`, in its memory, if there is one.
    pub fn gradient(&self, dy: &Tensor, x: &Tensor, onto: Option<Tensor>) -> Result<Tensor> {
        match &self.form {
            Form::Master(_) | Form::Rounded { .. } => self.changed(),
            Form::Frozen(_) => bail!("linear: a frozen weight has no gradient"),
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

//! Products with weights: y = x Wᵀ, and backwards dx = dy W and dW = dyᵀ x.

use super::{
    Precision,
    buffer::{check_kernels, filled, with},
    has_kernels,
    product::{self, Panels, Weights},
};
use candle_core::{CpuStorage, DType, Device, Result, Storage, Tensor, bail};
use half::bf16;
use std::sync::{Mutex, OnceLock};

/// Rows [n, features] made ready for products with several weights.
pub struct Rows {
    x: Tensor,
    panels: Option<Panels>,
}

impl Rows {
    /// Packs rows. With bf16 they are rounded (and where candle's operations serve, so are the products' results).
    pub fn new(x: &Tensor, precision: Precision) -> Result<Self> {
        let (x, k) = (x.contiguous()?, x.dim(1)?);
        if has_kernels(&x) {
            let panels = with([&x], |[x]| Ok(Panels::new(x, k, precision)))?;
            return Ok(Self { x, panels: Some(panels) });
        }
        let x = if precision == Precision::Bf16 { x.to_dtype(DType::BF16)? } else { x };
        Ok(Self { x, panels: None })
    }
}

/// A matrix [outputs, inputs] in the form its products read.
pub struct Weight {
    form: Form,
    outputs: usize,
    inputs: usize,
}

enum Form {
    /// Products read the tensor itself.
    F32(Tensor),
    /// Products read a copy rounded to bf16. It is made when first needed, and dropped when the gradient is taken, since the
    /// tensor is about to change.
    Rounded { master: Tensor, copy: Mutex<Option<Tensor>> },
    /// Frozen, rounded for good; the backward pass reads the transpose.
    Frozen { weight: Tensor, transposed: OnceLock<Tensor> },
}

impl Weight {
    /// A matrix as its products see it: one of dtype bf16 is frozen and its precision always bf16.
    pub fn new(w: &Tensor, precision: Precision) -> Result<Self> {
        let (outputs, inputs) = w.dims2()?;
        let w = w.contiguous()?;
        let form = match (w.dtype(), precision) {
            (DType::BF16, _) => Form::Frozen { weight: w, transposed: OnceLock::new() },
            (_, Precision::F32) => Form::F32(w),
            (_, Precision::Bf16) => Form::Rounded { master: w, copy: Mutex::default() },
        };
        Ok(Self { form, outputs, inputs })
    }

    /// Width of the input and of the output.
    pub fn sizes(&self) -> (usize, usize) {
        (self.inputs, self.outputs)
    }

    /// The matrix.
    pub fn tensor(&self) -> &Tensor {
        match &self.form {
            Form::F32(w) | Form::Rounded { master: w, .. } | Form::Frozen { weight: w, .. } => w,
        }
    }

    /// Number format of its products' operands.
    pub fn precision(&self) -> Precision {
        if matches!(self.form, Form::F32(_)) { Precision::F32 } else { Precision::Bf16 }
    }

    /// x [n, inputs] times the transpose: [n, outputs]; added to `onto`, in its memory, if there is one.
    pub fn forward(&self, x: &Rows, onto: Option<Tensor>) -> Result<Tensor> {
        match &self.form {
            Form::F32(w) => product(x, w, false, onto),
            Form::Frozen { weight, .. } => product(x, weight, false, onto),
            Form::Rounded { master, copy } => {
                let mut copy = copy.lock().expect("no thread panics while it rounds");
                let copy = match &mut *copy {
                    Some(copy) => copy,
                    none => none.insert(rounded(master)?),
                };
                product(x, copy, false, onto)
            }
        }
    }

    /// dy [n, outputs] times the matrix: [n, inputs]; added to `onto`, in its memory, if there is one.
    pub fn backward(&self, dy: &Rows, onto: Option<Tensor>) -> Result<Tensor> {
        match &self.form {
            Form::F32(w) => product(dy, w, true, onto),
            Form::Rounded { master, .. } => product(dy, &rounded_transposed(master)?, false, onto),
            Form::Frozen { weight, transposed } => {
                if let Some(t) = transposed.get() {
                    return product(dy, t, false, onto);
                }
                let t = weight.t()?.contiguous()?;
                product(dy, transposed.get_or_init(|| t), false, onto)
            }
        }
    }

    /// The matrix's gradient, dyᵀ x [outputs, inputs], for dy [n, outputs] and x [n, inputs]; added to `onto` likewise.
    pub fn gradient(&self, dy: &Tensor, x: &Tensor, onto: Option<Tensor>) -> Result<Tensor> {
        if let Form::Rounded { copy, .. } = &self.form {
            copy.lock().expect("no thread panics while it rounds").take();
        }
        let (dy, x, precision) = (dy.contiguous()?, x.contiguous()?, self.precision());
        if !has_kernels(&dy) {
            let half = |t: &Tensor| if precision == Precision::Bf16 { t.to_dtype(DType::BF16) } else { Ok(t.clone()) };
            let dw = half(&dy)?.t()?.matmul(&half(&x)?)?.to_dtype(DType::F32)?;
            return onto.map_or(Ok(dw.clone()), |onto| onto + &dw);
        }
        let (m, n, k) = (dy.dim(0)?, self.outputs, self.inputs);
        if dy.dims() != [m, n] || x.dims() != [m, k] {
            bail!("linear: gradient {:?} and input {:?} of a weight [{n}, {k}]", dy.dims(), x.dims())
        }
        with([&dy, &x], |[dy, x]| {
            filled((n, k), &Device::Cpu, onto, |out, add| product::weight_gradient(dy, x, m, n, k, precision, out, add))
        })
    }
}

/// x wᵀ, or x w if `transposed` (f32 alone).
fn product(x: &Rows, w: &Tensor, transposed: bool, onto: Option<Tensor>) -> Result<Tensor> {
    let ((rows, k), (a, b)) = (x.x.dims2()?, w.dims2()?);
    let (n, kw) = if transposed { (b, a) } else { (a, b) };
    if k != kw {
        bail!("linear: rows of {k} numbers for a weight with {kw} inputs")
    }
    let Some(panels) = &x.panels else {
        let w = if transposed { w.clone() } else { w.t()? };
        let y = x.x.matmul(&w)?.to_dtype(DType::F32)?;
        return onto.map_or(Ok(y.clone()), |onto| onto + &y);
    };
    with_numbers(w, |w| {
        let w = match (w, transposed) {
            (Numbers::F32(w), false) => Weights::F32(w),
            (Numbers::F32(w), true) => Weights::F32Transposed(w),
            (Numbers::Bf16(w), _) => Weights::Bf16(w),
        };
        filled((rows, n), &Device::Cpu, onto, |out, add| panels.times(w, n, out, add))
    })
}

enum Numbers<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
}

/// Calls `f` with the numbers of a contiguous CPU tensor.
fn with_numbers<R>(w: &Tensor, f: impl FnOnce(Numbers) -> Result<R>) -> Result<R> {
    check_kernels(w)?;
    let (storage, layout) = w.storage_and_layout();
    let range = layout.contiguous_offsets();
    match (&*storage, range) {
        (Storage::Cpu(CpuStorage::F32(v)), Some((a, b))) => f(Numbers::F32(&v[a..b])),
        (Storage::Cpu(CpuStorage::BF16(v)), Some((a, b))) => f(Numbers::Bf16(&v[a..b])),
        _ => bail!("linear: a weight is {:?} {layout:?}; expected contiguous f32 or bf16", w.dtype()),
    }
}

/// A copy rounded to bf16.
pub fn rounded(w: &Tensor) -> Result<Tensor> {
    if !has_kernels(w) {
        return w.to_dtype(DType::BF16);
    }
    with([w], |[v]| Tensor::from_vec(product::to_bf16(v), w.shape(), w.device()))
}

fn rounded_transposed(w: &Tensor) -> Result<Tensor> {
    if !has_kernels(w) {
        return w.to_dtype(DType::BF16)?.t()?.contiguous();
    }
    let (rows, cols) = w.dims2()?;
    with([w], |[v]| Tensor::from_vec(product::to_bf16_transposed(v, rows, cols), (cols, rows), w.device()))
}

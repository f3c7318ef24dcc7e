//! Products with weights: tensors to and from [`product`].

use super::{
    buffer::{filled, with},
    product::{self, Numbers, Panels, Weights},
};
use crate::ops::{
    backend::{Factor, Precision, Rows},
    stored::Stored,
};
use candle_core::{CpuStorage, Device, Result, Storage, Tensor, bail};

/// Packs contiguous rows [n, features].
pub fn rows(x: &Tensor, precision: Precision) -> Result<Rows> {
    let (n, k) = x.dims2()?;
    Ok(Rows::new(n, k, with([x], |[x]| Ok(Panels::new(x, k, precision)))?))
}

/// x wᵀ, or x w.
pub fn product(x: &Rows, w: Factor, onto: Option<Tensor>) -> Result<Tensor> {
    let (panels, (rows, _)) = (x.packed::<Panels>()?, x.sizes());
    let (Factor::Transposed(w) | Factor::AsItIs(w), transposed) = (w, matches!(w, Factor::Transposed(_)));
    let (height, width) = w.dims2()?;
    let n = if transposed { height } else { width };
    with_numbers(w, |numbers| {
        let w = if transposed { Weights::Rows(numbers) } else { Weights::Columns(numbers) };
        filled((rows, n), &Device::Cpu, onto, |out, add| panels.times(w, n, out, add))
    })
}

/// dyᵀ x.
pub fn weight_gradient(dy: &Tensor, x: &Tensor, precision: Precision, onto: Option<Tensor>) -> Result<Tensor> {
    let ((m, n), k) = (dy.dims2()?, x.dim(1)?);
    with([dy, x], |[dy, x]| {
        filled((n, k), &Device::Cpu, onto, |out, add| product::weight_gradient(dy, x, m, n, k, precision, out, add))
    })
}

/// A copy rounded to bf16.
pub fn rounded(w: &Tensor) -> Result<Tensor> {
    with([w], |[v]| Tensor::from_vec(product::to_bf16(v), w.shape(), w.device()))
}

/// The transpose, rounded to bf16.
pub fn rounded_transposed(w: &Tensor) -> Result<Tensor> {
    let (rows, cols) = w.dims2()?;
    with([w], |[v]| Tensor::from_vec(product::to_bf16_transposed(v, rows, cols), (cols, rows), w.device()))
}

/// Calls `f` with the numbers of blocks or of a contiguous CPU tensor.
fn with_numbers<R>(w: &Stored, f: impl FnOnce(Numbers) -> Result<R>) -> Result<R> {
    let t = match w {
        Stored::Blocks(blocks) => return f(Numbers::Blocks(blocks)),
        Stored::Tensor(t) => t,
    };
    let (storage, layout) = t.storage_and_layout();
    let range = layout.contiguous_offsets();
    match (&*storage, range) {
        (Storage::Cpu(CpuStorage::F32(v)), Some((a, b))) => f(Numbers::F32(&v[a..b])),
        (Storage::Cpu(CpuStorage::BF16(v)), Some((a, b))) => f(Numbers::Bf16(&v[a..b])),
        _ => bail!("linear: a weight is {:?} {layout:?}; expected contiguous f32 or bf16 on the CPU", t.dtype()),
    }
}

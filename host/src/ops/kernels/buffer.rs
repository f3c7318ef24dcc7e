//! Plain memory under the operations: tensors as slices, changes in place, disjoint writes from threads.

use super::simd::{self, Level};
use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Result, Storage, Tensor, bail};
use rayon::prelude::*;
use std::{cell::Cell, marker::PhantomData, ops::Range};

/// The numbers of a contiguous f32 storage.
pub fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let (CpuStorage::F32(v), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
        bail!("expected contiguous f32, got {:?} {:?}", storage.dtype_name(), layout)
    };
    Ok(&v[start..end])
}

trait DTypeName {
    fn dtype_name(&self) -> candle_core::DType;
}
impl DTypeName for CpuStorage {
    fn dtype_name(&self) -> candle_core::DType {
        use candle_core::backend::BackendStorage;
        self.dtype()
    }
}

/// Calls `f` with the numbers of contiguous f32 CPU tensors.
pub fn with<const N: usize, R>(tensors: [&Tensor; N], f: impl FnOnce([&[f32]; N]) -> Result<R>) -> Result<R> {
    let guards = tensors.map(|t| t.storage_and_layout());
    let mut slices: [&[f32]; N] = [&[]; N];
    for (s, (storage, layout)) in slices.iter_mut().zip(&guards) {
        let Storage::Cpu(storage) = &**storage else {
            bail!("a kernel for the CPU was given a tensor on {:?}", storage.device().location())
        };
        *s = slice(storage, layout)?;
    }
    f(slices)
}

/// Memory for `n` numbers that are not set yet: clearing it first costs as much as some operations do.
///
/// # Safety
/// Every number is written before it is read.
#[allow(clippy::uninit_vec)]
pub unsafe fn uninit(n: usize) -> Vec<f32> {
    let mut v = Vec::with_capacity(n);
    // SAFETY: the capacity is there; any bits are a valid f32, and the caller writes before reading.
    unsafe { v.set_len(n) };
    v
}

/// A slice that several threads write disjoint parts of.
#[derive(Clone, Copy)]
pub struct Shared<'a> {
    start: *mut f32,
    len: usize,
    of: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is a `&mut [f32]` whose parts are handed out by `part`, whose callers keep them disjoint.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    /// Borrows the whole slice.
    pub fn new(s: &'a mut [f32]) -> Self {
        Self { start: s.as_mut_ptr(), len: s.len(), of: PhantomData }
    }
    /// A part of it.
    ///
    /// # Safety
    /// No other part that overlaps it is alive.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn part(&self, range: Range<usize>) -> &mut [f32] {
        assert!(range.start <= range.end && range.end <= self.len, "part lies inside the slice");
        // SAFETY: inside the borrowed slice by the assertion, alone by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

/// Changes the numbers of a contiguous f32 CPU tensor in place, under every name it has.
pub fn update(tensor: &Tensor, f: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<()> {
    tensor.inplace_op1(&Update(Cell::new(Some(f))))
}

struct Update<F>(Cell<Option<F>>);

impl<F: FnOnce(&mut [f32]) -> Result<()>> InplaceOp1 for Update<F> {
    fn name(&self) -> &'static str {
        "update"
    }
    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (CpuStorage::F32(v), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
            bail!("update: expected contiguous f32, got {layout:?}")
        };
        self.0.take().map_or(Ok(()), |f| f(&mut v[start..end]))
    }
}

/// A tensor of `shape` that `write` fills: all of it, or adds to what `onto` holds, in its memory.
pub fn filled(
    shape: (usize, usize),
    device: &Device,
    onto: Option<Tensor>,
    write: impl FnOnce(&mut [f32], bool),
) -> Result<Tensor> {
    if let Some(onto) = onto {
        update(&onto, |out| {
            write(out, true);
            Ok(())
        })?;
        return Ok(onto);
    }
    // SAFETY: the caller's `write` fills all of it.
    let mut out = unsafe { uninit(shape.0 * shape.1) };
    write(&mut out, false);
    Tensor::from_vec(out, shape, device)
}

/// Calls `write` with rows `rows[i]` of `dst` [m, width] and i of `src` [n, width], in order of i.
fn each_row<I: Copy + TryInto<usize>>(
    dst: &Tensor,
    src: &Tensor,
    rows: &[I],
    write: impl Fn(&mut [f32], &[f32]),
) -> Result<()> {
    let (height, width) = dst.dims2()?;
    with([&src.contiguous()?], |[src]| {
        update(dst, |dst| {
            for (row, src) in rows.iter().zip(src.chunks_exact(width)) {
                match (*row).try_into() {
                    Ok(row) if row < height => write(&mut dst[row * width..(row + 1) * width], src),
                    _ => bail!("a row lies outside the {height} there are"),
                }
            }
            Ok(())
        })
    })
}

/// Writes row i of `src` [n, width] over row `rows[i]` of `dst` [m, width], in place.
pub fn set_rows(dst: &Tensor, src: &Tensor, rows: &[usize]) -> Result<()> {
    each_row(dst, src, rows, |d, s| d.copy_from_slice(s))
}

/// Adds row i of `src` [n, width] to row `rows[i]` of `dst` [m, width], in order of i, in the memory of `dst`.
pub fn add_rows(dst: Tensor, src: &Tensor, rows: &[u32]) -> Result<Tensor> {
    each_row(&dst, src, rows, |d, s| d.iter_mut().zip(s).for_each(|(d, s)| *d += s))?;
    Ok(dst)
}

/// Numbers of one task of an element-wise operation.
pub const CHUNK: usize = 1 << 14;

/// x times a number, in the memory of x.
pub fn scale(x: Tensor, by: f64) -> Result<Tensor> {
    update(&x, |x| {
        x.iter_mut().for_each(|x| *x *= by as f32);
        Ok(())
    })?;
    Ok(x)
}

/// Adds a vector `[width]` to every row of x [rows, width], in the memory of x.
pub fn add_vector(x: Tensor, v: &Tensor) -> Result<Tensor> {
    with([v], |[v]| {
        update(&x, |x| {
            let level = Level::best();
            x.par_chunks_mut(v.len()).with_min_len(16).for_each(|row| simd::axpy(level, 1.0, v, row));
            Ok(())
        })
    })?;
    Ok(x)
}

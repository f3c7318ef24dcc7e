//! Plain memory under the operations: tensors as slices, disjoint writes from threads, matrix products.

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Storage, Tensor, bail};
use std::{marker::PhantomData, ops::Range};

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
        let Storage::Cpu(storage) = &**storage else { bail!("expected a tensor on the CPU") };
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

/// A matrix that lies in a slice.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows` x `cols`, rows `stride` apart.
    pub fn new(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(rows == 0 || cols == 0 || (rows - 1) * stride + cols <= data.len(), "matrix lies inside the slice");
        Self { data, rows, cols, row_stride: stride, col_stride: 1 }
    }
    /// Its transpose.
    pub fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }
}

/// `out = a b`, or `out += a b`; the rows of `out` lie `stride` apart.
pub fn gemm(out: &mut [f32], stride: usize, a: Matrix, b: Matrix, add: bool, parallel: bool) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    if m == 0 || n == 0 {
        return;
    }
    assert!(k == b.rows && (m - 1) * stride + n <= out.len(), "shapes fit");
    let threads = match parallel {
        true => gemm::Parallelism::Rayon(rayon::current_num_threads()),
        false => gemm::Parallelism::None,
    };
    let s = |stride: usize| stride as isize;
    // SAFETY: `a`, `b` and `out` lie inside their slices by the assertions here and in `Matrix::new`, and `out` is
    // borrowed mutably, so it overlaps neither.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            s(stride),
            add,
            a.data.as_ptr(),
            s(a.col_stride),
            s(a.row_stride),
            b.data.as_ptr(),
            s(b.col_stride),
            s(b.row_stride),
            1.0,
            1.0,
            false,
            false,
            false,
            threads,
        )
    }
}

/// Row i of the source goes to row `rows[i]` of the destination.
struct WriteRows<'a, I> {
    rows: &'a [I],
    write: fn(&mut [f32], &[f32]),
}

impl<I: Copy + TryInto<usize>> InplaceOp2 for WriteRows<'_, I> {
    fn name(&self) -> &'static str {
        "write-rows"
    }
    fn cpu_fwd(&self, dst: &mut CpuStorage, dst_layout: &Layout, src: &CpuStorage, layout: &Layout) -> Result<()> {
        let (height, width) = dst_layout.shape().dims2()?;
        let src = slice(src, layout)?;
        let (CpuStorage::F32(dst), Some((start, end))) = (dst, dst_layout.contiguous_offsets()) else {
            bail!("write-rows: expected contiguous f32")
        };
        let dst = &mut dst[start..end];
        for (row, src) in self.rows.iter().zip(src.chunks_exact(width)) {
            match (*row).try_into() {
                Ok(row) if row < height => (self.write)(&mut dst[row * width..(row + 1) * width], src),
                _ => bail!("write-rows: a row lies outside the {height} there are"),
            }
        }
        Ok(())
    }
}

/// Writes row i of `src` [n, width] over row `rows[i]` of `dst` [m, width], in place.
pub fn set_rows(dst: &Tensor, src: &Tensor, rows: &[usize]) -> Result<()> {
    let src = src.contiguous()?;
    if dst.device().is_cpu() {
        return dst.inplace_op2(&src, &WriteRows { rows, write: <[f32]>::copy_from_slice });
    }
    for (i, row) in rows.iter().enumerate() {
        dst.slice_set(&src.narrow(0, i, 1)?, 0, *row)?;
    }
    Ok(())
}

/// Adds row i of `src` [n, width] to row `rows[i]` of `dst` [m, width], in order of i, in the memory of `dst`.
pub fn add_rows(dst: Tensor, src: &Tensor, rows: &[u32]) -> Result<Tensor> {
    if !dst.device().is_cpu() {
        return dst.index_add(&Tensor::new(rows, dst.device())?, src, 0);
    }
    let write = |dst: &mut [f32], src: &[f32]| dst.iter_mut().zip(src).for_each(|(d, s)| *d += s);
    dst.inplace_op2(&src.contiguous()?, &WriteRows { rows, write })?;
    Ok(dst)
}

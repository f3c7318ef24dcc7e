//! y = x Wᵀ.

use super::{
    buffer::{Matrix, Shared, gemm, slice, uninit, with},
    simd::{Level, Sink, outer},
};
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// Up to this many rows, each row's result does not depend, to the bit, on how many others there are.
pub const MAX_INVARIANT_ROWS: usize = 32;

/// x [rows, in] times the transpose of w [out, in]: [rows, out]. Frozen arguments get no gradient.
pub fn linear(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() { x.contiguous()?.apply_op2(&w.contiguous()?, Linear) } else { plain(x, w) }
}

/// [`linear`] in candle's operations.
pub fn plain(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    x.matmul(&w.t()?)
}

struct Linear;

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }
    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        let ((m, k), (n, kw)) = (lx.shape().dims2()?, lw.shape().dims2()?);
        if k != kw {
            bail!("linear: x is [{m}, {k}] but the weight is [{n}, {kw}]")
        }
        let (x, w) = (slice(x, lx)?, slice(w, lw)?);
        // SAFETY: both branches write all of it.
        let mut out = unsafe { uninit(m * n) };
        if m <= MAX_INVARIANT_ROWS {
            few_rows(x, w, k, &mut out);
        } else {
            gemm(&mut out, n, Matrix::new(x, m, k, k), Matrix::new(w, n, k, k).t(), false, true);
        }
        Ok((CpuStorage::F32(out), (m, n).into()))
    }
    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let ((m, k), n) = (x.dims2()?, w.dim(0)?);
        let g = g.contiguous()?;
        with([x, w, &g], |[xs, ws, g]| {
            let g = Matrix::new(g, m, n, n);
            let product = |a: Matrix, b, rows: usize| {
                // SAFETY: gemm writes all of it.
                let mut out = unsafe { uninit(rows * k) };
                gemm(&mut out, k, a, b, false, true);
                Tensor::from_vec(out, (rows, k), x.device())
            };
            let dx = x.track_op().then(|| product(g, Matrix::new(ws, n, k, k), m)).transpose()?;
            let dw = w.track_op().then(|| product(g.t(), Matrix::new(xs, m, k, k), n)).transpose()?;
            Ok((dx, dw))
        })
    }
}

/// The product for a few rows: bound by reading the weights, so each is read once, and split over the outputs.
fn few_rows(x: &[f32], w: &[f32], k: usize, out: &mut [f32]) {
    let (rows, cols) = (x.len() / k, w.len() / k);
    let level = Level::best();
    let chunk = cols.div_ceil(4 * rayon::current_num_threads()).next_multiple_of(16).max(64);
    let out = Shared::new(out);
    let work = |(i, w): (usize, &[f32])| {
        let first = i * chunk;
        let width = w.len() / k;
        // SAFETY: a row's columns first..first + width belong to this task alone.
        let rows = (0..rows).map(|r| unsafe { out.part(r * cols + first..r * cols + first + width) }).collect();
        outer(level, x, w, k, &mut Rows(rows));
    };
    // Handing tiny products to other threads costs more than they do.
    if x.len() * cols < 1 << 16 {
        w.chunks(chunk * k).enumerate().for_each(work);
    } else {
        w.par_chunks(chunk * k).enumerate().for_each(work);
    }
}

struct Rows<'a>(Vec<&'a mut [f32]>);

impl Sink for Rows<'_> {
    #[inline(always)]
    fn put(&mut self, row: usize, col: usize, value: f32) {
        self.0[row][col] = value;
    }
}

//! Placeholder until the kernels land.
use super::buffer::{Matrix, gemm};
use half::bf16;

/// Number format of a product's operands; sums are always f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Single precision.
    F32,
    /// Rounded to bfloat16.
    Bf16,
}
/// A matrix of weights as a product reads it.
#[derive(Clone, Copy)]
pub enum Weights<'a> {
    F32(&'a [f32]),
    F32Transposed(&'a [f32]),
    Bf16(&'a [bf16]),
}
/// Rows [m, k] packed for products.
pub struct Panels {
    x: Vec<f32>,
    k: usize,
}
fn round(x: &[f32]) -> Vec<f32> {
    x.iter().map(|v| bf16::from_f32(*v).to_f32()).collect()
}
impl Panels {
    pub fn new(x: &[f32], k: usize, precision: Precision) -> Self {
        let x = if precision == Precision::Bf16 { round(x) } else { x.to_vec() };
        Self { x, k }
    }
    pub fn times(&self, w: Weights<'_>, n: usize, out: &mut [f32], add: bool) {
        let (k, m) = (self.k, self.x.len() / self.k);
        let x = Matrix::new(&self.x, m, k, k);
        match w {
            Weights::F32(w) => gemm(out, n, x, Matrix::new(w, n, k, k).t(), add, true),
            Weights::F32Transposed(w) => gemm(out, n, x, Matrix::new(w, k, n, n), add, true),
            Weights::Bf16(w) => {
                let w: Vec<f32> = w.iter().map(|v| v.to_f32()).collect();
                gemm(out, n, x, Matrix::new(&w, n, k, k).t(), add, true)
            }
        }
    }
}
pub fn weight_gradient(
    dy: &[f32],
    x: &[f32],
    m: usize,
    n: usize,
    k: usize,
    precision: Precision,
    out: &mut [f32],
    add: bool,
) {
    if precision == Precision::Bf16 {
        return weight_gradient(&round(dy), &round(x), m, n, k, Precision::F32, out, add);
    }
    gemm(out, k, Matrix::new(dy, m, n, n).t(), Matrix::new(x, m, k, k), add, true);
}
pub fn to_bf16(x: &[f32]) -> Vec<bf16> {
    x.iter().map(|v| bf16::from_f32(*v)).collect()
}
pub fn to_bf16_transposed(x: &[f32], rows: usize, cols: usize) -> Vec<bf16> {
    (0..rows * cols).map(|i| bf16::from_f32(x[i % rows * cols + i / rows])).collect()
}

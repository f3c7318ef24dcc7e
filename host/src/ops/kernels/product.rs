//! Matrix products on the CPU: of activations with weights, forwards and backwards, in f32 and bf16.
//!
//! A product multiplies *lanes* with *rows*. Lanes are packed into panels, a vector of them at each step of the sum;
//! rows are read where they are, one word at a time, and broadcast to the vector. For activations times weights the
//! lanes are tokens, so weights are never packed or copied and a batch of up to 16 tokens reads each of them once; for
//! very few tokens the parts change places and weights are transposed in passing. For gradients of weights the lanes
//! are inputs. Where the processor multiplies no pairs of bf16, they are widened, and matrices in blocks are unpacked:
//! a block of rows once for all panels.
//!
//! **Every result is the same to the bit whatever else is computed with it**: it is one chain of fused products in the
//! order of the summation index (of up to 1024 words; longer sums add up equal chains), and depends neither on the
//! number of rows nor on a row's place among them nor on the number of threads. The instruction set does matter.
//!
//! | file | owns |
//! |---|---|
//! | `vector` | the instruction sets, and the formats of words |
//! | `registers` | a load in part, a transpose |
//! | `tile` | the innermost loops |
//! | `lines` | rows of weights, widened or unpacked in passing |
//! | `pack` | operands in panels |
//! | `multiply` | blocks of the cache, and threads |
//! | `few_rows` | the same for very few tokens |
//! | `narrow` | rounding to bf16 |

mod few_rows;
mod lines;
mod multiply;
mod narrow;
pub mod pack;
pub mod registers;
pub mod tile;
pub mod vector;

use super::{buffer::Shared, simd::Level};
use crate::ops::backend::Precision;
use few_rows::FewRows;
use half::bf16;
use lines::Lines;
pub use lines::Numbers;
use multiply::{Operand, multiply};
pub use narrow::{to_bf16, to_bf16_transposed};
use pack::{Lanes, Matrix, Packed};
use std::borrow::Cow;
use tile::Output;
use vector::Shape;

/// A matrix of weights as a product reads it.
#[derive(Clone, Copy)]
pub enum Weights<'a> {
    /// Row-major [n, k].
    Rows(Numbers<'a>),
    /// Row-major [k, n]: the product with its transpose.
    Columns(Numbers<'a>),
}

/// Rows [m, k] packed for products with weights.
pub struct Panels {
    k: usize,
    m: usize,
    form: Form,
}

enum Form {
    Packed(Packed),
    /// Few rows: their words as they are. Weights take the lanes.
    Rows(Level, Precision, Vec<f32>),
}

impl Panels {
    /// Packs the rows `x` [m, k]. With bf16 they are rounded.
    ///
    /// # Panics
    /// If `x` has no whole number of rows.
    pub fn new(x: &[f32], k: usize, precision: Precision) -> Self {
        Self::at(Level::best(), x, k, precision)
    }

    fn at(level: Level, x: &[f32], k: usize, precision: Precision) -> Self {
        let m = x.len().checked_div(k).unwrap_or(0);
        assert_eq!(x.len(), m * k, "a whole number of rows");
        let form = if m <= Shape::of(level).lanes / 2 {
            Form::Rows(level, precision, narrow::words(level, x, k, precision))
        } else {
            Form::Packed(Packed::new(level, precision, Matrix { numbers: x, rows: m, cols: k }, Lanes::Rows))
        };
        Self { k, m, form }
    }

    fn precision(&self) -> Precision {
        match &self.form {
            Form::Packed(packed) => packed.precision,
            Form::Rows(_, precision, _) => *precision,
        }
    }

    fn level(&self) -> Level {
        match &self.form {
            Form::Packed(packed) => packed.level,
            Form::Rows(level, ..) => *level,
        }
    }

    /// `out` [m, n] = x wᵀ, or `out += x wᵀ`. Weights are rounded to the precision packed for.
    ///
    /// # Panics
    /// If a length does not fit.
    pub fn times(&self, w: Weights<'_>, n: usize, out: &mut [f32], add: bool) {
        let (k, precision, level) = (self.k, self.precision(), self.level());
        let (Weights::Rows(numbers) | Weights::Columns(numbers)) = w;
        assert_eq!(numbers.len(), n * k, "weights are [n, k]");
        assert_eq!(out.len(), self.m * n, "the result is [m, n]");
        if out.is_empty() {
            return;
        }
        if k == 0 {
            return if !add {
                out.fill(0.0)
            };
        }
        let shape = Shape::of(level);
        let steps = shape.words(k, precision);
        let padded;
        let b = match (w, precision) {
            (Weights::Columns(numbers), _) => Operand::Columns(Lines { numbers, width: n, level }, k),
            (Weights::Rows(Numbers::F32(w)), Precision::F32) => Operand::Words(bytemuck::cast_slice(w)),
            (Weights::Rows(Numbers::Bf16(w)), Precision::F32) => Operand::Narrow(w),
            (Weights::Rows(Numbers::Bf16(w)), _) if shape.widens() => Operand::Narrow(w),
            (Weights::Rows(Numbers::Bf16(w)), _) => {
                padded = whole_words(w, k, steps);
                Operand::Words(bytemuck::cast_slice(&padded))
            }
            (Weights::Rows(numbers), _) => Operand::Lines(Lines { numbers, width: k, level }),
        };
        let to = Shared::new(out);
        let out = |lanes_are_rows| Output { to, width: n, lanes_are_rows };
        match &self.form {
            Form::Packed(packed) => multiply(packed, b, n, out(true), add),
            Form::Rows(level, precision, x) => {
                FewRows { level: *level, precision: *precision, x, steps }.multiply(b, n, out(false), add);
            }
        }
    }
}

/// Rows of an odd length with a zero at the end, so that each starts with a word.
fn whole_words(w: &[bf16], k: usize, steps: usize) -> Cow<'_, [bf16]> {
    if k == 2 * steps {
        return w.into();
    }
    w.chunks_exact(k).flat_map(|row| row.iter().copied().chain([bf16::ZERO])).collect()
}

/// `out` [n, k] = dyᵀ x, or `out += dyᵀ x`, of `dy` [m, n] and `x` [m, k]. With bf16 both are rounded.
///
/// # Panics
/// If a length does not fit.
#[allow(clippy::too_many_arguments)]
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
    weight_gradient_at(Level::best(), dy, x, [m, n, k], precision, out, add);
}

fn weight_gradient_at(
    level: Level,
    dy: &[f32],
    x: &[f32],
    [m, n, k]: [usize; 3],
    precision: Precision,
    out: &mut [f32],
    add: bool,
) {
    assert_eq!((dy.len(), x.len(), out.len()), (m * n, m * k, n * k), "dy is [m, n], x is [m, k], the result [n, k]");
    if out.is_empty() {
        return;
    }
    if m == 0 {
        return if !add {
            out.fill(0.0)
        };
    }
    let x = Packed::new(level, precision, Matrix { numbers: x, rows: m, cols: k }, Lanes::Columns);
    let out = Output { to: Shared::new(out), width: k, lanes_are_rows: false };
    let dy = Lines { numbers: Numbers::F32(dy), width: n, level };
    multiply(&x, Operand::Columns(dy, m), n, out, add);
}

#[cfg(test)]
mod tests;

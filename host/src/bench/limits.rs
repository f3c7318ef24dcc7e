//! What this machine can do at most, measured with all threads of the pool and nothing but the operation itself.

use crate::{
    Result, interrupt,
    ops::{Compute, Precision, Weight},
};
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use serde::Serialize;
use std::{hint::black_box, time::Instant};

/// The limits.
#[derive(Debug, Clone, Serialize)]
pub struct Limits {
    /// Products of f32 matrices by the crate gemm, which no change of ours moves.
    pub f32: Product,
    /// Products of f32 matrices by our kernels.
    pub own_f32: Product,
    /// Products of matrices rounded to bf16, summed in f32, by our kernels.
    pub own_bf16: Product,
    /// Memory.
    pub bandwidth: Bandwidth,
}

impl Limits {
    /// The best rate of products of this precision.
    pub fn products(&self, precision: Precision) -> f64 {
        match precision {
            Precision::F32 => self.f32.gflops.max(self.own_f32.gflops),
            Precision::Bf16 => self.own_bf16.gflops,
        }
    }
}

/// The best rate of several shapes.
#[derive(Debug, Clone, Serialize)]
pub struct Product {
    /// 10^9 operations a second, a product of [m, k] and [k, n] being 2 m k n.
    pub gflops: f64,
    /// m, n and k of the shape that reached it.
    pub shape: [usize; 3],
}

/// 10^9 bytes a second, of arrays far larger than any cache.
#[derive(Debug, Clone, Serialize)]
pub struct Bandwidth {
    /// Read only.
    pub read_gb_per_s: f64,
    /// a = b + s c, three numbers moved for each computed (STREAM's triad).
    pub triad_gb_per_s: f64,
}

/// Shapes of the kind models have, as large as caches like and larger.
const SHAPES: [[usize; 3]; 4] = [[1024, 1024, 1024], [2048, 2048, 1024], [2048, 2048, 2048], [4096, 1536, 1536]];
/// Times each is measured; the best counts, since everything else on a machine only ever slows it down.
const REPEATS: usize = 5;
/// Numbers of each of the triad's arrays: 128 MB.
const NUMBERS: usize = 32 << 20;
/// Numbers a thread works on at a time.
const CHUNK: usize = 1 << 16;

/// Measures all of them: some seconds, and 400 MB.
pub fn measure() -> Result<Limits> {
    crate::progress::say(format_args!("limits: matrix products and memory, {} threads", rayon::current_num_threads()));
    Ok(Limits {
        f32: product(yardstick)?,
        own_f32: product(|shape| own(shape, Precision::F32))?,
        own_bf16: product(|shape| own(shape, Precision::Bf16))?,
        bandwidth: bandwidth()?,
    })
}

/// Seconds of the fastest of some runs, after one that touches everything.
pub fn best(mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    run()?;
    let mut best = f64::INFINITY;
    for _ in 0..REPEATS {
        interrupt::check()?;
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// The best rate of the shapes, of which `seconds` measures one.
fn product(seconds: impl Fn([usize; 3]) -> Result<f64>) -> Result<Product> {
    let mut top = Product { gflops: 0.0, shape: SHAPES[0] };
    for shape in SHAPES {
        let gflops = 2.0 * shape.iter().product::<usize>() as f64 / seconds(shape)? / 1e9;
        if gflops > top.gflops {
            top = Product { gflops, shape };
        }
    }
    Ok(top)
}

fn yardstick([m, n, k]: [usize; 3]) -> Result<f64> {
    let (a, b, mut out) = (vec![0.5; m * k], vec![0.25; k * n], vec![0.0; m * n]);
    best(|| {
        multiply(black_box(&mut out), &a, &b, [m, n, k]);
        Ok(())
    })
}

/// Our product of activations and weights, the packing of the activations included.
fn own([m, n, k]: [usize; 3], precision: Precision) -> Result<f64> {
    let x = Tensor::full(0.5f32, (m, k), &Device::Cpu)?;
    let w = Tensor::full(0.25f32, (n, k), &Device::Cpu)?;
    let compute = Compute::new(&Device::Cpu, precision);
    let w = Weight::new(&Weight::frozen(&w.into(), &compute)?, &compute)?;
    let mut out = Some(w.forward(&compute.rows(&x)?, None)?);
    best(|| {
        out = Some(w.forward(&compute.rows(&x)?, out.take())?);
        Ok(())
    })
}

/// out [m, n] = a [m, k] b [k, n], all row-major, by the crate gemm.
fn multiply(out: &mut [f32], a: &[f32], b: &[f32], [m, n, k]: [usize; 3]) {
    assert!(a.len() == m * k && b.len() == k * n && out.len() == m * n, "shapes fit");
    let threads = gemm::Parallelism::Rayon(rayon::current_num_threads());
    let s = |stride: usize| stride as isize;
    let (out, a, b) = (out.as_mut_ptr(), a.as_ptr(), b.as_ptr());
    // SAFETY: all three matrices lie inside their slices by the assertion, and `out` is borrowed mutably, so it
    // overlaps neither.
    unsafe { gemm::gemm(m, n, k, out, 1, s(n), false, a, 1, s(k), b, 1, s(n), 0.0, 1.0, false, false, false, threads) }
}

fn bandwidth() -> Result<Bandwidth> {
    let (mut a, b, c) = (vec![0f32; NUMBERS], vec![1f32; NUMBERS], vec![2f32; NUMBERS]);
    // Integers, since their sum may be reordered and so vectorised.
    let sum = |part: &[u64]| part.iter().fold(0u64, |sum, x| sum.wrapping_add(*x));
    let read = best(|| {
        for array in [&b, &c] {
            let words: &[u64] = bytemuck::cast_slice(array);
            black_box(words.par_chunks(CHUNK).map(sum).reduce(|| 0, u64::wrapping_add));
        }
        Ok(())
    })?;
    let triad = best(|| {
        let parts = a.par_chunks_mut(CHUNK).zip(b.par_chunks(CHUNK)).zip(c.par_chunks(CHUNK));
        parts.for_each(|((a, b), c)| a.iter_mut().zip(b).zip(c).for_each(|((a, b), c)| *a = b + 3.0 * c));
        black_box(&mut a);
        Ok(())
    })?;
    let array = 4.0 * NUMBERS as f64 / 1e9;
    Ok(Bandwidth { read_gb_per_s: 2.0 * array / read, triad_gb_per_s: 3.0 * array / triad })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_yardstick_multiplies() {
        let (a, b) = ([1., 2., 3., 4., 5., 6.], [1., 0., 2., 0., 1., 3., 4., 5., 6., 7., 8., 9.]);
        let mut out = [0.; 8];
        multiply(&mut out, &a, &b, [2, 4, 3]);
        assert_eq!(out, [21., 27., 34., 37., 45., 57., 76., 79.]);
    }
}

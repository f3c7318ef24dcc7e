//! NF4 with double quantisation (Dettmers et al. 2023, arXiv 2305.14314), as bitsandbytes computes it.
//!
//! Blocks of 64 numbers go over row ends. A block's scale a is its largest absolute value, and a number is one of 16
//! codes times that. The scales in turn, less their mean, are in blocks of 256 with one f32 each, and one of 256 codes
//! times that. A code is the nearest one, the lower of two as near: bounds lie in the middle of neighbours.

use super::{LookUp, PIECE, Pieces};
use rayon::prelude::*;
use std::{marker::PhantomData, sync::LazyLock};

/// Numbers that share a scale.
pub const BLOCK: usize = 64;
/// Scales that share a scale.
const SCALES: usize = 256;

/// The codes of numbers.
#[rustfmt::skip]
static CODES: [f32; 16] = [
    -1.0, -0.696_192_8, -0.525_073_05, -0.394_917_5, -0.284_441_38, -0.184_773_43, -0.091_050_036, 0.0,
    0.079_580_3, 0.160_930_2, 0.246_112_3, 0.337_915_24, 0.440_709_83, 0.562_617, 0.722_956_84, 1.0,
];

/// The codes of scales: both signs of means of neighbours among evenly spaced numbers from 0.1 to 1, 2^e + 1 of them,
/// times 10^(e - 6), for e of 0 to 6; 0 and 1. (`create_dynamic_map` of bitsandbytes, with PyTorch's `linspace`.)
static SCALE_CODES: LazyLock<[f32; 256]> = LazyLock::new(|| {
    let mut codes = vec![0.0, 1.0];
    for (e, power) in [1e-6f32, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0].into_iter().enumerate() {
        let last = 1usize << e;
        let step = (1.0 - 0.1f32) / last as f32;
        let point = |i: usize| match i < last.div_ceil(2) {
            true => step.mul_add(i as f32, 0.1),
            false => (-step).mul_add((last - i) as f32, 1.0),
        };
        codes.extend((0..last).flat_map(|i| {
            let code = power * ((point(i) + point(i + 1)) / 2.0);
            [code, -code]
        }));
    }
    codes.sort_by(f32::total_cmp);
    codes.try_into().expect("2 codes and 2 for each of 1 + 2 + ... + 64")
});

/// The scales of blocks, in blocks.
pub struct Scales {
    /// Codes.
    codes: Vec<u8>,
    /// Of each 256 codes.
    scales: Vec<f32>,
    /// The mean, which was taken off.
    mean: f32,
}

impl Scales {
    /// Bytes of it.
    pub fn size(&self) -> usize {
        self.codes.len() + size_of::<f32>() * (self.scales.len() + 1)
    }
    #[inline(always)]
    fn get(&self, block: usize) -> f32 {
        SCALE_CODES[self.codes[block] as usize] * self.scales[block / SCALES] + self.mean
    }
}

/// [`Scales::size`] of that many numbers.
pub fn scale_bytes(numbers: usize) -> usize {
    let blocks = numbers.div_ceil(BLOCK);
    blocks + size_of::<f32>() * (blocks.div_ceil(SCALES) + 1)
}

/// The pieces of a matrix's bytes with its scales.
pub struct Nf4Pieces<L>(PhantomData<L>);

impl<L: LookUp> Pieces for Nf4Pieces<L> {
    type Data<'a> = (&'a [u8], &'a Scales);
    #[inline(always)]
    fn piece((bytes, scales): (&[u8], &Scales), i: usize, out: &mut [f32; PIECE]) {
        let scale = scales.get(i * PIECE / BLOCK);
        let halves = bytes[i * PIECE / 2..][..PIECE / 2].try_into().expect("a slice of that length");
        let mut table = CODES;
        for code in &mut table {
            *code *= scale;
        }
        L::look_up(&table, halves, out);
    }
}

/// The largest absolute value, and of each number its code among sorted ones.
fn codes(numbers: &[f32], bounds: &[f32], out: &mut [u8]) -> f32 {
    let largest = numbers.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    let factor = 1.0 / largest.max(1e-38);
    for (to, x) in out.iter_mut().zip(numbers) {
        let x = (x * factor).clamp(-1.0, 1.0);
        *to = bounds.iter().map(|bound| u8::from(*bound < x)).sum();
    }
    largest
}

/// The middles of neighbours.
fn bounds<const N: usize>(codes: &[f32; N]) -> Vec<f32> {
    codes.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0).collect()
}

/// Whole blocks of bytes, two numbers each, and the scales.
pub fn pack(numbers: &[f32]) -> (Vec<u8>, Scales) {
    let blocks = numbers.len().div_ceil(BLOCK);
    let (mut bytes, mut largest) = (vec![0; blocks * BLOCK / 2], vec![0.0; blocks]);
    let middles: [f32; 15] = bounds(&CODES).try_into().expect("one less than codes");
    let pairs = bytes.par_chunks_mut(BLOCK / 2).zip(numbers.par_chunks(BLOCK));
    pairs.zip(&mut largest).with_min_len(1 << 10).for_each(|((bytes, numbers), largest)| {
        let mut of = [0; BLOCK];
        *largest = codes(numbers, &middles, &mut of);
        for (byte, pair) in bytes.iter_mut().zip(of.as_chunks::<2>().0) {
            *byte = pair[0] << 4 | pair[1];
        }
    });
    let mean = (largest.iter().map(|x| f64::from(*x)).sum::<f64>() / blocks.max(1) as f64) as f32;
    largest.iter_mut().for_each(|x| *x -= mean);
    let (mut of, middles) = (vec![0; blocks], bounds(&SCALE_CODES));
    let scales = of.chunks_mut(SCALES).zip(largest.chunks(SCALES)).map(|(of, x)| codes(x, &middles, of)).collect();
    (bytes, Scales { codes: of, scales, mean })
}

#[cfg(test)]
pub fn scale_codes() -> &'static [f32] {
    &*SCALE_CODES
}

#[cfg(test)]
impl Scales {
    pub fn of_parts(codes: Vec<u8>, scales: Vec<f32>, mean: f32) -> Self {
        Self { codes, scales, mean }
    }
    pub fn codes(&self) -> &[u8] {
        &self.codes
    }
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }
}

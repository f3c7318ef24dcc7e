//! Vector registers of each level, and how a product is compiled for all of them.

use super::super::simd::{Level, Set};

/// Lanes of the widest vector.
pub const MAX_LANES: usize = 16;

/// An instruction set: what products need of its vector registers.
///
/// A register holds [`LANES`](Self::LANES) numbers, or as many *words* of two bf16, the earlier one in the low half.
///
/// Every function is unsafe for one reason: the processor must have the instructions, which [`Level::run`] sees to.
/// Those that take a pointer also need the lanes behind it to be readable or writable.
#[allow(clippy::missing_safety_doc)]
pub trait Vectors: Copy {
    type V: Copy;
    /// Numbers in a register.
    const LANES: usize;
    /// Rows of a tile: with three registers each, its sums fill the registers.
    const ROWS: usize;
    unsafe fn zero() -> Self::V;
    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(p: *const f32) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// `sum + a * b`
    unsafe fn add_product(sum: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// `sum` and both products of the pairs in words `a` and `b`.
    unsafe fn add_pairs(sum: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// Words of `low` and `high`, rounded to nearest even.
    unsafe fn pair(low: Self::V, high: Self::V) -> Self::V;
    /// Stores rounded numbers.
    unsafe fn store_bf16(p: *mut u16, v: Self::V);
    /// a0 b0 a1 b1 ..., first and second half.
    unsafe fn interleave(a: Self::V, b: Self::V) -> (Self::V, Self::V);
    /// Asks for the line at `p`, which need not be readable, in the first-level cache.
    #[inline(always)]
    unsafe fn prefetch(_p: *const f32) {}
    /// Asks for it in the second-level cache.
    #[inline(always)]
    unsafe fn prefetch_far(_p: *const f32) {}
}

/// Work compiled for each level.
pub trait Job {
    type Output;
    /// Runs it. Everything on the way to an instruction must be `#[inline(always)]`.
    ///
    /// # Safety
    /// The processor has the instructions of `S`.
    unsafe fn run<S: Vectors>(self) -> Self::Output;
}

impl Level {
    /// Runs a job with this level's instructions.
    #[inline]
    pub fn run<J: Job>(self, job: J) -> J::Output {
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx512bf16,avx2,fma")]
            fn avx512_bf16<J: Job>(job: J) -> J::Output {
                // SAFETY: the features enabled here are what the type needs.
                unsafe { job.run::<x86::Avx512Bf16>() }
            }
            #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx2,fma")]
            fn avx512<J: Job>(job: J) -> J::Output {
                // SAFETY: as above.
                unsafe { job.run::<x86::Avx512>() }
            }
            #[target_feature(enable = "avx2,fma")]
            fn avx2<J: Job>(job: J) -> J::Output {
                // SAFETY: as above.
                unsafe { job.run::<x86::Avx2>() }
            }
            // SAFETY: a level exists only where the processor has its instructions.
            unsafe {
                match self.0 {
                    Set::Avx512Bf16 => return avx512_bf16(job),
                    Set::Avx512 => return avx512(job),
                    Set::Avx2 => return avx2(job),
                    Set::Portable => {}
                }
            }
        }
        // SAFETY: no special instructions.
        unsafe { job.run::<Portable>() }
    }
}

/// Numbers in a vector of a level.
pub fn lanes(level: Level) -> usize {
    struct Lanes;
    impl Job for Lanes {
        type Output = usize;
        #[inline(always)]
        unsafe fn run<S: Vectors>(self) -> usize {
            S::LANES
        }
    }
    level.run(Lanes)
}

/// The upper 16 bits of a number rounded to nearest even; NaN stays NaN.
#[inline(always)]
fn round(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    if x.is_nan() { bits >> 16 | 0x40 } else { rounded }
}

/// Plain code, four numbers at a time.
#[derive(Clone, Copy)]
pub struct Portable;

impl Vectors for Portable {
    type V = [f32; 4];
    const LANES: usize = 4;
    const ROWS: usize = 4;
    #[inline(always)]
    unsafe fn zero() -> Self::V {
        [0.0; 4]
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        [x; 4]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<Self::V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::V) {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<Self::V>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn add_product(sum: Self::V, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| sum[i] + a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn add_pairs(sum: Self::V, a: Self::V, b: Self::V) -> Self::V {
        let low = |x: f32| f32::from_bits(x.to_bits() << 16);
        let high = |x: f32| f32::from_bits(x.to_bits() & 0xffff_0000);
        std::array::from_fn(|i| sum[i] + low(a[i]) * low(b[i]) + high(a[i]) * high(b[i]))
    }
    #[inline(always)]
    unsafe fn pair(low: Self::V, high: Self::V) -> Self::V {
        std::array::from_fn(|i| f32::from_bits(round(low[i]) | round(high[i]) << 16))
    }
    #[inline(always)]
    unsafe fn store_bf16(p: *mut u16, v: Self::V) {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<[u16; 4]>().write_unaligned(v.map(|x| round(x) as u16)) }
    }
    #[inline(always)]
    unsafe fn interleave(a: Self::V, b: Self::V) -> (Self::V, Self::V) {
        ([a[0], b[0], a[1], b[1]], [a[2], b[2], a[3], b[3]])
    }
}

#[cfg(target_arch = "x86_64")]
mod x86;

//! Vector registers of each level, what their words hold, and how a product is compiled for all levels.

use super::{
    super::simd::{Level, Set},
    Precision,
};

/// Lanes of the widest vector.
pub const MAX_LANES: usize = 16;
/// Vectors of the widest panel at each step.
pub const MAX_WIDTH: usize = 3;

/// An instruction set: what products need of its vector registers.
///
/// A register holds [`LANES`](Self::LANES) numbers, or, where there are instructions for them, as many pairs of bf16.
///
/// Every function is unsafe for one reason: the processor must have the instructions, which [`Level::run`] sees to.
/// Those that take a pointer also need the lanes behind it to be readable or writable.
#[allow(clippy::missing_safety_doc)]
pub trait Vectors: Copy {
    type V: Copy;
    /// What products of bf16 are made of.
    type Bf16: Format<Self>;
    /// Numbers in a register.
    const LANES: usize;
    /// Vectors of a panel at each step; the last panel may have fewer.
    const WIDTH: usize;
    /// Rows of a tile: with [`WIDTH`](Self::WIDTH) registers each, its sums and the operands of a step fill the
    /// registers.
    const ROWS: usize;
    /// Rows whose sums are moved to the result at once: whole tiles, and whole squares to transpose.
    const BLOCK: usize;
    unsafe fn zero() -> Self::V;
    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(p: *const f32) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// `sum + a * b`
    unsafe fn add_product(sum: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// Rounded to bf16, to nearest even.
    unsafe fn round(v: Self::V) -> Self::V;
    /// Stores rounded numbers.
    unsafe fn store_bf16(p: *mut u16, v: Self::V);
    /// Loads what [`store_bf16`](Self::store_bf16) stores.
    unsafe fn load_bf16(p: *const u16) -> Self::V;
    /// The earlier and the later bf16 of each pair.
    unsafe fn halves(pairs: Self::V) -> (Self::V, Self::V);
    /// Entries of a table of 16 by the halves of bytes, the upper half of each first: as many as there are lanes.
    /// Reads half as many bytes.
    unsafe fn look_up(table: *const f32, halves: *const u8) -> Self::V;
    /// a0 b0 a1 b1 ..., first and second half.
    unsafe fn interleave(a: Self::V, b: Self::V) -> (Self::V, Self::V);
    /// Runs work in a function of its own, where nothing around it takes registers away.
    unsafe fn apart(work: impl Work<Self>);
    /// Asks for the line at `p`, which need not be readable, in the first-level cache.
    #[inline(always)]
    unsafe fn prefetch(_p: *const f32) {}
    /// Asks for it in the second-level cache.
    #[inline(always)]
    unsafe fn prefetch_far(_p: *const f32) {}
}

/// What a word of the operands is: 32 bits.
pub trait Format<S: Vectors> {
    /// Numbers in a word.
    const DEPTH: usize;
    /// `sum` and the products of words `a` and `b`.
    ///
    /// # Safety
    /// As for [`Vectors`].
    unsafe fn add(sum: S::V, a: S::V, b: S::V) -> S::V;
    /// Words of the numbers `first` and, if a word has two, `second`.
    ///
    /// # Safety
    /// As for [`Vectors`].
    unsafe fn word(first: S::V, second: S::V) -> S::V;
}

/// One f32.
pub struct F32;
/// One f32 that was rounded to bf16, where there are no instructions for bf16.
pub struct Rounded;

impl<S: Vectors> Format<S> for F32 {
    const DEPTH: usize = 1;
    #[inline(always)]
    unsafe fn add(sum: S::V, a: S::V, b: S::V) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { S::add_product(sum, a, b) }
    }
    #[inline(always)]
    unsafe fn word(first: S::V, _: S::V) -> S::V {
        first
    }
}

impl<S: Vectors> Format<S> for Rounded {
    const DEPTH: usize = 1;
    #[inline(always)]
    unsafe fn add(sum: S::V, a: S::V, b: S::V) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { S::add_product(sum, a, b) }
    }
    #[inline(always)]
    unsafe fn word(first: S::V, _: S::V) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { S::round(first) }
    }
}

/// Work of one instruction set.
pub trait Work<S: Vectors> {
    /// Does it. As [`Job::run`].
    ///
    /// # Safety
    /// The processor has the instructions of `S`.
    unsafe fn run(self);
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

/// The sizes of a level's [`Vectors`].
#[derive(Clone, Copy)]
pub struct Shape {
    /// Numbers in a vector.
    pub lanes: usize,
    /// Lanes of a whole panel.
    pub panel: usize,
    /// [`Vectors::BLOCK`]
    pub block: usize,
    /// Numbers in a word of bf16.
    bf16: usize,
}

impl Shape {
    /// Of a level.
    pub fn of(level: Level) -> Self {
        struct Sizes;
        impl Job for Sizes {
            type Output = Shape;
            #[inline(always)]
            unsafe fn run<S: Vectors>(self) -> Shape {
                Shape { lanes: S::LANES, panel: S::WIDTH * S::LANES, block: S::BLOCK, bf16: S::Bf16::DEPTH }
            }
        }
        level.run(Sizes)
    }
    /// Whether bf16 are multiplied as f32, a number a word, for want of instructions.
    pub fn widens(self) -> bool {
        self.bf16 == 1
    }
    /// Words of that many numbers.
    pub fn words(self, numbers: usize, precision: Precision) -> usize {
        match precision {
            Precision::F32 => numbers,
            Precision::Bf16 => numbers.div_ceil(self.bf16),
        }
    }
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
    type Bf16 = Rounded;
    const LANES: usize = 4;
    const WIDTH: usize = 2;
    const ROWS: usize = 6;
    const BLOCK: usize = 12;
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
    unsafe fn round(v: Self::V) -> Self::V {
        v.map(|x| f32::from_bits(round(x) << 16))
    }
    #[inline(always)]
    unsafe fn store_bf16(p: *mut u16, v: Self::V) {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<[u16; 4]>().write_unaligned(v.map(|x| round(x) as u16)) }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<[u16; 4]>().read_unaligned().map(|x| f32::from_bits(u32::from(x) << 16)) }
    }
    #[inline(always)]
    unsafe fn halves(pairs: Self::V) -> (Self::V, Self::V) {
        let bits = pairs.map(f32::to_bits);
        (bits.map(|x| f32::from_bits(x << 16)), bits.map(|x| f32::from_bits(x & 0xffff_0000)))
    }
    #[inline(always)]
    unsafe fn look_up(table: *const f32, halves: *const u8) -> Self::V {
        // SAFETY: the caller's promise; a half of a byte is below 16.
        unsafe {
            let [a, b] = halves.cast::<[u8; 2]>().read();
            [a >> 4, a & 15, b >> 4, b & 15].map(|i| table.add(usize::from(i)).read())
        }
    }
    #[inline(always)]
    unsafe fn interleave(a: Self::V, b: Self::V) -> (Self::V, Self::V) {
        ([a[0], b[0], a[1], b[1]], [a[2], b[2], a[3], b[3]])
    }
    #[inline(never)]
    unsafe fn apart(work: impl Work<Self>) {
        // SAFETY: no special instructions.
        unsafe { work.run() }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86;

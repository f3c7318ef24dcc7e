//! Vectors of x86-64. Every unsafe block rests on the promise of [`Vectors`]: the processor has the instructions.
#![allow(clippy::undocumented_unsafe_blocks)]

use super::{Format, Rounded, Vectors, Work};
use std::arch::x86_64::*;

/// AVX2 with FMA.
#[derive(Clone, Copy)]
pub struct Avx2;
/// AVX-512.
#[derive(Clone, Copy)]
pub struct Avx512;
/// AVX-512 with products of bf16.
#[derive(Clone, Copy)]
pub struct Avx512Bf16;

/// What vectors of both widths have under names that differ by a prefix.
macro_rules! common {
    ($features:literal, $v:ty, $lanes:literal, $width:literal, $rows:literal, $block:literal, $zero:ident, $splat:ident, $load:ident, $store:ident, $add:ident, $fma:ident) => {
        type V = $v;
        const LANES: usize = $lanes;
        const WIDTH: usize = $width;
        const ROWS: usize = $rows;
        const BLOCK: usize = $block;
        #[inline(always)]
        unsafe fn zero() -> $v {
            unsafe { $zero() }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> $v {
            unsafe { $splat(x) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> $v {
            unsafe { $load(p) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: $v) {
            unsafe { $store(p, v) }
        }
        #[inline(always)]
        unsafe fn add(a: $v, b: $v) -> $v {
            unsafe { $add(a, b) }
        }
        #[inline(always)]
        unsafe fn add_product(sum: $v, a: $v, b: $v) -> $v {
            unsafe { $fma(a, b, sum) }
        }
        #[inline(always)]
        unsafe fn apart(work: impl Work<Self>) {
            #[inline(never)]
            #[target_feature(enable = $features)]
            fn run<S: Vectors>(work: impl Work<S>) {
                unsafe { work.run() }
            }
            unsafe { run(work) }
        }
        #[inline(always)]
        unsafe fn prefetch(p: *const f32) {
            unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        }
        #[inline(always)]
        unsafe fn prefetch_far(p: *const f32) {
            unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
        }
    };
}

/// 16 lanes.
macro_rules! wide {
    ($features:literal) => {
        common! {
            $features, __m512, 16, 3, 8, 16, _mm512_setzero_ps, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps,
            _mm512_fmadd_ps
        }
        #[inline(always)]
        unsafe fn interleave(a: __m512, b: __m512) -> (__m512, __m512) {
            unsafe {
                let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
                let high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
                (_mm512_permutex2var_ps(a, low, b), _mm512_permutex2var_ps(a, high, b))
            }
        }
        #[inline(always)]
        unsafe fn look_up(table: *const f32, halves: *const u8) -> __m512 {
            unsafe {
                let places = _mm512_cvtepu8_epi32(halves_apart(_mm_loadl_epi64(halves.cast())));
                _mm512_permutexvar_ps(places, _mm512_loadu_ps(table))
            }
        }
        #[inline(always)]
        unsafe fn round(v: __m512) -> __m512 {
            unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(round512(v))) }
        }
        #[inline(always)]
        unsafe fn load_bf16(p: *const u16) -> __m512 {
            unsafe {
                let numbers = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(numbers))
            }
        }
        #[inline(always)]
        unsafe fn halves(pairs: __m512) -> (__m512, __m512) {
            unsafe {
                let bits = _mm512_castps_si512(pairs);
                let odd = _mm512_and_si512(bits, _mm512_set1_epi32(0xffff_0000_u32 as i32));
                (_mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits)), _mm512_castsi512_ps(odd))
            }
        }
    };
}

/// The halves of bytes in bytes of their own, the upper half of each first.
#[inline(always)]
unsafe fn halves_apart(bytes: __m128i) -> __m128i {
    unsafe {
        let mask = _mm_set1_epi8(15);
        let upper = _mm_and_si128(_mm_srli_epi16::<4>(bytes), mask);
        _mm_unpacklo_epi8(upper, _mm_and_si128(bytes, mask))
    }
}

/// Pairs of bf16, the earlier one in the low half.
pub struct Pairs;

impl Format<Avx512Bf16> for Pairs {
    const DEPTH: usize = 2;
    #[inline(always)]
    unsafe fn add(sum: __m512, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_dpbf16_ps(sum, bf16(a), bf16(b)) }
    }
    #[inline(always)]
    unsafe fn word(first: __m512, second: __m512) -> __m512 {
        unsafe {
            let (low, high) = (half(_mm512_cvtneps_pbh(first)), half(_mm512_cvtneps_pbh(second)));
            let high = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(high));
            _mm512_castsi512_ps(_mm512_or_si512(_mm512_cvtepu16_epi32(low), high))
        }
    }
}

impl Vectors for Avx512Bf16 {
    type Bf16 = Pairs;
    wide!("avx512f,avx512vl,avx512dq,avx512bw,avx512bf16,avx2,fma");
    #[inline(always)]
    unsafe fn store_bf16(p: *mut u16, v: __m512) {
        unsafe { _mm256_storeu_si256(p.cast(), half(_mm512_cvtneps_pbh(v))) }
    }
}

#[inline(always)]
unsafe fn bf16(words: __m512) -> __m512bh {
    // SAFETY: same size, any bits are valid.
    unsafe { std::mem::transmute(words) }
}

#[inline(always)]
unsafe fn half(v: __m256bh) -> __m256i {
    // SAFETY: same size, any bits are valid.
    unsafe { std::mem::transmute(v) }
}

impl Vectors for Avx512 {
    type Bf16 = Rounded;
    wide!("avx512f,avx512vl,avx512dq,avx2,fma");
    #[inline(always)]
    unsafe fn store_bf16(p: *mut u16, v: __m512) {
        unsafe { _mm256_storeu_si256(p.cast(), _mm512_cvtepi32_epi16(round512(v))) }
    }
}

/// [`round`](super::round) in 16 lanes.
#[inline(always)]
unsafe fn round512(x: __m512) -> __m512i {
    unsafe {
        let bits = _mm512_castps_si512(x);
        let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
        let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x40_0000));
        _mm512_srli_epi32::<16>(_mm512_mask_mov_epi32(rounded, nan, quiet))
    }
}

impl Vectors for Avx2 {
    type Bf16 = Rounded;
    common! {
        "avx2,fma", __m256, 8, 2, 6, 24, _mm256_setzero_ps, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps,
        _mm256_fmadd_ps
    }
    #[inline(always)]
    unsafe fn look_up(table: *const f32, halves: *const u8) -> __m256 {
        unsafe {
            let bytes = _mm_cvtsi32_si128(halves.cast::<i32>().read_unaligned());
            let places = _mm256_cvtepu8_epi32(halves_apart(bytes));
            let [low, high] =
                [table, table.add(8)].map(|table| _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), places));
            // The fourth bit of a place as the sign that chooses.
            _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32::<28>(places)))
        }
    }
    #[inline(always)]
    unsafe fn interleave(a: __m256, b: __m256) -> (__m256, __m256) {
        unsafe {
            let (even, odd) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            (_mm256_permute2f128_ps::<0x20>(even, odd), _mm256_permute2f128_ps::<0x31>(even, odd))
        }
    }
    #[inline(always)]
    unsafe fn round(v: __m256) -> __m256 {
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(round256(v))) }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> __m256 {
        unsafe {
            let numbers = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(numbers))
        }
    }
    #[inline(always)]
    unsafe fn halves(pairs: __m256) -> (__m256, __m256) {
        unsafe {
            let bits = _mm256_castps_si256(pairs);
            let odd = _mm256_and_si256(bits, _mm256_set1_epi32(0xffff_0000_u32 as i32));
            (_mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits)), _mm256_castsi256_ps(odd))
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(p: *mut u16, v: __m256) {
        unsafe {
            let v = round256(v);
            // Packing goes by 128-bit halves; the permutation puts their low parts side by side.
            let packed = _mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi32(v, v));
            _mm_storeu_si128(p.cast(), _mm256_castsi256_si128(packed))
        }
    }
}

/// [`round`](super::round) in 8 lanes.
#[inline(always)]
unsafe fn round256(x: __m256) -> __m256i {
    unsafe {
        let bits = _mm256_castps_si256(x);
        let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
        let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
        let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x40_0000));
        _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, quiet, nan))
    }
}

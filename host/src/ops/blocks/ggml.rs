//! The kinds of ggml: a piece of 32 numbers each, of matrices as GGUF files hold them. Layouts as the `gguf` package
//! (`quants.py`) reads them.

use super::{PIECE, Pieces};
use half::f16;

/// Bytes of a block of 32: d, 16 bytes of halves.
pub const Q4_0: usize = 2 + 16;
/// Bytes of a block of 32: d, 32 signed bytes.
pub const Q8_0: usize = 2 + 32;
/// Bytes of a block of 256: d, m, 8 scales and 8 offsets of 6 bits, 128 bytes of halves.
pub const Q4_K: usize = 4 + 12 + 128;
/// Bytes of a block of 256: as Q4_K, with 32 bytes of fifth bits before the halves.
pub const Q5_K: usize = 4 + 12 + 32 + 128;
/// Bytes of a block of 256: 128 bytes of lower 4 bits, 64 of upper 2 bits, 16 signed scales, d.
pub const Q6_K: usize = 128 + 64 + 16 + 2;

/// The block that has piece `i`, and the place of the piece in it.
#[inline(always)]
fn block<const BYTES: usize>(bytes: &[u8], i: usize, pieces: usize) -> (&[u8; BYTES], usize) {
    let at = i / pieces * BYTES;
    let block = bytes[at..at + BYTES].try_into().expect("a slice of that length");
    (block, i % pieces)
}

/// `COUNT` bytes from `at` on.
#[inline(always)]
fn part<const COUNT: usize>(block: &[u8], at: usize) -> &[u8; COUNT] {
    block[at..at + COUNT].try_into().expect("a slice of that length")
}

#[inline(always)]
fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes(*part(block, at)).to_f32_const()
}

#[inline(always)]
fn q4_0(bytes: &[u8], i: usize, out: &mut [f32; PIECE]) {
    let (block, _) = block::<Q4_0>(bytes, i, 1);
    let (d, q) = (half(block, 0), part::<16>(block, 2));
    let (low, high) = out.split_at_mut(16);
    for j in 0..16 {
        low[j] = d * (i32::from(q[j] & 15) - 8) as f32;
        high[j] = d * (i32::from(q[j] >> 4) - 8) as f32;
    }
}

#[inline(always)]
fn q8_0(bytes: &[u8], i: usize, out: &mut [f32; PIECE]) {
    let (block, _) = block::<Q8_0>(bytes, i, 1);
    let (d, q) = (half(block, 0), part::<32>(block, 2));
    for j in 0..PIECE {
        out[j] = d * f32::from(q[j] as i8);
    }
}

/// d s and m t of the j-th 32 numbers of a block of Q4_K or Q5_K.
#[inline(always)]
fn scales(block: &[u8], j: usize) -> (f32, f32) {
    let packed = part::<12>(block, 4);
    let (s, t) = if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        (packed[j + 4] & 15 | packed[j - 4] >> 6 << 4, packed[j + 4] >> 4 | packed[j] >> 6 << 4)
    };
    (half(block, 0) * f32::from(s), half(block, 2) * f32::from(t))
}

#[inline(always)]
fn q4_k(bytes: &[u8], i: usize, out: &mut [f32; PIECE]) {
    let (block, j) = block::<Q4_K>(bytes, i, 8);
    let (q, shift, (scale, offset)) = (part::<32>(block, 16 + j / 2 * 32), j % 2 * 4, scales(block, j));
    for j in 0..PIECE {
        out[j] = scale * f32::from(q[j] >> shift & 15) - offset;
    }
}

#[inline(always)]
fn q5_k(bytes: &[u8], i: usize, out: &mut [f32; PIECE]) {
    let (block, j) = block::<Q5_K>(bytes, i, 8);
    let (high, q) = (part::<32>(block, 16), part::<32>(block, 48 + j / 2 * 32));
    let (shift, fifth, (scale, offset)) = (j % 2 * 4, j, scales(block, j));
    for j in 0..PIECE {
        out[j] = scale * f32::from(q[j] >> shift & 15 | (high[j] >> fifth & 1) << 4) - offset;
    }
}

#[inline(always)]
fn q6_k(bytes: &[u8], i: usize, out: &mut [f32; PIECE]) {
    let (block, j) = block::<Q6_K>(bytes, i, 8);
    // Of each half of a block, four pieces share the bytes of upper bits, the first and third those of lower bits.
    let (part_of, quarter) = (j / 4, j % 4);
    let low = part::<32>(block, part_of * 64 + quarter % 2 * 32);
    let high = part::<32>(block, 128 + part_of * 32);
    let (shift, d) = (quarter / 2 * 4, half(block, 208));
    for (k, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = d * f32::from(block[192 + part_of * 8 + quarter * 2 + k] as i8);
        let (low, high) = (part::<16>(low, 16 * k), part::<16>(high, 16 * k));
        for j in 0..16 {
            let q = low[j] >> shift & 15 | (high[j] >> (2 * quarter) & 3) << 4;
            out[j] = scale * (i32::from(q) - 32) as f32;
        }
    }
}

/// A kind's pieces of the bytes of a matrix.
macro_rules! pieces {
    ($($name:ident = $unpack:ident),*) => {$(
        #[allow(non_camel_case_types, reason = "as files have it")]
        pub struct $name;
        impl Pieces for $name {
            type Data<'a> = &'a [u8];
            #[inline(always)]
            fn piece(bytes: &[u8], i: usize, out: &mut [f32; PIECE]) {
                $unpack(bytes, i, out);
            }
        }
    )*};
}

pieces! { Q4_0Pieces = q4_0, Q8_0Pieces = q8_0, Q4_KPieces = q4_k, Q5_KPieces = q5_k, Q6_KPieces = q6_k }

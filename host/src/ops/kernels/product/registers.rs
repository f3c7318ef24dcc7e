//! A register loaded in part, and a square of registers transposed.

use super::vector::{MAX_LANES, Vectors};

/// A vector whose lanes from `count` on are zero.
///
/// # Safety
/// As for [`Vectors`]; `p` is readable for `count` numbers.
#[inline(always)]
pub unsafe fn part<S: Vectors>(p: *const f32, count: usize) -> S::V {
    // SAFETY: the caller's promise.
    unsafe { part_of_bytes::<S>(p.cast(), size_of::<f32>() * count) }
}

/// A vector whose bytes from `count` on are zero.
///
/// # Safety
/// As for [`Vectors`]; `p` is readable for `count` bytes.
#[inline(always)]
pub unsafe fn part_of_bytes<S: Vectors>(p: *const u8, count: usize) -> S::V {
    // SAFETY: the caller's promise.
    unsafe {
        if count == size_of::<f32>() * S::LANES {
            return S::load(p.cast());
        }
        let mut line = [0.0f32; MAX_LANES];
        std::ptr::copy_nonoverlapping(p, line.as_mut_ptr().cast::<u8>(), count);
        S::load(line.as_ptr())
    }
}

/// Transposes the square that the first vectors form, as many as they have lanes.
///
/// Seen as a number whose upper bits are the row and lower bits the column, an element's place turns left by one bit in
/// each round; after half of all bits, row and column have changed places.
///
/// # Safety
/// As for [`Vectors`].
#[inline(always)]
pub unsafe fn transpose<S: Vectors>(m: &mut [S::V; MAX_LANES]) {
    let n = S::LANES;
    for _ in 0..n.trailing_zeros() {
        let from = *m;
        for i in 0..n / 2 {
            // SAFETY: the caller's promise.
            (m[2 * i], m[2 * i + 1]) = unsafe { S::interleave(from[i], from[i + n / 2]) };
        }
    }
}

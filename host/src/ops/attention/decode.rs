//! Attention of one query, which is bound by reading its keys and values: each is read once, in vectors of a head.

use crate::ops::{
    product::vector::{Job, MAX_LANES, Vectors},
    simd::Level,
};

/// `out[i] = q . keys[i]`, the rows of keys `stride` apart.
pub fn scores(level: Level, q: &[f32], keys: &[f32], stride: usize, out: &mut [f32]) {
    assert!(out.is_empty() || (out.len() - 1) * stride + q.len() <= keys.len(), "the keys are there");
    level.run(Scores { q, keys, stride, out });
}

/// `out += sum p[i] values[i]`, the rows of values `stride` apart.
pub fn mix(level: Level, p: &[f32], values: &[f32], stride: usize, out: &mut [f32]) {
    assert!(p.is_empty() || (p.len() - 1) * stride + out.len() <= values.len(), "the values are there");
    level.run(Mix { p, values, stride, out });
}

struct Scores<'a> {
    q: &'a [f32],
    keys: &'a [f32],
    stride: usize,
    out: &'a mut [f32],
}

impl Job for Scores<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Vectors>(self) {
        let (n, whole) = (self.q.len(), self.q.len() / S::LANES * S::LANES);
        for (i, out) in self.out.iter_mut().enumerate() {
            let key = &self.keys[i * self.stride..][..n];
            let mut lanes = [0.0; MAX_LANES];
            // SAFETY: the caller runs this at a level that has the instructions; offsets are below `whole`, at most `n`, and
            // the array has room for any vector.
            unsafe {
                let mut sum = S::zero();
                for at in (0..whole).step_by(S::LANES) {
                    sum = S::add_product(sum, S::load(self.q.as_ptr().add(at)), S::load(key.as_ptr().add(at)));
                }
                S::store(lanes.as_mut_ptr(), sum);
            }
            let rest = self.q[whole..].iter().zip(&key[whole..]).map(|(a, b)| a * b);
            *out = lanes[..S::LANES].iter().copied().chain(rest).sum();
        }
    }
}

/// Vectors of the result that stay in registers.
const WIDTH: usize = 4;

struct Mix<'a> {
    p: &'a [f32],
    values: &'a [f32],
    stride: usize,
    out: &'a mut [f32],
}

impl Job for Mix<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Vectors>(self) {
        let (step, n) = (WIDTH * S::LANES, self.out.len());
        let whole = n / step * step;
        for at in (0..whole).step_by(step) {
            // SAFETY: as above; rows of values have `n` numbers, and so has the result.
            unsafe {
                let out = self.out.as_mut_ptr().add(at);
                let mut sums: [S::V; WIDTH] = std::array::from_fn(|v| S::load(out.add(v * S::LANES)));
                for (i, p) in self.p.iter().enumerate() {
                    let row = self.values.as_ptr().add(i * self.stride + at);
                    let p = S::splat(*p);
                    for (v, sum) in sums.iter_mut().enumerate() {
                        *sum = S::add_product(*sum, p, S::load(row.add(v * S::LANES)));
                    }
                }
                for (v, sum) in sums.into_iter().enumerate() {
                    S::store(out.add(v * S::LANES), sum);
                }
            }
        }
        for (i, p) in self.p.iter().enumerate() {
            let row = &self.values[i * self.stride..][..n];
            self.out[whole..].iter_mut().zip(&row[whole..]).for_each(|(o, v)| *o += p * v);
        }
    }
}

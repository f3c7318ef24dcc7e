//! Element-wise kernels: plain loops for the compiler to vectorise.

// Loops over indices of several arrays are what the compiler vectorises.
#![allow(clippy::needless_range_loop)]

#[inline(always)]
fn fma<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    // Without the instruction, mul_add is a slow library call.
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// exp within about 1e-7 relative, without branches so that it vectorises (polynomial of Cephes' expf).
#[inline(always)]
fn exp<const FUSED: bool>(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    // Adding 1.5 * 2^23 rounds to the nearest whole number n, and leaves it in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let rounded = fma::<FUSED>(x, std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = fma::<FUSED>(n, 2.121_944_4e-4, fma::<FUSED>(n, -0.693_359_4, x));
    let mut p = 1.987_569_1e-4;
    p = fma::<FUSED>(p, r, 1.398_199_9e-3);
    p = fma::<FUSED>(p, r, 8.333_452e-3);
    p = fma::<FUSED>(p, r, 4.166_579_6e-2);
    p = fma::<FUSED>(p, r, 1.666_666_5e-1);
    p = fma::<FUSED>(p, r, 0.5);
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    (fma::<FUSED>(p, r * r, r) + 1.0) * power
}

/// Independent partial sums, so that additions overlap.
const PARTS: usize = 32;

/// Adds them up. In order: of a tree of sums the compiler makes short vectors of the loops before it.
#[inline(always)]
fn total(parts: [f32; PARTS]) -> f32 {
    parts.into_iter().fold(0.0, |sum, part| sum + part)
}

#[inline(always)]
pub fn dot_body<const FUSED: bool>(a: &[f32], b: &[f32]) -> f32 {
    let mut parts = [0.0; PARTS];
    let ((a, ra), (b, rb)) = (a.as_chunks::<PARTS>(), b.as_chunks::<PARTS>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..PARTS {
            parts[i] = fma::<FUSED>(a[i], b[i], parts[i]);
        }
    }
    let mut total = total(parts);
    for (a, b) in ra.iter().zip(rb) {
        total = fma::<FUSED>(*a, *b, total);
    }
    total
}

#[inline(always)]
pub fn dot3_body<const FUSED: bool>(a: &[f32], b: &[f32], c: &[f32]) -> f32 {
    let mut parts = [0.0; PARTS];
    let ((a, ra), (b, rb), (c, rc)) = (a.as_chunks::<PARTS>(), b.as_chunks::<PARTS>(), c.as_chunks::<PARTS>());
    for ((a, b), c) in a.iter().zip(b).zip(c) {
        for i in 0..PARTS {
            parts[i] = fma::<FUSED>(a[i] * b[i], c[i], parts[i]);
        }
    }
    let mut total = total(parts);
    for ((a, b), c) in ra.iter().zip(rb).zip(rc) {
        total = fma::<FUSED>(a * b, *c, total);
    }
    total
}

#[inline(always)]
pub fn axpy_body<const FUSED: bool>(a: f32, x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = fma::<FUSED>(a, *x, *y);
    }
}

#[inline(always)]
pub fn scale_max_body(x: &mut [f32], s: f32) -> f32 {
    let mut parts = [f32::NEG_INFINITY; PARTS];
    let mut chunks = x.chunks_exact_mut(PARTS);
    for chunk in &mut chunks {
        for (v, part) in chunk.iter_mut().zip(&mut parts) {
            *v *= s;
            *part = if *v > *part { *v } else { *part };
        }
    }
    let mut max = parts.into_iter().fold(f32::NEG_INFINITY, f32::max);
    for v in chunks.into_remainder() {
        *v *= s;
        max = max.max(*v);
    }
    max
}

#[inline(always)]
pub fn max_body(x: &[f32]) -> f32 {
    let mut parts = [f32::NEG_INFINITY; PARTS];
    let (chunks, rest) = x.as_chunks::<PARTS>();
    for chunk in chunks {
        for (v, part) in chunk.iter().zip(&mut parts) {
            *part = if *v > *part { *v } else { *part };
        }
    }
    parts.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}

#[inline(always)]
pub fn exp_sum_body<const FUSED: bool>(x: &[f32], shift: f32) -> f32 {
    let mut parts = [0.0; PARTS];
    let (chunks, rest) = x.as_chunks::<PARTS>();
    for chunk in chunks {
        for i in 0..PARTS {
            parts[i] += exp::<FUSED>(chunk[i] - shift);
        }
    }
    let mut total = total(parts);
    for x in rest {
        total += exp::<FUSED>(*x - shift);
    }
    total
}

#[inline(always)]
pub fn exp_scale_body<const FUSED: bool>(x: &mut [f32], scale: f32, shift: f32, factor: f32) {
    for v in x {
        *v = exp::<FUSED>(*v * scale - shift) * factor;
    }
}

/// Columns taken down all rows at once, so that their maxima or sums stay in registers.
const COLUMNS: usize = 16;

#[inline(always)]
pub fn column_max_body(x: &[f32], out: &mut [f32]) {
    let greater = |max: f32, v: f32| if v > max { v } else { max };
    let width = out.len();
    let (chunks, rest) = out.as_chunks_mut::<COLUMNS>();
    for (c, out) in chunks.iter_mut().enumerate() {
        let mut max = *out;
        for row in x.chunks_exact(width) {
            let row = row.as_chunks::<COLUMNS>().0[c];
            for i in 0..COLUMNS {
                max[i] = greater(max[i], row[i]);
            }
        }
        *out = max;
    }
    for row in x.chunks_exact(width) {
        let row = row.as_chunks::<COLUMNS>().1;
        rest.iter_mut().zip(row).for_each(|(max, v)| *max = greater(*max, *v));
    }
}

#[inline(always)]
pub fn column_exp_body<const FUSED: bool>(x: &mut [f32], scale: f32, shift: &[f32], sums: &mut [f32]) {
    let width = shift.len();
    let ((sums, sums_rest), (shifts, shifts_rest)) = (sums.as_chunks_mut::<COLUMNS>(), shift.as_chunks::<COLUMNS>());
    for (c, (sums, shift)) in sums.iter_mut().zip(shifts).enumerate() {
        let mut sum = *sums;
        for row in x.chunks_exact_mut(width) {
            let row = &mut row.as_chunks_mut::<COLUMNS>().0[c];
            for i in 0..COLUMNS {
                row[i] = exp::<FUSED>(row[i] * scale - shift[i]);
                sum[i] += row[i];
            }
        }
        *sums = sum;
    }
    for row in x.chunks_exact_mut(width) {
        let row = row.as_chunks_mut::<COLUMNS>().1;
        for ((v, shift), sum) in row.iter_mut().zip(shifts_rest).zip(sums_rest.iter_mut()) {
            *v = exp::<FUSED>(*v * scale - *shift);
            *sum += *v;
        }
    }
}

#[inline(always)]
pub fn softmax_backward_body(p: &mut [f32], dp: &[f32], d: &[f32], scale: f32) {
    for (p, dp) in p.chunks_exact_mut(d.len()).zip(dp.chunks_exact(d.len())) {
        for ((p, dp), d) in p.iter_mut().zip(dp).zip(d) {
            *p *= (*dp - *d) * scale;
        }
    }
}

/// GELU by tanh is x sigmoid(z) with z = 2 sqrt(2 / pi) (x + 0.044715 x³): z, and dz / dx. SiLU is x sigmoid(x).
#[inline(always)]
fn gelu_argument(x: f32) -> (f32, f32) {
    const SLOPE: f32 = 1.595_769;
    const CUBE: f32 = 0.044_715;
    let square = x * x;
    (SLOPE * x * (1.0 + CUBE * square), SLOPE * (1.0 + 3.0 * CUBE * square))
}

#[inline(always)]
pub fn gated_body<const FUSED: bool, const GELU: bool>(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((o, g), u) in out.iter_mut().zip(gate).zip(up) {
        let z = if GELU { gelu_argument(*g).0 } else { *g };
        *o = *g / (1.0 + exp::<FUSED>(-z)) * *u;
    }
}

#[inline(always)]
pub fn gated_backward_body<const FUSED: bool, const GELU: bool>(gate: &mut [f32], up: &mut [f32], d: &[f32]) {
    for ((g, u), d) in gate.iter_mut().zip(up).zip(d) {
        let (z, dz) = if GELU { gelu_argument(*g) } else { (*g, 1.0) };
        let sigmoid = 1.0 / (1.0 + exp::<FUSED>(-z));
        let value = *g * sigmoid;
        let bend = value * (1.0 - sigmoid);
        *g = *d * *u * (sigmoid + if GELU { bend * dz } else { bend });
        *u = *d * value;
    }
}

#[inline(always)]
pub fn norm_body(x: &[f32], w: &[f32], r: f32, out: &mut [f32]) {
    for ((o, x), w) in out.iter_mut().zip(x).zip(w) {
        *o = *x * r * *w;
    }
}

#[inline(always)]
pub fn norm_backward_body(x: &[f32], w: &[f32], g: &[f32], r: f32, c: f32, dx: &mut [f32]) {
    for (((dx, x), w), g) in dx.iter_mut().zip(x).zip(w).zip(g) {
        *dx += r * (*g * *w - *x * c);
    }
}

#[inline(always)]
pub fn norm_weight_body(x: &[f32], g: &[f32], r: f32, dw: &mut [f32]) {
    for ((dw, x), g) in dw.iter_mut().zip(x).zip(g) {
        *dw += *g * *x * r;
    }
}

#[inline(always)]
pub fn rotate_body(x: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) {
    let (x0, x1) = x.split_at_mut(x.len() / 2);
    for ((x0, x1), (cos, sin)) in x0.iter_mut().zip(x1).zip(cos.iter().zip(sin)) {
        let (a, b, sin) = (*x0, *x1, *sin * sign);
        *x0 = a * *cos - b * sin;
        *x1 = a * sin + b * *cos;
    }
}

//! Each kernel at each level this processor has, against the same in f64.
#![allow(clippy::unwrap_used)]

use crate::ops::{
    kernels::simd::{self, Level},
    tests::{Random, assert_close, numbers},
};

fn each(mut test: impl FnMut(Level, usize, &mut dyn FnMut() -> Vec<f32>)) {
    for level in Level::available() {
        for n in (1..70).chain([96, 127, 1000]) {
            let mut random = Random::new(n as u64);
            test(level, n, &mut || numbers(&random.tensor(&[n])));
        }
    }
}
fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|v| f64::from(*v)).collect()
}
fn narrow(x: impl Iterator<Item = f64>) -> Vec<f32> {
    x.map(|v| v as f32).collect()
}

#[test]
fn sums_at_every_level() {
    each(|level, n, next| {
        let (a, b, c) = (next(), next(), next());
        let (wa, wb, wc) = (wide(&a), wide(&b), wide(&c));
        let dot: f64 = (0..n).map(|i| wa[i] * wb[i]).sum();
        assert!((f64::from(simd::dot(level, &a, &b)) - dot).abs() < 1e-5);
        let dot3: f64 = (0..n).map(|i| wa[i] * wb[i] * wc[i]).sum();
        assert!((f64::from(simd::dot3(level, &a, &b, &c)) - dot3).abs() < 1e-5);
        let exp: f64 = wa.iter().map(|x| (x - 0.5).exp()).sum();
        assert!((f64::from(simd::exp_sum(level, &a, 0.5)) - exp).abs() <= 1e-6 * exp);
        let mut scaled = a.clone();
        let max = simd::scale_max(level, &mut scaled, 3.0);
        assert_eq!(scaled, a.iter().map(|x| x * 3.0).collect::<Vec<_>>());
        assert_eq!(max, scaled.iter().cloned().fold(f32::NEG_INFINITY, f32::max));
        assert_eq!(max, simd::max(level, &scaled));
    });
}

#[test]
fn elements_at_every_level() {
    each(|level, n, next| {
        let (a, b, c) = (next(), next(), next());
        let (wa, wb, wc) = (wide(&a), wide(&b), wide(&c));
        let check = |out: &[f32], f: &dyn Fn(usize) -> f64, what: &str| {
            assert_close(out, &narrow((0..n).map(f)), 1e-6, what);
        };
        let mut out = b.clone();
        simd::axpy(level, 0.3, &a, &mut out);
        check(&out, &|i| f64::from(0.3f32) * wa[i] + wb[i], "axpy");
        let mut out = a.clone();
        simd::exp_scale(level, &mut out, 2.0, -0.5, -3.0);
        check(&out, &|i| (2.0 * wa[i] + 0.5).exp() * -3.0, "exp_scale");
        // Two rows, [a, b]; a column is a[i] over b[i].
        let rows = [a.clone(), b.clone()].concat();
        let mut out = vec![f32::NEG_INFINITY; n];
        simd::column_max(level, &rows, &mut out);
        check(&out, &|i| wa[i].max(wb[i]), "column_max");
        let (mut exps, mut sums) = (rows.clone(), vec![1.0; n]);
        simd::column_exp(level, &mut exps, 0.5, &c, &mut sums);
        let exp = |x: &[f64], i: usize| (x[i] * 0.5 - wc[i]).exp();
        check(&exps[..n], &|i| exp(&wa, i), "column_exp, first row");
        check(&exps[n..], &|i| exp(&wb, i), "column_exp, second row");
        check(&sums, &|i| 1.0 + exp(&wa, i) + exp(&wb, i), "column_exp, sums");
        let mut out = rows.clone();
        simd::softmax_backward(level, &mut out, &[b.clone(), a.clone()].concat(), &c, 0.5);
        check(&out[..n], &|i| wa[i] * (wb[i] - wc[i]) * 0.5, "softmax_backward, first row");
        check(&out[n..], &|i| wb[i] * (wa[i] - wc[i]) * 0.5, "softmax_backward, second row");
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let mut out = vec![0.0; n];
        simd::swiglu(level, &a, &b, &mut out);
        check(&out, &|i| wa[i] * sigmoid(wa[i]) * wb[i], "swiglu");
        let (mut dgate, mut dup) = (a.clone(), b.clone());
        simd::swiglu_backward(level, &mut dgate, &mut dup, &c);
        check(&dup, &|i| wc[i] * wa[i] * sigmoid(wa[i]), "swiglu_backward, up");
        let slope = |x: f64| sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x)));
        check(&dgate, &|i| wc[i] * wb[i] * slope(wa[i]), "swiglu_backward, gate");
        let gelu = |x: f64| 0.5 * x * (1.0 + (0.797_884_560_802_865_4 * (x + 0.044715 * x.powi(3))).tanh());
        simd::geglu(level, &a, &b, &mut out);
        check(&out, &|i| gelu(wa[i]) * wb[i], "geglu");
        let (mut dgate, mut dup) = (a.clone(), b.clone());
        simd::geglu_backward(level, &mut dgate, &mut dup, &c);
        check(&dup, &|i| wc[i] * gelu(wa[i]), "geglu_backward, up");
        let slope = |x: f64| (gelu(x + 1e-5) - gelu(x - 1e-5)) / 2e-5;
        check(&dgate, &|i| wc[i] * wb[i] * slope(wa[i]), "geglu_backward, gate");
        simd::norm(level, &a, &b, 0.7, &mut out);
        check(&out, &|i| wa[i] * f64::from(0.7f32) * wb[i], "norm");
        out.copy_from_slice(&b);
        simd::norm_backward(level, &a, &b, &c, 0.7, 0.2, &mut out);
        let dx = |i: usize| f64::from(0.7f32) * (wc[i] * wb[i] - wa[i] * f64::from(0.2f32));
        check(&out, &|i| wb[i] + dx(i), "norm_backward");
        let mut out = c.clone();
        simd::norm_weight(level, &a, &b, 0.7, &mut out);
        check(&out, &|i| wc[i] + wa[i] * wb[i] * f64::from(0.7f32), "norm_weight");
        let (mut out, half) = ([a.clone(), b.clone()].concat(), n);
        simd::rotate(level, &mut out, &c, &a, -1.0);
        check(&out[..half], &|i| wa[i] * wc[i] + wb[i] * wa[i], "rotate, first half");
        check(&out[half..], &|i| -wa[i] * wa[i] + wb[i] * wc[i], "rotate, second half");
    });
}

#[test]
fn exp_is_right_over_its_whole_range() {
    for level in Level::available() {
        let mut x: Vec<f32> = (0..3000).map(|i| -90.0 + i as f32 * 0.0593).collect();
        let expected: Vec<f64> = x.iter().map(|v| f64::from(v.clamp(-87.0, 88.0)).exp()).collect();
        simd::exp_scale(level, &mut x, 1.0, 0.0, 1.0);
        for (x, e) in x.iter().zip(&expected) {
            assert!((f64::from(*x) - e).abs() < 4e-7 * e, "{x} instead of {e}");
        }
    }
}

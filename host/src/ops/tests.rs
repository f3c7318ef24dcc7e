//! Every fast operation against its plain twin and against finite differences, on shapes that fit no register.
#![allow(clippy::unwrap_used)]

use super::*;
use candle_core::{Device, Result, Tensor, Var};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

struct Random(ChaCha8Rng);

impl Random {
    fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }
    fn size(&mut self, range: std::ops::Range<usize>) -> usize {
        range.start + self.0.next_u32() as usize % range.len()
    }
    fn tensor(&mut self, shape: &[usize]) -> Tensor {
        let n = shape.iter().product();
        let v: Vec<f32> = (0..n).map(|_| self.0.next_u32() as f32 / u32::MAX as f32 * 2.0 - 1.0).collect();
        Tensor::from_vec(v, shape, &Device::Cpu).unwrap()
    }
}

fn numbers(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_close(a: &[f32], b: &[f32], tolerance: f32, what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    let scale = b.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
    for (i, (x, y)) in a.iter().zip(b).enumerate() {
        assert!((x - y).abs() <= tolerance * scale, "{what}: {x} instead of {y} at {i} (largest {scale})");
    }
}

/// Result and gradients of an operation for a given gradient of its result.
fn run(inputs: &[Tensor], seed: &Tensor, op: &dyn Fn(&[Tensor]) -> Result<Tensor>) -> (Vec<f32>, Vec<Vec<f32>>) {
    let vars: Vec<Tensor> = inputs.iter().map(|t| Var::from_tensor(t).unwrap().into_inner()).collect();
    let y = op(&vars).unwrap();
    let grads = (&y * seed).unwrap().sum_all().unwrap().backward().unwrap();
    (numbers(&y), vars.iter().map(|v| numbers(grads.get(v).unwrap())).collect())
}

/// The fast operation equals the plain one, and its gradients the differences of its results.
fn check(
    random: &mut Random,
    what: &str,
    inputs: &[Tensor],
    fast: &dyn Fn(&[Tensor]) -> Result<Tensor>,
    plain: &dyn Fn(&[Tensor]) -> Result<Tensor>,
) {
    let seed = random.tensor(plain(inputs).unwrap().dims());
    let (y, grads) = run(inputs, &seed, fast);
    let (plain_y, plain_grads) = run(inputs, &seed, plain);
    assert_close(&y, &plain_y, 2e-6, what);
    for (i, (a, b)) in grads.iter().zip(&plain_grads).enumerate() {
        assert_close(a, b, 1e-5, &format!("{what}, gradient {i}"));
    }

    // Along a random direction, both ways.
    let value = |inputs: &[Tensor]| {
        let y = numbers(&fast(inputs).unwrap());
        y.iter().zip(numbers(&seed)).map(|(a, b)| f64::from(*a) * f64::from(b)).sum::<f64>()
    };
    let directions: Vec<Tensor> = inputs.iter().map(|t| random.tensor(t.dims())).collect();
    let step = 1e-2;
    let moved = |by: f64| {
        let at: Vec<Tensor> = inputs.iter().zip(&directions).map(|(t, d)| (t + (d * by).unwrap()).unwrap()).collect();
        value(&at)
    };
    let difference = (moved(step) - moved(-step)) / (2.0 * step);
    let terms: Vec<f64> = grads
        .iter()
        .zip(&directions)
        .flat_map(|(g, d)| g.iter().zip(numbers(d)).map(|(g, d)| f64::from(*g) * f64::from(d)).collect::<Vec<_>>())
        .collect();
    let (derivative, size) = (terms.iter().sum::<f64>(), terms.iter().map(|x| x * x).sum::<f64>().sqrt());
    let error = (difference - derivative).abs();
    assert!(error < 5e-3 * (size + derivative.abs() + 0.1), "{what}: difference {difference}, derivative {derivative}");
}

#[test]
fn linear_equals_its_plain_twin() {
    let mut random = Random::new(1);
    for case in 0..30 {
        let (m, k, n) = (random.size(1..80), random.size(1..70), random.size(1..150));
        let inputs = [random.tensor(&[m, k]), random.tensor(&[n, k])];
        check(&mut random, &format!("linear {case}: {m} {k} {n}"), &inputs, &|x| linear(&x[0], &x[1]), &|x| {
            linear::plain(&x[0], &x[1])
        });
    }
}

#[test]
fn rows_of_linear_do_not_depend_on_each_other() {
    let mut random = Random::new(2);
    for (k, n) in [(7, 5), (64, 33), (130, 700), (576, 192)] {
        let (x, w) = (random.tensor(&[MAX_INVARIANT_ROWS, k]), random.tensor(&[n, k]));
        let all = numbers(&linear(&x, &w).unwrap());
        for rows in 1..MAX_INVARIANT_ROWS {
            for start in [0, (MAX_INVARIANT_ROWS - rows) / 2, MAX_INVARIANT_ROWS - rows] {
                let some = linear(&x.narrow(0, start, rows).unwrap(), &w).unwrap();
                assert_eq!(numbers(&some), all[start * n..(start + rows) * n], "{k} {n}: {rows} rows from {start}");
            }
        }
    }
}

#[test]
fn frozen_arguments_get_no_gradient() {
    let mut random = Random::new(3);
    let x = Var::from_tensor(&random.tensor(&[3, 4])).unwrap();
    let w = random.tensor(&[5, 4]);
    let grads = linear(&x, &w).unwrap().sum_all().unwrap().backward().unwrap();
    assert!(grads.get(&x).is_some() && grads.get(&w).is_none());
}

#[test]
fn rms_norm_equals_its_plain_twin() {
    let mut random = Random::new(4);
    for case in 0..20 {
        let (m, d) = (random.size(1..150), random.size(1..90));
        let inputs = [random.tensor(&[m, d]), random.tensor(&[d])];
        check(&mut random, &format!("rms_norm {case}: {m} {d}"), &inputs, &|x| rms_norm(&x[0], &x[1], 1e-2), &|x| {
            rms_norm::plain(&x[0], &x[1], 1e-2)
        });
    }
}

#[test]
fn rope_equals_its_plain_twin() {
    let mut random = Random::new(5);
    for case in 0..20 {
        let (m, heads, half) = (random.size(1..40), random.size(1..5), random.size(1..40));
        let x = [random.tensor(&[m, heads * 2 * half])];
        let angles = (random.tensor(&[m, half]) * 3.0).unwrap();
        let (cos, sin) = (angles.cos().unwrap(), angles.sin().unwrap());
        check(&mut random, &format!("rope {case}: {m} {heads} {half}"), &x, &|x| rope(&x[0], &cos, &sin), &|x| {
            rope::plain(&x[0], &cos, &sin)
        });
    }
}

#[test]
fn swiglu_equals_its_plain_twin() {
    let mut random = Random::new(6);
    for case in 0..20 {
        let (m, d) = (random.size(1..40), random.size(1..600));
        let inputs = [(random.tensor(&[m, d]) * 6.0).unwrap(), random.tensor(&[m, d])];
        check(&mut random, &format!("swiglu {case}: {m} {d}"), &inputs, &|x| swiglu(&x[0], &x[1]), &|x| {
            swiglu::plain(&x[0], &x[1])
        });
    }
}

/// Sequences with and without a shared prefix, as packs have them.
fn spans(random: &mut Random) -> (Vec<Span>, usize) {
    let (mut spans, mut next) = (vec![], 0);
    for _ in 0..random.size(1..4) {
        let root = next..next + random.size(1..100);
        next = root.end;
        spans.push(Span { queries: root.clone(), keys: [0..0, root.clone()] });
        for _ in 0..random.size(0..3) {
            let own = next..next + random.size(1..90);
            next = own.end;
            spans.push(Span { queries: own.clone(), keys: [root.clone(), own] });
        }
    }
    (spans, next)
}

#[test]
fn attention_equals_its_plain_twin() {
    let mut random = Random::new(7);
    for case in 0..24 {
        let (spans, n) = spans(&mut random);
        let (kv, group, dim) = (random.size(1..3), random.size(1..4), random.size(1..40));
        let window = if case % 2 == 0 { None } else { Some(random.size(1..100)) };
        let what = format!("attention {case}: {kv} x {group} heads of {dim}, window {window:?}, {spans:?}");
        let width = |heads: usize| [n, heads * dim];
        let inputs = [
            (random.tensor(&width(kv * group)) * 2.0).unwrap(),
            (random.tensor(&width(kv)) * 2.0).unwrap(),
            random.tensor(&width(kv)),
        ];
        let attention = Attention::new(spans, dim).unwrap();
        check(&mut random, &what, &inputs, &|x| attention.forward(&x[0], &x[1], &x[2], window), &|x| {
            attention.plain(&x[0], &x[1], &x[2], window)
        });
    }
}

#[test]
fn attention_to_a_cache_equals_its_plain_twin() {
    let mut random = Random::new(8);
    for case in 0..20 {
        let (slots, capacity, dim) = (random.size(1..5), random.size(80..120), random.size(1..20));
        let (mut spans, mut next) = (vec![], 0);
        for slot in 0..slots {
            // A token here, a piece of a prompt there.
            let n = if random.size(0..2) == 0 { 1 } else { random.size(1..80) };
            let len = random.size(n..capacity + 1);
            spans.push(Span { queries: next..next + n, keys: [0..0, slot * capacity..slot * capacity + len] });
            next += n;
        }
        let window = if case % 2 == 0 { None } else { Some(random.size(1..50)) };
        let attention = Attention::new(spans, dim).unwrap();
        let (q, keys) = (random.tensor(&[next, 4 * dim]), [slots * capacity, 2 * dim]);
        let (k, v) = (random.tensor(&keys), random.tensor(&keys));
        let fast = attention.forward(&q, &k, &v, window).unwrap();
        assert_close(&numbers(&fast), &numbers(&attention.plain(&q, &k, &v, window).unwrap()), 2e-6, "cache");
    }
}

#[test]
fn attention_refuses_spans_whose_gradients_would_collide() {
    let own = |queries: std::ops::Range<usize>, keys| Span { queries, keys: [0..0, keys] };
    let fails = |spans| assert!(Attention::new(spans, 4).is_err());
    fails(vec![own(0..3, 0..3), own(3..5, 2..5)]);
    fails(vec![own(0..3, 0..3), own(4..5, 4..5)]);
    fails(vec![own(0..3, 0..2)]);
    fails(vec![own(0..3, 0..3), Span { queries: 3..5, keys: [0..2, 3..5] }]);
    fails(vec![Span { queries: 0..2, keys: [2..4, 0..2] }]);
    // Keys beyond the tensors are refused when these are known.
    let mut random = Random::new(9);
    let attention = Attention::new(vec![own(0..3, 0..8)], 4).unwrap();
    let (q, k) = (random.tensor(&[3, 4]), random.tensor(&[7, 4]));
    assert!(attention.forward(&q, &k, &k, None).is_err());
}

#[test]
fn score_equals_its_plain_twin_and_log_softmax() {
    let mut random = Random::new(10);
    // The last one takes two chunks.
    for (n, d, vocab) in [(1, 1, 2), (5, 7, 11), (40, 33, 129), (300, 5, 64)] {
        let (h, w) = (random.tensor(&[n, d]), random.tensor(&[vocab, d]));
        let tokens: Vec<u32> = (0..n).map(|_| random.size(0..vocab) as u32).collect();
        let what = format!("score {n} {d} {vocab}");
        let (fast, plain) = (score(&h, &w, &tokens).unwrap(), head::plain_score(&h, &w, &tokens).unwrap());
        assert_close(&fast.logps, &plain.logps, 2e-6, &what);
        let dlogps = numbers(&random.tensor(&[n]));
        let (dh, dw) = score_backward(&h, &w, &tokens, &fast, &dlogps, true).unwrap();
        let (ph, pw) = head::plain_score_backward(&h, &w, &tokens, &plain, &dlogps, true).unwrap();
        assert_close(&numbers(&dh), &numbers(&ph), 1e-5, &what);
        assert_close(&numbers(dw.as_ref().unwrap()), &numbers(&pw.unwrap()), 1e-5, &what);
        assert!(score_backward(&h, &w, &tokens, &fast, &dlogps, false).unwrap().1.is_none());

        if vocab < 1000 {
            let all = |x: &[Tensor]| candle_nn::ops::log_softmax(&x[0].matmul(&x[1].t()?)?, 1);
            let one_hot = tokens
                .iter()
                .zip(&dlogps)
                .flat_map(|(t, d)| (0..vocab).map(move |v| if v == *t as usize { *d } else { 0.0 }));
            let seed = Tensor::from_vec(one_hot.collect(), (n, vocab), &Device::Cpu).unwrap();
            let (_, grads) = run(&[h, w], &seed, &all);
            assert_close(&numbers(&dh), &grads[0], 1e-5, &what);
            assert_close(&numbers(&dw.unwrap()), &grads[1], 1e-5, &what);
        }
    }
}

#[test]
fn rows_are_set_and_added() {
    let dst = Tensor::zeros((4, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
    let src = Tensor::new(&[[1f32, 2.], [3., 4.], [5., 6.]], &Device::Cpu).unwrap();
    set_rows(&dst, &src, &[3, 0, 1]).unwrap();
    assert_eq!(numbers(&dst), [3., 4., 5., 6., 0., 0., 1., 2.]);
    let sum = add_rows(dst, &src, &[2, 2, 3]).unwrap();
    assert_eq!(numbers(&sum), [3., 4., 5., 6., 4., 6., 6., 8.]);
    assert!(set_rows(&sum, &src, &[0, 1, 4]).is_err());
}

/// Each kernel at each level this processor has, against the same in f64.
mod kernels {
    use super::{Random, assert_close, numbers};
    use crate::ops::simd::{self, Level};

    fn each(mut test: impl FnMut(Level, usize, &mut dyn FnMut() -> Vec<f32>)) {
        for level in Level::available() {
            for n in (0..70).chain([96, 127, 1000]) {
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
        });
    }

    #[test]
    fn products_at_every_level() {
        struct All(Vec<f32>, usize);
        impl simd::Sink for All {
            fn put(&mut self, row: usize, col: usize, value: f32) {
                self.0[row * self.1 + col] = value;
            }
        }
        let mut random = Random::new(11);
        for level in Level::available() {
            for (m, n, k) in [(1, 1, 1), (3, 5, 7), (4, 4, 16), (5, 9, 33), (7, 6, 100), (9, 3, 64)] {
                let (x, w) = (numbers(&random.tensor(&[m, k])), numbers(&random.tensor(&[n, k])));
                let mut out = All(vec![f32::NAN; m * n], n);
                simd::outer(level, &x, &w, k, &mut out);
                let (x, w) = (wide(&x), wide(&w));
                let one = |i: usize| (0..k).map(|j| x[i / n * k + j] * w[i % n * k + j]).sum::<f64>();
                assert_close(&out.0, &narrow((0..m * n).map(one)), 1e-6, "outer");
            }
        }
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
            let mut out = a.clone();
            simd::softmax_backward(level, &mut out, &b, 0.25, 0.5);
            check(&out, &|i| wa[i] * (wb[i] - 0.25) * 0.5, "softmax_backward");
            let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
            let mut out = vec![0.0; n];
            simd::swiglu(level, &a, &b, &mut out);
            check(&out, &|i| wa[i] * sigmoid(wa[i]) * wb[i], "swiglu");
            let (mut dgate, mut dup) = (vec![0.0; n], vec![0.0; n]);
            simd::swiglu_backward(level, &a, &b, &c, &mut dgate, &mut dup);
            check(&dup, &|i| wc[i] * wa[i] * sigmoid(wa[i]), "swiglu_backward, up");
            let slope = |x: f64| sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x)));
            check(&dgate, &|i| wc[i] * wb[i] * slope(wa[i]), "swiglu_backward, gate");
            simd::norm(level, &a, &b, 0.7, &mut out);
            check(&out, &|i| wa[i] * f64::from(0.7f32) * wb[i], "norm");
            simd::norm_backward(level, &a, &b, &c, 0.7, 0.2, &mut out);
            check(&out, &|i| f64::from(0.7f32) * (wc[i] * wb[i] - wa[i] * f64::from(0.2f32)), "norm_backward");
            let mut out = c.clone();
            simd::norm_weight(level, &a, &b, 0.7, &mut out);
            check(&out, &|i| wc[i] + wa[i] * wb[i] * f64::from(0.7f32), "norm_weight");
            let (x, half) = (&[a.clone(), b.clone()].concat(), n);
            let mut out = vec![0.0; 2 * n];
            simd::rotate(level, x, &c, &a, -1.0, &mut out);
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
}

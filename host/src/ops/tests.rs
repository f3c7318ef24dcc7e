//! Every fast operation against its plain twin and against finite differences, on shapes that fit no register.
#![allow(clippy::unwrap_used)]

mod device_attention;

use super::*;
use candle_core::{DType, Device, Result, Tensor, Var};
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

/// Result and gradients of an operation by candle's autograd, for a given gradient of its result.
fn recorded(inputs: &[Tensor], seed: &Tensor, op: &dyn Fn(&[Tensor]) -> Result<Tensor>) -> (Vec<f32>, Vec<Vec<f32>>) {
    let vars: Vec<Tensor> = inputs.iter().map(|t| Var::from_tensor(t).unwrap().into_inner()).collect();
    let y = op(&vars).unwrap();
    let grads = (&y * seed).unwrap().sum_all().unwrap().backward().unwrap();
    (numbers(&y), vars.iter().map(|v| numbers(grads.get(v).unwrap())).collect())
}

/// Gradients by the inputs from the inputs and the gradient of the result.
type Backward<'a> = &'a dyn Fn(&[Tensor], &Tensor) -> Result<Vec<Tensor>>;

/// Kernels and plain operations, forward and backward, against candle's autograd of the plain forward, and the gradients against
/// the differences of the results.
fn check(
    random: &mut Random,
    what: &str,
    inputs: &[Tensor],
    forward: &dyn Fn(&[Tensor]) -> Result<Tensor>,
    backward: Backward,
) {
    let seed = random.tensor(forward(inputs).unwrap().dims());
    let (y, reference) = plain_only::run(|| recorded(inputs, &seed, forward));
    assert_close(&numbers(&forward(inputs).unwrap()), &y, 2e-6, what);
    let grads: Vec<Vec<f32>> = backward(inputs, &seed).unwrap().iter().map(numbers).collect();
    let plain = plain_only::run(|| backward(inputs, &seed).unwrap());
    assert_eq!([grads.len(), plain.len()], [reference.len(); 2], "{what}");
    for (i, (a, b)) in grads.iter().zip(&reference).enumerate() {
        assert_close(a, b, 1e-5, &format!("{what}, gradient {i}"));
        assert_close(&numbers(&plain[i]), b, 1e-5, &format!("{what}, plain gradient {i}"));
    }

    // Along a random direction, both ways.
    let value = |inputs: &[Tensor]| {
        let y = numbers(&forward(inputs).unwrap());
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

fn product(x: &Tensor, w: &Tensor, precision: Precision) -> Result<Tensor> {
    Weight::new(w, precision)?.forward(&Rows::new(x, precision)?, None)
}

fn product_backward(x: &Tensor, w: &Tensor, dy: &Tensor, precision: Precision) -> Result<Vec<Tensor>> {
    let weight = Weight::new(w, precision)?;
    Ok(vec![weight.backward(&Rows::new(dy, precision)?, None)?, weight.gradient(dy, x, None)?])
}

#[test]
fn products_have_the_gradients_of_matmul() {
    let mut random = Random::new(1);
    for case in 0..30 {
        let (m, k, n) = (random.size(1..80), random.size(1..70), random.size(1..150));
        let inputs = [random.tensor(&[m, k]), random.tensor(&[n, k])];
        let what = format!("product {case}: {m} {k} {n}");
        check(&mut random, &what, &inputs, &|x| product(&x[0], &x[1], Precision::F32), &|x, dy| {
            product_backward(&x[0], &x[1], dy, Precision::F32)
        });
    }
}

/// bf16 has 8 bits of mantissa: on operands that fit them, products are those of f32.
#[test]
fn bf16_products_round_their_operands_and_nothing_else() {
    let mut random = Random::new(2);
    for case in 0..20 {
        let (m, k, n) = (random.size(1..80), random.size(1..70), random.size(1..150));
        let round = |t: Tensor| t.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap();
        let (x, w, dy) = (random.tensor(&[m, k]), random.tensor(&[n, k]), random.tensor(&[m, n]));
        let what = format!("case {case}: {m} {k} {n}");
        let rounded = [round(x.clone()), round(w.clone()), round(dy.clone())];
        let expected = product(&rounded[0], &rounded[1], Precision::F32).unwrap();
        let expected_grads = product_backward(&rounded[0], &rounded[1], &rounded[2], Precision::F32).unwrap();
        let run = |w: &Tensor| {
            let y = product(&x, w, Precision::Bf16).unwrap();
            assert_close(&numbers(&y), &numbers(&expected), 1e-5, &what);
            product_backward(&x, w, &dy, Precision::Bf16).unwrap()
        };
        let frozen = w.to_dtype(DType::BF16).unwrap();
        // candle's products round their results too.
        let plain = plain_only::run(|| product_backward(&x, &w, &dy, Precision::Bf16).unwrap());
        for (grads, tolerance) in [(run(&w), 1e-5), (run(&frozen), 1e-5), (plain, 1e-2)] {
            for (a, b) in grads.iter().zip(&expected_grads) {
                assert_close(&numbers(a), &numbers(b), tolerance, &what);
            }
        }
        // Rounding shows where operands do not fit.
        let exact = numbers(&product(&x, &w, Precision::F32).unwrap());
        assert!(m * n * k < 50 || exact != numbers(&expected), "{what}");
    }
}

#[test]
fn a_rounded_copy_follows_its_master() {
    let (mut random, x) = (Random::new(3), Tensor::ones((2, 4), DType::F32, &Device::Cpu).unwrap());
    let w = Var::from_tensor(&random.tensor(&[3, 4])).unwrap();
    let (weight, rows) = (Weight::new(&w.detach(), Precision::Bf16).unwrap(), Rows::new(&x, Precision::Bf16).unwrap());
    let before = numbers(&weight.forward(&rows, None).unwrap());
    // As in training: the gradient is taken, then the optimizer writes.
    weight.gradient(&Tensor::ones((2, 3), DType::F32, &Device::Cpu).unwrap(), &x, None).unwrap();
    w.set(&random.tensor(&[3, 4])).unwrap();
    let after = numbers(&weight.forward(&rows, None).unwrap());
    assert_ne!(before, after);
    assert_eq!(after, numbers(&product(&x, &w, Precision::Bf16).unwrap()));
}

#[test]
fn rows_of_a_product_do_not_depend_on_each_other() {
    let mut random = Random::new(2);
    for precision in [Precision::F32, Precision::Bf16] {
        for (k, n) in [(7, 5), (64, 33), (130, 700), (576, 192)] {
            let (x, w) = (random.tensor(&[100, k]), random.tensor(&[n, k]));
            let all = numbers(&product(&x, &w, precision).unwrap());
            for (start, rows) in [(0, 1), (99, 1), (3, 16), (10, 33), (40, 50), (1, 99)] {
                let some = product(&x.narrow(0, start, rows).unwrap(), &w, precision).unwrap();
                assert_eq!(numbers(&some), all[start * n..(start + rows) * n], "{k} {n}: {rows} rows from {start}");
            }
        }
    }
}

#[test]
fn gradients_are_added_in_place() {
    let mut random = Random::new(3);
    let (x, w, dy) = (random.tensor(&[9, 4]), random.tensor(&[5, 4]), random.tensor(&[9, 5]));
    let weight = Weight::new(&w, Precision::F32).unwrap();
    let add = || {
        let once = weight.gradient(&dy, &x, None).unwrap();
        let twice = weight.gradient(&dy, &x, Some(once.copy().unwrap())).unwrap();
        assert_close(&numbers(&twice), &numbers(&(&once + &once).unwrap()), 1e-6, "gradient");
        let y = weight.forward(&Rows::new(&x, Precision::F32).unwrap(), Some(dy.copy().unwrap())).unwrap();
        assert_close(&numbers(&y), &numbers(&(x.matmul(&w.t().unwrap()).unwrap() + &dy).unwrap()), 1e-6, "forward");
    };
    add();
    plain_only::run(add);
}

#[test]
fn rms_norm_has_the_gradients_of_its_formula() {
    let mut random = Random::new(4);
    for case in 0..20 {
        let (m, d) = (random.size(1..150), random.size(1..90));
        let inputs = [random.tensor(&[m, d]), random.tensor(&[d])];
        let what = format!("rms_norm {case}: {m} {d}");
        check(&mut random, &what, &inputs, &|x| rms_norm(&x[0], &x[1], 1e-2), &|x, g| {
            let (dx, dw) = rms_norm_backward(&x[0], &x[1], 1e-2, g, x[0].zeros_like()?, true)?;
            Ok(vec![dx, dw.unwrap()])
        });
    }
}

#[test]
fn rope_has_the_gradients_of_its_formula() {
    let mut random = Random::new(5);
    for case in 0..20 {
        let (m, heads, half) = (random.size(1..40), random.size(1..5), random.size(1..40));
        let x = [random.tensor(&[m, heads * 2 * half])];
        let positions: Vec<u32> = (0..m).map(|_| random.size(0..1000) as u32).collect();
        let frequencies: Vec<f32> = (0..half).map(|i| 0.9f32.powi(i as i32)).collect();
        let angles = Angles::new(&positions, &frequencies, &Device::Cpu).unwrap();
        // The kernel works in the memory of its argument.
        let own = |x: &Tensor| if plain_only::is_set() { Ok(x.clone()) } else { x.copy() };
        check(
            &mut random,
            &format!("rope {case}: {m} {heads} {half}"),
            &x,
            &|x| rope(own(&x[0])?, &angles),
            &|_, g| Ok(vec![rope_backward(own(g)?, &angles)?]),
        );
    }
}

#[test]
fn swiglu_has_the_gradients_of_its_formula() {
    let mut random = Random::new(6);
    for case in 0..20 {
        let (m, d) = (random.size(1..40), random.size(1..600));
        let inputs = [(random.tensor(&[m, d]) * 6.0).unwrap(), random.tensor(&[m, d])];
        check(&mut random, &format!("swiglu {case}: {m} {d}"), &inputs, &|x| swiglu(&x[0], &x[1]), &|x, g| {
            let (dgate, dup) = swiglu_backward(x[0].copy()?, x[1].copy()?, g)?;
            Ok(vec![dgate, dup])
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
fn attention_has_the_gradients_of_its_formula() {
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
        let forward = |x: &[Tensor]| attention.forward(&x[0], &x[1], &x[2], window);
        check(&mut random, &what, &inputs, &|x| Ok(forward(x)?.0), &|x, g| {
            let (out, sums) = forward(x)?;
            Ok(attention.backward([&x[0], &x[1], &x[2]], window, (&out, &sums), g)?.into())
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
        let forward = || attention.forward(&q, &k, &v, window).unwrap().0;
        assert_close(&numbers(&forward()), &numbers(&plain_only::run(forward)), 2e-6, "cache");
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
fn scores_have_the_gradients_of_log_softmax() {
    let mut random = Random::new(10);
    // The last one takes two chunks.
    for (n, d, vocab) in [(1, 1, 2), (5, 7, 11), (40, 33, 129), (300, 5, 64)] {
        let (h, w) = (random.tensor(&[n, d]), random.tensor(&[vocab, d]));
        let tokens: Vec<u32> = (0..n).map(|_| random.size(0..vocab) as u32).collect();
        let what = format!("score {n} {d} {vocab}");
        let (dlogps, weight) = (numbers(&random.tensor(&[n])), Weight::new(&w, Precision::F32).unwrap());
        let all = |x: &[Tensor]| candle_nn::ops::log_softmax(&x[0].matmul(&x[1].t()?)?, 1);
        let one_hot = tokens
            .iter()
            .zip(&dlogps)
            .flat_map(|(t, d)| (0..vocab).map(move |v| if v == *t as usize { *d } else { 0.0 }));
        let seed = Tensor::from_vec(one_hot.collect(), (n, vocab), &Device::Cpu).unwrap();
        let (logps, grads) = recorded(&[h.clone(), w.clone()], &seed, &all);
        let expected: Vec<f32> = tokens.iter().enumerate().map(|(i, t)| logps[i * vocab + *t as usize]).collect();
        let run = || {
            let backward = |wanted| {
                let scores = score(&h, &weight, &tokens, wanted).unwrap();
                assert_close(&scores.logps, &expected, 2e-6, &what);
                score_backward(&h, &weight, &tokens, scores, &dlogps, None).unwrap()
            };
            let (dh, dw) = backward(Wanted::Both);
            assert_close(&numbers(&dh), &grads[0], 1e-5, &what);
            assert_close(&numbers(&dw.unwrap()), &grads[1], 1e-5, &what);
            let (dh, dw) = backward(Wanted::Hidden);
            assert_close(&numbers(&dh), &grads[0], 1e-5, &what);
            assert!(dw.is_none());
        };
        run();
        plain_only::run(run);
    }
}

#[test]
fn rows_are_set_and_added() {
    let run = || {
        let dst = Tensor::zeros((5, 2), DType::F32, &Device::Cpu).unwrap();
        let src = Tensor::new(&[[1f32, 2.], [3., 4.], [5., 6.], [7., 8.]], &Device::Cpu).unwrap();
        set_rows(&dst, &src, &[3, 0, 1, 2]).unwrap();
        assert_eq!(numbers(&dst), [3., 4., 5., 6., 7., 8., 1., 2., 0., 0.]);
        let sum = add_rows(dst, &src, &[2, 2, 3, 4]).unwrap();
        assert_eq!(numbers(&sum), [3., 4., 5., 6., 11., 14., 6., 8., 7., 8.]);
        assert!(set_rows(&sum, &src, &[0, 1, 2, 5]).is_err());
    };
    run();
    plain_only::run(run);
}

#[test]
fn kernels_refuse_what_the_plain_operations_serve() {
    let x = Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
    let read = || buffer::with([&x], |[x]| Ok(x.len()));
    let write = || buffer::update(&x, |_| Ok(()));
    assert!(read().is_ok() && write().is_ok());
    plain_only::run(|| assert!(read().is_err() && write().is_err()));
}

/// Each kernel at each level this processor has, against the same in f64.
mod kernels {
    use super::{Random, assert_close, numbers};
    use crate::ops::simd::{self, Level};

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
}

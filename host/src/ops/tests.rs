//! Every kernel against the plain operation and against finite differences, on shapes that fit no register.
#![allow(clippy::unwrap_used)]

use super::*;
use candle_core::{DType, Device, Result, Tensor, Var};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

pub struct Random(ChaCha8Rng);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }
    pub fn size(&mut self, range: std::ops::Range<usize>) -> usize {
        range.start + self.0.next_u32() as usize % range.len()
    }
    pub fn tensor(&mut self, shape: &[usize]) -> Tensor {
        let n = shape.iter().product();
        let v: Vec<f32> = (0..n).map(|_| self.0.next_u32() as f32 / u32::MAX as f32 * 2.0 - 1.0).collect();
        Tensor::from_vec(v, shape, &Device::Cpu).unwrap()
    }
}

pub fn numbers(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

pub fn assert_close(a: &[f32], b: &[f32], tolerance: f32, what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    let scale = b.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
    for (i, (x, y)) in a.iter().zip(b).enumerate() {
        assert!((x - y).abs() <= tolerance * scale, "{what}: {x} instead of {y} at {i} (largest {scale})");
    }
}

/// Result and gradients of an operation by candle's autograd, for a given gradient of its result.
pub fn recorded(
    inputs: &[Tensor],
    seed: &Tensor,
    op: &dyn Fn(&[Tensor]) -> Result<Tensor>,
) -> (Vec<f32>, Vec<Vec<f32>>) {
    let vars: Vec<Tensor> = inputs.iter().map(|t| Var::from_tensor(t).unwrap().into_inner()).collect();
    let y = op(&vars).unwrap();
    let grads = (&y * seed).unwrap().sum_all().unwrap().backward().unwrap();
    (numbers(&y), vars.iter().map(|v| numbers(grads.get(v).unwrap())).collect())
}

/// Our kernels, and the plain operations.
fn both(precision: Precision) -> [Compute; 2] {
    [Compute::new(&Device::Cpu, precision), Compute::plain(&Device::Cpu, precision)]
}

fn kernels() -> Compute {
    Compute::new(&Device::Cpu, Precision::F32)
}

/// An operation of the inputs.
type Forward<'a> = &'a dyn Fn(&Compute, &[Tensor]) -> Result<Tensor>;
/// Gradients with respect to the inputs, from these and the gradient of the result.
type Backward<'a> = &'a dyn Fn(&Compute, &[Tensor], &Tensor) -> Result<Vec<Tensor>>;

/// Kernels and plain operations in f32, forward and backward, against candle's autograd of the plain forward, and the
/// gradients against the differences of the results.
fn check(random: &mut Random, what: &str, inputs: &[Tensor], forward: Forward, backward: Backward) {
    let [kernels, plain] = both(Precision::F32);
    let seed = random.tensor(forward(&kernels, inputs).unwrap().dims());
    let (y, reference) = recorded(inputs, &seed, &|inputs| forward(&plain, inputs));
    assert_close(&numbers(&forward(&kernels, inputs).unwrap()), &y, 2e-6, what);
    let grads: Vec<Vec<f32>> = backward(&kernels, inputs, &seed).unwrap().iter().map(numbers).collect();
    let plain = backward(&plain, inputs, &seed).unwrap();
    assert_eq!([grads.len(), plain.len()], [reference.len(); 2], "{what}");
    for (i, (a, b)) in grads.iter().zip(&reference).enumerate() {
        assert_close(a, b, 1e-5, &format!("{what}, gradient {i}"));
        assert_close(&numbers(&plain[i]), b, 1e-5, &format!("{what}, plain gradient {i}"));
    }

    // Along a random direction, both ways.
    let value = |inputs: &[Tensor]| {
        let y = numbers(&forward(&kernels, inputs).unwrap());
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

fn product(c: &Compute, x: &Tensor, w: &Tensor) -> Result<Tensor> {
    Weight::new(&w.clone().into(), c)?.forward(&c.rows(x)?, None)
}

fn product_backward(c: &Compute, x: &Tensor, w: &Tensor, dy: &Tensor) -> Result<Vec<Tensor>> {
    let weight = Weight::new(&w.clone().into(), c)?;
    Ok(vec![weight.backward(&c.rows(dy)?, None)?, weight.gradient(dy, x, None)?])
}

#[test]
fn products_have_the_gradients_of_matmul() {
    let mut random = Random::new(1);
    for case in 0..30 {
        let (m, k, n) = (random.size(1..80), random.size(1..70), random.size(1..150));
        let inputs = [random.tensor(&[m, k]), random.tensor(&[n, k])];
        let what = format!("product {case}: {m} {k} {n}");
        check(&mut random, &what, &inputs, &|c, x| product(c, &x[0], &x[1]), &|c, x, dy| {
            product_backward(c, &x[0], &x[1], dy)
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
        let ([bf16, plain], f32) = (both(Precision::Bf16), kernels());
        let expected = product(&f32, &rounded[0], &rounded[1]).unwrap();
        let expected_grads = product_backward(&f32, &rounded[0], &rounded[1], &rounded[2]).unwrap();
        let frozen = w.to_dtype(DType::BF16).unwrap();
        // candle's products round their results too.
        for (c, w, tolerance) in
            [(&bf16, &w, 1e-5), (&bf16, &frozen, 1e-5), (&plain, &w, 1e-2), (&plain, &frozen, 1e-2)]
        {
            let y = product(c, &x, w).unwrap();
            assert_close(&numbers(&y), &numbers(&expected), tolerance, &what);
            let weight = Weight::new(&w.clone().into(), c).unwrap();
            let dx = weight.backward(&c.rows(&dy).unwrap(), None).unwrap();
            assert_close(&numbers(&dx), &numbers(&expected_grads[0]), tolerance, &what);
            match weight.gradient(&dy, &x, None) {
                Ok(dw) => assert_close(&numbers(&dw), &numbers(&expected_grads[1]), tolerance, &what),
                Err(e) => {
                    assert!(weight.master().unwrap().is_none() && e.to_string().contains("has no gradient"), "{e}")
                }
            }
        }
        // Rounding shows where operands do not fit.
        let exact = numbers(&product(&f32, &x, &w).unwrap());
        assert!(m * n * k < 50 || exact != numbers(&expected), "{what}");
    }
}

#[test]
fn a_rounded_copy_follows_its_master() {
    let (mut random, x) = (Random::new(3), Tensor::ones((2, 4), DType::F32, &Device::Cpu).unwrap());
    let w = Var::from_tensor(&random.tensor(&[3, 4])).unwrap();
    let c = Compute::new(&Device::Cpu, Precision::Bf16);
    let (weight, rows) = (Weight::new(&w.detach().into(), &c).unwrap(), c.rows(&x).unwrap());
    let before = numbers(&weight.forward(&rows, None).unwrap());
    // As in training: the gradient is taken, then the optimizer writes.
    weight.gradient(&Tensor::ones((2, 3), DType::F32, &Device::Cpu).unwrap(), &x, None).unwrap();
    w.set(&random.tensor(&[3, 4])).unwrap();
    let after = numbers(&weight.forward(&rows, None).unwrap());
    assert_ne!(before, after);
    assert_eq!(after, numbers(&product(&c, &x, &w).unwrap()));
}

#[test]
fn rows_of_a_product_do_not_depend_on_each_other() {
    let mut random = Random::new(2);
    for precision in [Precision::F32, Precision::Bf16] {
        let c = Compute::new(&Device::Cpu, precision);
        for (k, n) in [(7, 5), (64, 33), (130, 700), (576, 192)] {
            let (x, w) = (random.tensor(&[100, k]), random.tensor(&[n, k]));
            let all = numbers(&product(&c, &x, &w).unwrap());
            for (start, rows) in [(0, 1), (99, 1), (3, 16), (10, 33), (40, 50), (1, 99)] {
                let some = product(&c, &x.narrow(0, start, rows).unwrap(), &w).unwrap();
                assert_eq!(numbers(&some), all[start * n..(start + rows) * n], "{k} {n}: {rows} rows from {start}");
            }
        }
    }
}

#[test]
fn gradients_are_added_in_place() {
    let mut random = Random::new(3);
    let (x, w, dy) = (random.tensor(&[9, 4]), random.tensor(&[5, 4]), random.tensor(&[9, 5]));
    for c in both(Precision::F32) {
        let weight = Weight::new(&w.clone().into(), &c).unwrap();
        let once = weight.gradient(&dy, &x, None).unwrap();
        let twice = weight.gradient(&dy, &x, Some(once.copy().unwrap())).unwrap();
        assert_close(&numbers(&twice), &numbers(&(&once + &once).unwrap()), 1e-6, "gradient");
        let y = weight.forward(&c.rows(&x).unwrap(), Some(dy.copy().unwrap())).unwrap();
        assert_close(&numbers(&y), &numbers(&(x.matmul(&w.t().unwrap()).unwrap() + &dy).unwrap()), 1e-6, "forward");
    }
}

#[test]
fn rms_norm_has_the_gradients_of_its_formula() {
    let mut random = Random::new(4);
    for case in 0..20 {
        let (m, d) = (random.size(1..150), random.size(1..90));
        let inputs = [random.tensor(&[m, d]), random.tensor(&[d])];
        let what = format!("rms_norm {case}: {m} {d}");
        check(&mut random, &what, &inputs, &|c, x| c.rms_norm(&x[0], &x[1], 1e-2), &|c, x, g| {
            let (dx, dw) = c.rms_norm_backward(&x[0], &x[1], 1e-2, g, x[0].zeros_like()?, true)?;
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
        let angles = Angles::new(&positions, &frequencies, 1.0, &Device::Cpu).unwrap();
        check(
            &mut random,
            &format!("rope {case}: {m} {heads} {half}"),
            &x,
            // The kernel works in the memory of its argument.
            &|c, x| c.rope(x[0].copy()?, &angles),
            &|c, _, g| Ok(vec![c.rope_backward(g.copy()?, &angles)?]),
        );
    }
}

#[test]
fn gated_units_have_the_gradients_of_their_formulas() {
    let mut random = Random::new(6);
    for case in 0..20 {
        let activation = if case % 2 == 0 { Activation::Silu } else { Activation::GeluTanh };
        let (m, d) = (random.size(1..40), random.size(1..600));
        let inputs = [(random.tensor(&[m, d]) * 6.0).unwrap(), random.tensor(&[m, d])];
        let what = format!("{activation:?} {case}: {m} {d}");
        check(&mut random, &what, &inputs, &|c, x| c.gated(activation, &x[0], &x[1]), &|c, x, g| {
            let (dgate, dup) = c.gated_backward(activation, x[0].copy()?, x[1].copy()?, g)?;
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
        let forward = |c: &Compute, x: &[Tensor]| c.attention(&attention, [&x[0], &x[1], &x[2]], window);
        check(&mut random, &what, &inputs, &|c, x| Ok(forward(c, x)?.0), &|c, x, g| {
            let (out, sums) = forward(c, x)?;
            Ok(c.attention_backward(&attention, [&x[0], &x[1], &x[2]], window, (&out, &sums), g)?.into())
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
        let [ours, plain] =
            both(Precision::F32).map(|c| numbers(&c.attention(&attention, [&q, &k, &v], window).unwrap().0));
        assert_close(&ours, &plain, 2e-6, "cache");
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
    assert!(kernels().attention(&attention, [&q, &k, &k], None).is_err());
}

#[test]
fn scores_have_the_gradients_of_log_softmax() {
    let mut random = Random::new(10);
    // The last one takes two chunks.
    for (n, d, vocab) in [(1, 1, 2), (5, 7, 11), (40, 33, 129), (300, 5, 64)] {
        let (h, w) = (random.tensor(&[n, d]), random.tensor(&[vocab, d]));
        let tokens: Vec<u32> = (0..n).map(|_| random.size(0..vocab) as u32).collect();
        let what = format!("score {n} {d} {vocab}");
        let dlogps = numbers(&random.tensor(&[n]));
        let all = |x: &[Tensor]| candle_nn::ops::log_softmax(&x[0].matmul(&x[1].t()?)?, 1);
        let one_hot = tokens
            .iter()
            .zip(&dlogps)
            .flat_map(|(t, d)| (0..vocab).map(move |v| if v == *t as usize { *d } else { 0.0 }));
        let seed = Tensor::from_vec(one_hot.collect(), (n, vocab), &Device::Cpu).unwrap();
        let (logps, grads) = recorded(&[h.clone(), w.clone()], &seed, &all);
        let expected: Vec<f32> = tokens.iter().enumerate().map(|(i, t)| logps[i * vocab + *t as usize]).collect();
        for c in both(Precision::F32) {
            let weight = Weight::new(&w.clone().into(), &c).unwrap();
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
        }
    }
}

#[test]
fn rows_are_set_and_added() {
    for c in both(Precision::F32) {
        let dst = Tensor::zeros((5, 2), DType::F32, &Device::Cpu).unwrap();
        let src = Tensor::new(&[[1f32, 2.], [3., 4.], [5., 6.], [7., 8.]], &Device::Cpu).unwrap();
        c.set_rows(&dst, &src, &[3, 0, 1, 2]).unwrap();
        assert_eq!(numbers(&dst), [3., 4., 5., 6., 7., 8., 1., 2., 0., 0.]);
        let sum = c.add_rows(dst, &src, &[2, 2, 3, 4]).unwrap();
        assert_eq!(numbers(&sum), [3., 4., 5., 6., 11., 14., 6., 8., 7., 8.]);
        assert!(c.set_rows(&sum, &src, &[0, 1, 2, 5]).is_err());
    }
}

#[test]
fn rows_of_one_backend_are_refused_by_the_other() {
    let [ours, plain] = both(Precision::F32);
    let x = Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
    let weight = Weight::new(&x.clone().into(), &ours).unwrap();
    let times = |c: &Compute| weight.forward(&c.rows(&x).unwrap(), None);
    assert!(times(&ours).is_ok());
    assert!(times(&plain).unwrap_err().to_string().contains("packed by another backend"));
}

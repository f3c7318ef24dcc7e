//! Attention against loops in f64, and what surrounds FlashAttention's kernel.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::ops::{
    Span,
    tests::{Random, assert_close, numbers, recorded},
};

/// An attention with its arguments.
struct Case {
    what: String,
    spans: Vec<Span>,
    spec: Attention,
    dim: usize,
    window: Option<usize>,
    /// q, k and v.
    inputs: [Tensor; 3],
}

/// Packs and caches in turn, every other pair with a window; heads of a multiple of `step` numbers.
fn cases(random: &mut Random, step: usize, mut test: impl FnMut(&mut Random, Case)) {
    for case in 0..24 {
        let (spans, keys) = if case % 2 == 0 { pack(random) } else { cache(random) };
        let queries = spans[spans.len() - 1].queries.end;
        let (kv, group, dim) = (random.size(1..3), random.size(1..4), step * random.size(1..20 / step + 2));
        let window = if case % 4 < 2 { None } else { Some(random.size(1..400)) };
        let what = format!("{case}: {kv} x {group} heads of {dim}, window {window:?}, {spans:?}");
        let inputs = [
            (random.tensor(&[queries, kv * group * dim]) * 2.0).unwrap(),
            (random.tensor(&[keys, kv * dim]) * 2.0).unwrap(),
            random.tensor(&[keys, kv * dim]),
        ];
        let spec = Attention::new(spans.clone(), dim).unwrap();
        test(random, Case { what, spans, spec, dim, window, inputs });
    }
}

/// One in three may be longer than a block.
fn length(random: &mut Random) -> usize {
    let below = if random.size(0..3) == 0 { 600 } else { 60 };
    random.size(1..below)
}

/// Sequences with and without continuations, and the number of their rows.
fn pack(random: &mut Random) -> (Vec<Span>, usize) {
    let (mut spans, mut next) = (vec![], 0);
    for _ in 0..random.size(1..4) {
        let root = next..next + length(random);
        next = root.end;
        spans.push(Span { queries: root.clone(), keys: [0..0, root.clone()] });
        for _ in 0..random.size(0..3) {
            let own = next..next + length(random);
            next = own.end;
            spans.push(Span { queries: own.clone(), keys: [root.clone(), own] });
        }
    }
    (spans, next)
}

/// Slots of a cache, filled to some length, that get one token or many, and the number of the cache's rows.
fn cache(random: &mut Random) -> (Vec<Span>, usize) {
    let (slots, capacity) = (random.size(1..6), random.size(300..500));
    let (mut spans, mut next) = (vec![], 0);
    for slot in 0..slots {
        let n = if random.size(0..2) == 0 { 1 } else { random.size(1..300) };
        let start = slot * capacity;
        spans.push(Span { queries: next..next + n, keys: [0..0, start..start + random.size(n..capacity + 1)] });
        next += n;
    }
    (spans, slots * capacity)
}

fn wide(t: &Tensor) -> Vec<f64> {
    numbers(t).into_iter().map(f64::from).collect()
}

/// Softmax-weighted sum of `value` over `keys` with scores `score`, one number for each dimension.
fn weighted_sum(
    keys: &[usize],
    dim: usize,
    score: impl Fn(usize) -> f64,
    value: impl Fn(usize, usize) -> f64,
) -> Vec<f64> {
    let weights: Vec<f64> = keys.iter().map(|key| score(*key).exp()).collect();
    let total: f64 = weights.iter().sum();
    (0..dim).map(|d| keys.iter().zip(&weights).map(|(key, w)| w / total * value(*key, d)).sum()).collect()
}

/// The definition, query by query.
fn exact(case: &Case, [q, k, v]: [&[f64]; 3]) -> Vec<f64> {
    let Case { dim, window, .. } = *case;
    let (width, kv_width) = (case.inputs[0].dims()[1], case.inputs[1].dims()[1]);
    let group = width / kv_width;
    let mut out = vec![];
    for span in &case.spans {
        let keys: Vec<usize> = span.keys.iter().cloned().flatten().collect();
        for row in span.queries.clone() {
            let end = keys.len() - (span.queries.end - row) + 1;
            let seen = &keys[window.map_or(0, |w| end.saturating_sub(w))..end];
            for head in 0..width / dim {
                let (q, of_head) = (&q[row * width + head * dim..][..dim], head / group * dim);
                let score = |key: usize| {
                    let k = &k[key * kv_width + of_head..][..dim];
                    q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>() / (dim as f64).sqrt()
                };
                out.extend(weighted_sum(seen, dim, score, |key, d| v[key * kv_width + of_head + d]));
            }
        }
    }
    out
}

#[test]
fn plain_forward_equals_the_definition() {
    cases(&mut Random::new(20), 1, |_, case| {
        let [q, k, v] = case.inputs.each_ref();
        let out = attention::forward(&case.spec, [q, k, v], case.window).unwrap();
        let expected: Vec<f32> = exact(&case, [&wide(q), &wide(k), &wide(v)]).iter().map(|x| *x as f32).collect();
        assert_close(&numbers(&out), &expected, 2e-6, &case.what);
    });
}

#[test]
fn plain_backward_equals_autograd_and_differences() {
    cases(&mut Random::new(21), 1, |random, case| {
        let dout = random.tensor(case.inputs[0].dims());
        let forward = |x: &[Tensor]| attention::forward(&case.spec, [&x[0], &x[1], &x[2]], case.window);
        let (_, expected) = recorded(&case.inputs, &dout, &forward);
        let found = attention::backward(&case.spec, case.inputs.each_ref(), case.window, &dout).unwrap();
        for (name, (found, expected)) in ["dq", "dk", "dv"].iter().zip(found.iter().zip(&expected)) {
            assert_close(&numbers(found), expected, 1e-5, &format!("{name} of {}", case.what));
        }

        // Along a random direction, both ways.
        let (dout, step) = (wide(&dout), 1e-4);
        let directions: Vec<Vec<f64>> = case.inputs.iter().map(|t| wide(&random.tensor(t.dims()))).collect();
        let loss = |by: f64| {
            let moved = |i: usize| -> Vec<f64> {
                wide(&case.inputs[i]).iter().zip(&directions[i]).map(|(x, d)| x + by * d).collect()
            };
            let out = exact(&case, [&moved(0), &moved(1), &moved(2)]);
            out.iter().zip(&dout).map(|(a, b)| a * b).sum::<f64>()
        };
        let difference = (loss(step) - loss(-step)) / (2.0 * step);
        let terms: Vec<f64> = found
            .iter()
            .zip(&directions)
            .flat_map(|(g, d)| wide(g).into_iter().zip(d).map(|(g, d)| g * d).collect::<Vec<_>>())
            .collect();
        let (derivative, size) = (terms.iter().sum::<f64>(), terms.iter().map(|x| x * x).sum::<f64>().sqrt());
        let error = (difference - derivative).abs();
        assert!(error < 1e-5 * (size + 0.1), "{difference} is not {derivative}: {}", case.what);
    });
}

/// `candle_flash_attn::flash_attn_varlen_windowed` 0.11.1 as its sources have it (`FlashAttnVarLen` in lib.rs,
/// kernels/block_info.h, kernels/mask.h), for tensors on the CPU, but for the rounding of the result.
#[allow(clippy::too_many_arguments)]
fn kernel_twin(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    starts_q: &Tensor,
    starts_k: &Tensor,
    max_q: usize,
    max_k: usize,
    scale: f32,
    left: Option<usize>,
    right: Option<usize>,
) -> Result<Tensor> {
    assert!([q, k, v].iter().all(|t| t.dtype() == DType::BF16), "f16 and bf16 alone");
    let ((total_q, heads, dim), (total_k, kv_heads, _)) = (q.dims3()?, k.dims3()?);
    assert!(dim % 8 == 0 && dim <= 512 && heads % kv_heads == 0 && k.dims() == v.dims() && k.dims()[2] == dim);
    let [starts_q, starts_k] = [starts_q, starts_k].map(|s| s.to_vec1::<u32>().unwrap());
    assert!(starts_q.len() == starts_k.len() && (starts_q[0], starts_k[0]) == (0, 0));
    assert_eq!((*starts_q.last().unwrap() as usize, *starts_k.last().unwrap() as usize), (total_q, total_k));
    // A window longer than every sequence is none.
    let left = left.filter(|n| *n <= max_k).map_or(i64::MAX / 2, |n| n as i64);
    let right = right.filter(|n| *n <= max_k).map_or(i64::MAX / 2, |n| n as i64);
    let [q, k, v] = [q, k, v].map(|t| wide(&t.to_dtype(DType::F32).unwrap()));
    let (mut out, mut longest) = (vec![], (0, 0));
    for (of_q, of_k) in starts_q.windows(2).zip(starts_k.windows(2)) {
        let (len_q, len_k) = (i64::from(of_q[1] - of_q[0]), i64::from(of_k[1] - of_k[0]));
        longest = (longest.0.max(len_q), longest.1.max(len_k));
        for row in 0..len_q {
            let first = 0.max(row + len_k - len_q - left);
            let end = len_k.min(row + 1 + len_k - len_q + right);
            let seen: Vec<usize> = (first..end).map(|i| of_k[0] as usize + i as usize).collect();
            for head in 0..heads {
                let q = &q[((of_q[0] as usize + row as usize) * heads + head) * dim..][..dim];
                let at = |key: usize| (key * kv_heads + head / (heads / kv_heads)) * dim;
                let dot = |key: usize| q.iter().zip(&k[at(key)..]).map(|(q, k)| q * k).sum::<f64>();
                out.extend(weighted_sum(&seen, dim, |key| dot(key) * f64::from(scale), |key, d| v[at(key) + d]));
            }
        }
    }
    assert_eq!(longest, (max_q as i64, max_k as i64), "the grid is as large as it must be");
    Tensor::from_vec(out.iter().map(|x| *x as f32).collect(), (total_q, heads, dim), &Device::Cpu)
}

#[test]
fn what_surrounds_flash_attention_equals_plain() {
    let mut differ = 0;
    cases(&mut Random::new(22), 8, |_, case| {
        // Numbers that bf16 holds, so that no rounding hides a wrong row.
        let bf16 = |t: &Tensor| t.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap();
        let qkv = case.inputs.each_ref().map(bf16);
        let by = |plain: Plain| plain.attention(&case.spec, qkv.each_ref(), case.window).unwrap().0;
        let (found, expected) = (by(Plain { flash: Some(kernel_twin) }), by(Plain { flash: None }));
        differ += usize::from(numbers(&found) != numbers(&expected));
        assert_eq!(found.dims(), expected.dims());
        assert_close(&numbers(&found), &numbers(&expected), 2e-6, &case.what);
    });
    assert!(differ > 12, "two ways of summing round alike in {} cases of 24", 24 - differ);
}

#[test]
fn flash_attention_leaves_odd_heads_to_plain() {
    assert!([8, 64, 96, 128, 256, 512].into_iter().all(flash::supports));
    assert!(![4, 60, 100, 520].into_iter().any(flash::supports));
    let plain = Plain { flash: Some(|_, _, _, _, _, _, _, _, _, _| panic!("heads of 4 numbers")) };
    let spec = Attention::new(vec![Span { queries: 0..3, keys: [0..0, 0..3] }], 4).unwrap();
    let x = Random::new(23).tensor(&[3, 4]);
    assert!(plain.attention(&spec, [&x, &x, &x], None).is_ok());
}

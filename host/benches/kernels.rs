//! The engine's kernels at the sizes of SmolLM2-135M: `cargo bench -p ldalign`.
//!
//! The unit is one operation of arithmetic for products and attention, so "Gelem/s" are GFLOP/s, and one number of the
//! result for the rest.
#![allow(missing_docs, clippy::unwrap_used)]

use candle_core::{Device, Result, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ldalign::ops::{Activation, Attention, Compute, Precision, Span, Weight};

#[global_allocator]
static ALLOCATOR: ldalign::memory::Allocator = ldalign::memory::Allocator;

const DIM: usize = 576;
const FFN: usize = 1536;
const HEADS: usize = 9;
const KV_HEADS: usize = 3;
const HEAD_DIM: usize = 64;
const TOKENS: usize = 600;

fn random(rows: usize, cols: usize) -> Tensor {
    Tensor::randn(0f32, 1.0, (rows, cols), &Device::Cpu).unwrap()
}

/// Times an operation on some rows of which it takes `work` units.
fn time<T>(c: &mut Criterion, group: &str, rows: usize, work: usize, mut op: impl FnMut() -> Result<T>) {
    let mut group = c.benchmark_group(group);
    group.throughput(Throughput::Elements(work as u64)).sample_size(20);
    group.bench_function(BenchmarkId::from_parameter(rows), |b| b.iter(|| op().unwrap()));
    group.finish();
}

fn products(c: &mut Criterion) {
    let w = random(FFN, DIM);
    for precision in [Precision::F32, Precision::Bf16] {
        let compute = Compute::new(&Device::Cpu, precision);
        for rows in [1, 16, TOKENS] {
            let work = 2 * rows * DIM * FFN;
            let (x, dy) = (random(rows, DIM), random(rows, FFN));
            let weight = Weight::new(&w.clone().into(), &compute).unwrap();
            let name = |pass: &str| format!("linear {precision:?} {pass}");
            time(c, &name("forward"), rows, work, || weight.forward(&compute.rows(&x)?, None));
            time(c, &name("backward"), rows, work, || weight.backward(&compute.rows(&dy)?, None));
            time(c, &name("weight gradient"), rows, work, || weight.gradient(&dy, &x, None));
        }
    }
}

fn elements(c: &mut Criterion) {
    let compute = Compute::new(&Device::Cpu, Precision::F32);
    let (x, w) = (random(TOKENS, DIM), Tensor::ones(DIM, candle_core::DType::F32, &Device::Cpu).unwrap());
    time(c, "rms_norm", TOKENS, TOKENS * DIM, || compute.rms_norm(&x, &w, 1e-5));
    let (gate, up) = (random(TOKENS, FFN), random(TOKENS, FFN));
    time(c, "gated unit", TOKENS, TOKENS * FFN, || compute.gated(Activation::Silu, &gate, &up));
}

fn attention(c: &mut Criterion) {
    let compute = Compute::new(&Device::Cpu, Precision::F32);
    let qkv = |queries: usize, keys: usize| {
        (random(queries, HEADS * HEAD_DIM), random(keys, KV_HEADS * HEAD_DIM), random(keys, KV_HEADS * HEAD_DIM))
    };
    for tokens in [200, TOKENS, 2000] {
        let (q, k, v) = qkv(tokens, tokens);
        let span = Span { queries: 0..tokens, keys: [0..0, 0..tokens] };
        let attention = Attention::new(vec![span], HEAD_DIM).unwrap();
        // Two products, each over half of the square; four that count in the backward pass.
        let work = 2 * HEADS * HEAD_DIM * tokens * (tokens + 1);
        time(c, "attention forward", tokens, work, || compute.attention(&attention, [&q, &k, &v], None));
        let (out, sums) = compute.attention(&attention, [&q, &k, &v], None).unwrap();
        let d = random(tokens, HEADS * HEAD_DIM);
        time(c, "attention backward", tokens, 2 * work, || {
            compute.attention_backward(&attention, [&q, &k, &v], None, (&out, &sums), &d)
        });
    }

    // One query of each sequence against its slot of a cache.
    let (slots, capacity) = (16, 512);
    let (q, k, v) = qkv(slots, slots * capacity);
    let span = |i: usize| Span { queries: i..i + 1, keys: [0..0, i * capacity..i * capacity + TOKENS / 2] };
    let attention = Attention::new((0..slots).map(span).collect(), HEAD_DIM).unwrap();
    let work = 4 * slots * HEADS * HEAD_DIM * TOKENS / 2;
    time(c, "attention decode", TOKENS / 2, work, || compute.attention(&attention, [&q, &k, &v], None));
}

fn kernels(c: &mut Criterion) {
    products(c);
    elements(c);
    attention(c);
}

criterion_group!(benches, kernels);
criterion_main!(benches);

//! The engine's kernels at the sizes of SmolLM2-135M: `cargo bench -p ldalign`.
//!
//! The unit is one operation of arithmetic for products and attention, so "Gelem/s" are GFLOP/s, and one number of the
//! result for the rest.
#![allow(missing_docs, clippy::unwrap_used)]

use candle_core::{Device, Result, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ldalign::ops::{Attention, Precision, Rows, Span, Weight, configure_allocator, rms_norm, swiglu};

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
        for rows in [1, 16, TOKENS] {
            let work = 2 * rows * DIM * FFN;
            let (x, dy) = (random(rows, DIM), random(rows, FFN));
            let weight = Weight::new(&w, precision).unwrap();
            let name = |pass: &str| format!("linear {precision:?} {pass}");
            time(c, &name("forward"), rows, work, || weight.forward(&Rows::new(&x, precision)?, None));
            time(c, &name("backward"), rows, work, || weight.backward(&Rows::new(&dy, precision)?, None));
            time(c, &name("weight gradient"), rows, work, || weight.gradient(&dy, &x, None));
        }
    }
}

fn elements(c: &mut Criterion) {
    let (x, w) = (random(TOKENS, DIM), Tensor::ones(DIM, candle_core::DType::F32, &Device::Cpu).unwrap());
    time(c, "rms_norm", TOKENS, TOKENS * DIM, || rms_norm(&x, &w, 1e-5));
    let (gate, up) = (random(TOKENS, FFN), random(TOKENS, FFN));
    time(c, "swiglu", TOKENS, TOKENS * FFN, || swiglu(&gate, &up));
}

fn attention(c: &mut Criterion) {
    let (q, k, v) =
        (random(TOKENS, HEADS * HEAD_DIM), random(TOKENS, KV_HEADS * HEAD_DIM), random(TOKENS, KV_HEADS * HEAD_DIM));
    let span = Span { queries: 0..TOKENS, keys: [0..0, 0..TOKENS] };
    let attention = Attention::new(vec![span], HEAD_DIM).unwrap();
    // Two products, each over half of the square.
    let work = 2 * HEADS * HEAD_DIM * TOKENS * (TOKENS + 1);
    time(c, "attention forward", TOKENS, work, || attention.forward(&q, &k, &v, None));
}

fn kernels(c: &mut Criterion) {
    configure_allocator();
    products(c);
    elements(c);
    attention(c);
}

criterion_group!(benches, kernels);
criterion_main!(benches);

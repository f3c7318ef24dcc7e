//! The operations of a training pass one by one, in the shapes that the model and one step's pairs give them.
//!
//! What each took times how often a pass uses it, summed up, is what a pass would take if nothing but operations cost
//! time.

use super::{Bench, limits::best};
use crate::{
    Result,
    model::{FeedForward, Gradients, Module, Pack, Trainable},
    ops::{self, Angles, Compute, Span, Wanted, Weight},
    train::optimizer::AdamW,
};
use candle_core::{DType, Device, Tensor, Var};
use serde::Serialize;

/// All operations.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Operations(pub Vec<Operation>);

/// An operation.
#[derive(Debug, Serialize)]
pub struct Operation {
    /// Its name and shape.
    pub name: String,
    /// How often a pass uses it: forward and backward, nothing computed again.
    pub times: usize,
    /// Seconds once, the best of some.
    pub seconds: f64,
    /// What bounds it.
    pub bound: Bound,
    /// 10^9 operations or bytes a second, as it is bound.
    pub rate: f64,
    /// That as a share of the limit; above 1 where memory-bound arrays stay in a cache; None where limits were not
    /// measured.
    pub of_limit: Option<f64>,
}

/// What bounds an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// The rate of matrix products.
    Product,
    /// The bandwidth of memory: each number read or written once.
    Memory,
}

impl Operations {
    /// Seconds of a pass made of nothing else.
    pub fn seconds(&self) -> f64 {
        self.0.iter().map(|o| o.times as f64 * o.seconds).sum()
    }
}

/// Operations as they are measured.
struct Measured<'a> {
    bench: &'a Bench<'a>,
    compute: Compute,
    all: Vec<Operation>,
}

impl Measured<'_> {
    /// Measures one; `work` is its operations or bytes.
    fn add(
        &mut self,
        name: String,
        times: usize,
        bound: Bound,
        work: f64,
        mut run: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let seconds = best(&mut run)?;
        let rate = work / seconds / 1e9;
        let limit = |l: &super::limits::Limits| match bound {
            Bound::Product => l.products(self.bench.precision()),
            Bound::Memory => l.bandwidth.triad_gb_per_s,
        };
        let of_limit = self.bench.limits.as_ref().map(|l| rate / limit(l));
        self.all.push(Operation { name, times, seconds, bound, rate, of_limit });
        Ok(())
    }
}

/// Numbers of a shape. Their values decide nothing.
fn numbers(rows: usize, width: usize) -> Result<Tensor> {
    Ok(Tensor::full(0.01f32, (rows, width), &Device::Cpu)?)
}

/// Measures the operations of a pass over the first step's rows.
pub fn measure(bench: &Bench<'_>) -> Result<Operations> {
    crate::progress::say(format_args!("ops: one training pass, operation by operation"));
    let (mut pack, mut targets) = (Pack::default(), vec![]);
    for row in 0..bench.options.batch.min(bench.pairs.len()) {
        let prompt = pack.push_prompt(bench.pairs.get(row, 0));
        for column in [1, 2] {
            targets.extend(pack.push_completion(prompt, bench.pairs.get(row, column)));
        }
    }
    let compute = Compute::new(&Device::Cpu, bench.precision());
    let mut measured = Measured { bench, compute, all: vec![] };
    linears(&mut measured, pack.len())?;
    attention(&mut measured, &pack)?;
    elementwise(&mut measured, &pack)?;
    head(&mut measured, &targets.iter().map(|t| t.token).collect::<Vec<_>>())?;
    adamw(&mut measured)?;
    Ok(Operations(measured.all))
}

/// A weight [outputs, inputs] as training has it: frozen under adapters.
fn weight(measured: &Measured<'_>, outputs: usize, inputs: usize) -> Result<Weight> {
    let (w, compute) = (numbers(outputs, inputs)?, &measured.compute);
    let frozen = measured.bench.options.lora.is_some();
    let w = w.into();
    Ok(Weight::new(&if frozen { Weight::frozen(&w, compute)? } else { w }, compute)?)
}

/// Linear modules of equal shape together: result, input's gradient, and weight's gradient where it is trained.
fn linears(measured: &mut Measured<'_>, tokens: usize) -> Result<()> {
    let (bench, lora) = (measured.bench, measured.bench.options.lora);
    let modules = bench.config.modules();
    // An expert has its share of the tokens.
    let rows = |m: &Module| ((tokens as f64 * m.share).ceil() as usize).max(1);
    let base = modules.iter().map(|m| (rows(m), m.inputs, m.outputs, lora.is_none()));
    let adapted = modules.iter().filter(|m| m.adaptable).zip(lora.into_iter().cycle());
    let adapters = adapted.flat_map(|(m, r)| [(rows(m), m.inputs, r, true), (rows(m), r, m.outputs, true)]);
    let mut shapes: Vec<((usize, usize, usize, bool), usize)> = vec![];
    for shape in base.chain(adapters) {
        match shapes.iter_mut().find(|(s, _)| *s == shape) {
            Some((_, times)) => *times += 1,
            None => shapes.push((shape, 1)),
        }
    }
    for ((tokens, inputs, outputs, trained), times) in shapes {
        let (x, dy, w) = (numbers(tokens, inputs)?, numbers(tokens, outputs)?, weight(measured, outputs, inputs)?);
        let name = |what: &str| format!("linear {inputs} -> {outputs} {what}");
        let work = 2.0 * (tokens * inputs * outputs) as f64;
        let compute = measured.compute.clone();
        measured.add(name("forward"), times, Bound::Product, work, || {
            w.forward(&compute.rows(&x)?, None)?;
            Ok(())
        })?;
        measured.add(name("by input"), times, Bound::Product, work, || {
            w.backward(&compute.rows(&dy)?, None)?;
            Ok(())
        })?;
        if trained {
            let mut sum = Some(numbers(outputs, inputs)?);
            measured.add(name("by weight"), times, Bound::Product, work, || {
                sum = Some(w.gradient(&dy, &x, sum.take())?);
                Ok(())
            })?;
        }
    }
    Ok(())
}

fn attention(measured: &mut Measured<'_>, pack: &Pack) -> Result<()> {
    let (c, compute) = (&measured.bench.config, measured.compute.clone());
    let (width, kv) = (c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim);
    let spans = pack.segments.iter().enumerate().map(|(i, segment)| Span {
        queries: pack.rows(i),
        keys: [segment.prefix.map_or(0..0, |p| pack.rows(p)), pack.rows(i)],
    });
    let attention = c.attention(spans.collect())?;
    let [q, k, v, d] = [width, kv, kv, width].map(|w| numbers(pack.len(), w));
    let (q, k, v, d) = (q?, k?, v?, d?);
    let mut windows: Vec<_> = c.layers.iter().map(|layer| layer.window).collect();
    windows.sort_unstable();
    for layers in windows.chunk_by(|a, b| a == b) {
        let window = layers[0];
        let seen = |p: &u32| window.unwrap_or(usize::MAX).min(*p as usize + 1) as f64;
        let work = 4.0 * pack.positions.iter().map(seen).sum::<f64>() * width as f64;
        let name = |what| format!("attention{} {what}", window.map_or(String::new(), |w| format!(" ({w})")));
        let times = layers.len();
        measured.add(name("forward"), times, Bound::Product, work, || {
            compute.attention(&attention, [&q, &k, &v], window)?;
            Ok(())
        })?;
        let (out, sums) = compute.attention(&attention, [&q, &k, &v], window)?;
        measured.add(name("backward"), times, Bound::Product, 2.0 * work, || {
            compute.attention_backward(&attention, [&q, &k, &v], window, (&out, &sums), &d)?;
            Ok(())
        })?;
    }
    Ok(())
}

/// Norms, positions and gates. The work is bytes, each array moved once.
fn elementwise(measured: &mut Measured<'_>, pack: &Pack) -> Result<()> {
    let (c, compute) = (&measured.bench.config, measured.compute.clone());
    let (layers, tokens, full) = (c.num_layers, pack.len(), measured.bench.options.lora.is_none());
    let bytes = |arrays: usize, width: usize| 4.0 * (arrays * tokens * width) as f64;

    let (h, eps) = (c.hidden_size, c.rms_norm_eps);
    let norms = layers * c.norms().iter().map(|(_, after)| 1 + after.iter().len()).sum::<usize>();
    let (x, g, onto) = (numbers(tokens, h)?, numbers(tokens, h)?, numbers(tokens, h)?);
    let w = Tensor::ones(h, DType::F32, &Device::Cpu)?;
    measured.add(format!("norm {h} forward"), norms, Bound::Memory, bytes(2, h), || {
        compute.rms_norm(&x, &w, eps)?;
        Ok(())
    })?;
    measured.add(format!("norm {h} backward"), norms, Bound::Memory, bytes(4, h), || {
        compute.rms_norm_backward(&x, &w, eps, &g, onto.clone(), full)?;
        Ok(())
    })?;

    let rope = &c.ropes[0];
    let angles = Angles::new(&pack.positions, &rope.frequencies(c.head_dim), rope.attention_factor(), &Device::Cpu)?;
    let heads = (c.num_heads + c.num_kv_heads) * c.head_dim;
    let x = numbers(tokens, heads)?;
    measured.add(format!("rope {heads}"), 2 * layers, Bound::Memory, bytes(2, heads), || {
        compute.rope(x.clone(), &angles)?;
        Ok(())
    })?;

    let gated = c.layers.iter().map(|layer| match layer.feed_forward {
        FeedForward::Gated(width) => (tokens, width),
        FeedForward::Experts(experts) => (tokens * experts.used, experts.width),
    });
    let mut gated: Vec<_> = gated.collect();
    gated.sort_unstable();
    let activation = c.parts.activation;
    for layers in gated.chunk_by(|a, b| a == b) {
        let ((rows, f), times) = (layers[0], layers.len());
        let bytes = |arrays: usize| 4.0 * (arrays * rows * f) as f64;
        let (gate, up, d) = (numbers(rows, f)?, numbers(rows, f)?, numbers(rows, f)?);
        measured.add(format!("gated unit {f} forward"), times, Bound::Memory, bytes(3), || {
            compute.gated(activation, &gate, &up)?;
            Ok(())
        })?;
        measured.add(format!("gated unit {f} backward"), times, Bound::Memory, bytes(5), || {
            compute.gated_backward(activation, gate.clone(), up.clone(), &d)?;
            Ok(())
        })?;
    }
    Ok(())
}

/// Log-probabilities of the response tokens, and back.
fn head(measured: &mut Measured<'_>, tokens: &[u32]) -> Result<()> {
    let (bench, c) = (measured.bench, &measured.bench.config);
    let full = bench.options.lora.is_none();
    let (hidden, w) = (numbers(tokens.len(), c.hidden_size)?, weight(measured, c.vocab_size, c.hidden_size)?);
    let loss_gradient = vec![0.01; tokens.len()];
    let work = 2.0 * (tokens.len() * c.hidden_size * c.vocab_size) as f64;
    let mut sum = None;
    let name = format!("head {} -> {} all of it", c.hidden_size, c.vocab_size);
    measured.add(name, 1, Bound::Product, if full { 3.0 } else { 2.0 } * work, || {
        let wanted = if full { Wanted::Both } else { Wanted::Hidden };
        let scores = ops::score(&hidden, &w, tokens, wanted)?;
        sum = ops::score_backward(&hidden, &w, tokens, scores, &loss_gradient, sum.take())?.1;
        Ok(())
    })
}

/// An optimizer step: weight, gradient and two moments read, all but the gradient written.
fn adamw(measured: &mut Measured<'_>) -> Result<()> {
    let trainable: Vec<Trainable> = measured.bench.policy()?.trainable();
    let gradient =
        |t: &Trainable| Ok((t.name.clone(), Var::zeros(t.var.shape(), DType::F32, &Device::Cpu)?.into_inner()));
    let gradients: Gradients = trainable.iter().map(gradient).collect::<Result<_>>()?;
    let mut optimizer = AdamW::new(&measured.compute, &trainable, &measured.bench.training(1, 1))?;
    let parameters: usize = trainable.iter().map(|t| t.var.elem_count()).sum();
    measured.add("AdamW".into(), 1, Bound::Memory, 28.0 * parameters as f64, || {
        optimizer.step(1, &gradients, super::LEARNING_RATE, 1.0)
    })
}

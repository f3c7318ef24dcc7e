//! phi, from the policy's states of a response to a latent, and the projection of the latent to the prefix that psi,
//! the policy, reads.
//!
//! - phi reads the states of the response's tokens alone: each has seen the prompt and all of the response before it.
//!   They are standardised number by number, since a few numbers of a policy's states are a thousand times as large as
//!   the rest, and scaled to root mean square 1, mapped to width `dim`, and go through `layers` transformer layers that
//!   see the whole response.
//! - Each slot has a query, by which it takes a weighted mean of the tokens, and a map of its own. Slots are scaled to
//!   root mean square 1, which keeps distances comparable between samples and rounds.
//! - The prefix starts as embeddings of the policy's own, the same for all samples; all of the latent, mapped by one
//!   matrix, moves it.
//!
//! Only operations with a backward pass are used: candle's fused norms would cut the graph silently.

use candle_core::{D, Device, Result, Tensor, Var};
use candle_nn::ops::softmax;
use ldalign_guiding::layers::{Init, Stack, Weights, rms_norm};
use std::collections::BTreeMap;

/// What fixes the shape of every weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Architecture {
    /// Numbers of the policy's states.
    pub hidden: usize,
    /// Width of phi, and numbers per latent slot.
    pub dim: usize,
    /// Layers of phi.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Vectors per latent.
    pub slots: usize,
    /// Embeddings of the prefix.
    pub prefix: usize,
}

impl std::fmt::Display for Architecture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { hidden, dim, layers, heads, slots, prefix } = self;
        write!(f, "hidden {hidden}, dim {dim}, layers {layers}, heads {heads}, slots {slots}, prefix {prefix}")
    }
}

/// What a network knows of the policy from before its training.
pub struct Scales {
    /// Mean of each number of the states, `hidden`.
    pub mean: Vec<f32>,
    /// Its standard deviation, above 0.
    pub deviation: Vec<f32>,
    /// What the prefix starts as, `[prefix, hidden]`.
    pub prefix: Vec<f32>,
    /// Root mean square of embeddings: the scale of what moves the prefix.
    pub embedding: f32,
}

/// How far a fresh network moves the prefix, in units of embeddings: little, so that training starts near the policy by
/// itself.
const FIRST_MOVE: f64 = 0.05;

/// phi and the projection.
pub struct Network {
    architecture: Architecture,
    mean: Tensor,
    deviation: Tensor,
    start: Tensor,
    scale: Tensor,
    /// `[hidden, dim]`
    input: Tensor,
    encoder: Stack,
    /// `[dim]`
    norm: Tensor,
    /// `[slots, dim]`
    queries: Tensor,
    /// `[slots, dim, dim]`
    values: Tensor,
    /// `[slots * dim, prefix * hidden]`
    projection: Tensor,
    /// Moves the prefix of every sample, `[prefix * hidden]`.
    bias: Tensor,
    variables: BTreeMap<String, Var>,
}

impl Network {
    /// Random weights, a function of the seed.
    pub fn fresh(architecture: Architecture, scales: Scales, seed: u64) -> Result<Self> {
        let Architecture { hidden, prefix, .. } = architecture;
        let Scales { mean, deviation, prefix: start, embedding } = scales;
        let tensor = |numbers: Vec<f32>, shape: &[usize]| Tensor::from_vec(numbers, shape, &Device::Cpu);
        let known = [
            tensor(mean, &[hidden])?,
            tensor(deviation, &[hidden])?,
            tensor(start, &[prefix, hidden])?,
            tensor(vec![embedding], &[1])?,
        ];
        Self::build(architecture, known, Weights::fresh(seed))
    }

    /// The given tensors; every name and shape must be as [`tensors`](Self::tensors) has them.
    pub fn restored(architecture: Architecture, mut tensors: BTreeMap<String, Tensor>) -> Result<Self> {
        let Architecture { hidden, prefix, .. } = architecture;
        let mut known = vec![];
        for (name, shape) in KNOWN.into_iter().zip([&[hidden][..], &[hidden], &[prefix, hidden], &[1]]) {
            match tensors.remove(name) {
                Some(t) if t.dims() == shape && t.dtype() == candle_core::DType::F32 => known.push(t),
                Some(t) => candle_core::bail!("`{name}` is {:?}, not {shape:?} of f32", t.dims()),
                None => candle_core::bail!("`{name}` is missing"),
            }
        }
        let known = known.try_into().expect("one tensor a name");
        Self::build(architecture, known, Weights::restored(tensors))
    }

    fn build(architecture: Architecture, known: [Tensor; 4], mut weights: Weights) -> Result<Self> {
        let Architecture { hidden, dim, layers, heads, slots, prefix } = architecture;
        let [mean, deviation, start, scale] = known;
        let keeps = |inputs: usize| Init::Normal((inputs as f64).powf(-0.5));
        Ok(Self {
            architecture,
            mean,
            deviation,
            start,
            scale,
            input: weights.take("encoder.input", &[hidden, dim], keeps(hidden))?,
            encoder: Stack::new(&mut weights, "encoder", layers, heads, dim)?,
            norm: weights.take("encoder.norm", &[dim], Init::Ones)?,
            queries: weights.take("encoder.queries", &[slots, dim], Init::Normal(1.0))?,
            values: weights.take("encoder.values", &[slots, dim, dim], keeps(dim))?,
            projection: weights.take(
                "prefix.projection",
                &[slots * dim, prefix * hidden],
                Init::Normal(FIRST_MOVE * ((slots * dim) as f64).powf(-0.5)),
            )?,
            bias: weights.take("prefix.bias", &[prefix * hidden], Init::Normal(0.0))?,
            variables: weights.finish()?,
        })
    }

    /// What it was built as.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// All weights by name, sorted.
    pub fn variables(&self) -> &BTreeMap<String, Var> {
        &self.variables
    }

    /// All that it is made of by name, sorted: weights, and what it knows of the policy.
    pub fn tensors(&self) -> BTreeMap<&str, &Tensor> {
        let known = KNOWN.into_iter().zip([&self.mean, &self.deviation, &self.start, &self.scale]);
        self.variables.iter().map(|(name, var)| (name.as_str(), var.as_tensor())).chain(known).collect()
    }

    /// The latent `[slots, dim]` of a response from its tokens' states `[tokens, hidden]`, at least one.
    pub fn encode(&self, states: &Tensor) -> Result<Tensor> {
        let states = rms_norm(&states.broadcast_sub(&self.mean)?.broadcast_div(&self.deviation)?)?;
        let tokens = self.encoder.forward(&states.matmul(&self.input)?.unsqueeze(0)?, None)?.squeeze(0)?;
        let tokens = rms_norm(&tokens)?.broadcast_mul(&self.norm)?;
        let scores = self.queries.matmul(&tokens.t()?)?.affine((self.architecture.dim as f64).powf(-0.5), 0.0)?;
        let pooled = softmax(&scores, D::Minus1)?.matmul(&tokens)?;
        rms_norm(&pooled.unsqueeze(1)?.matmul(&self.values)?.squeeze(1)?)
    }

    /// The prefixes `[samples, prefix, hidden]` of latents `[samples, slots, dim]`.
    pub fn prefixes(&self, latents: &Tensor) -> Result<Tensor> {
        let Architecture { hidden, prefix, .. } = self.architecture;
        let moved = latents.flatten_from(1)?.matmul(&self.projection)?.broadcast_add(&self.bias)?;
        moved.broadcast_mul(&self.scale)?.reshape(((), prefix, hidden))?.broadcast_add(&self.start)
    }
}

/// Names of what a network knows of the policy.
const KNOWN: [&str; 4] = ["states.mean", "states.deviation", "prefix.start", "prefix.scale"];

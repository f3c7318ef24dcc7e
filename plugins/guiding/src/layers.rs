//! The transformer's layers, from operations that all have a backward pass, and where their weights come from.

use candle_core::{D, DType, Device, Result, Tensor, Var};
use candle_nn::ops::softmax;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use std::collections::BTreeMap;

/// How a fresh weight begins.
#[derive(Clone, Copy)]
pub enum Init {
    /// Normal numbers of mean 0 and this standard deviation.
    Normal(f64),
    /// Ones.
    Ones,
}

/// Hands out weights by name and keeps each as a variable.
pub struct Weights {
    origin: Origin,
    variables: BTreeMap<String, Var>,
}

/// Where weights come from: drawn anew, or saved ones.
enum Origin {
    Fresh(Box<ChaCha8Rng>),
    Restored(BTreeMap<String, Tensor>),
}

impl Weights {
    /// Weights drawn from a seed, in the order they are taken.
    pub fn fresh(seed: u64) -> Self {
        Self { origin: Origin::Fresh(Box::new(ChaCha8Rng::seed_from_u64(seed))), variables: BTreeMap::new() }
    }

    /// Weights given by name.
    pub fn restored(tensors: BTreeMap<String, Tensor>) -> Self {
        Self { origin: Origin::Restored(tensors), variables: BTreeMap::new() }
    }

    /// The weight of this name, as a variable.
    pub fn take(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Tensor> {
        let var = match &mut self.origin {
            Origin::Fresh(rng) => {
                let count = shape.iter().product();
                let values = match init {
                    Init::Ones => vec![1.0; count],
                    Init::Normal(deviation) => (0..count).map(|_| (deviation * normal(rng)) as f32).collect(),
                };
                Var::from_vec(values, shape, &Device::Cpu)?
            }
            Origin::Restored(tensors) => match tensors.remove(name) {
                Some(tensor) if tensor.dims() == shape && tensor.dtype() == DType::F32 => Var::from_tensor(&tensor)?,
                Some(tensor) => candle_core::bail!("`{name}` is {:?}, not {shape:?} of f32", tensor.dims()),
                None => candle_core::bail!("`{name}` is missing"),
            },
        };
        let tensor = var.as_tensor().clone();
        self.variables.insert(name.to_owned(), var);
        Ok(tensor)
    }

    /// The variables taken; an error where restored tensors are left over.
    pub fn finish(self) -> Result<BTreeMap<String, Var>> {
        match self.origin {
            Origin::Restored(tensors) if !tensors.is_empty() => {
                candle_core::bail!("there is no place for {:?}", tensors.keys().collect::<Vec<_>>())
            }
            _ => Ok(self.variables),
        }
    }
}

/// A standard normal number (Box and Muller).
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    // In (0, 1], so that the logarithm is finite.
    let mut uniform = || ((rng.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
    (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()
}

/// Transformer layers on top of each other.
pub struct Stack(Vec<Layer>);

impl Stack {
    /// Layers named `prefix.0` and on.
    pub fn new(weights: &mut Weights, prefix: &str, layers: usize, heads: usize, dim: usize) -> Result<Self> {
        let layer = |i| Layer::new(weights, &format!("{prefix}.{i}"), layers, heads, dim);
        (0..layers).map(layer).collect::<Result<_>>().map(Self)
    }

    /// `[batch, positions, dim]` in and out; the mask is added to the attention scores.
    pub fn forward(&self, x: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        self.0.iter().try_fold(x.clone(), |x, layer| layer.forward(&x, mask))
    }
}

/// Pre-norm attention and a GELU network of four times the width.
struct Layer {
    heads: usize,
    attention_norm: Tensor,
    /// Queries, keys and values side by side.
    qkv: Tensor,
    attention_out: Tensor,
    mlp_norm: Tensor,
    up: Tensor,
    down: Tensor,
}

impl Layer {
    fn new(weights: &mut Weights, name: &str, depth: usize, heads: usize, dim: usize) -> Result<Self> {
        // Linear maps keep the variance; those that write to the residual stream share it among all that do.
        let linear = |inputs: usize| (inputs as f64).powf(-0.5);
        let residual = |inputs: usize| linear(inputs) * (2.0 * depth as f64).powf(-0.5);
        let mut take = |part: &str, shape: &[usize], init| weights.take(&format!("{name}.{part}"), shape, init);
        Ok(Self {
            heads,
            attention_norm: take("attention.norm", &[dim], Init::Ones)?,
            qkv: take("attention.qkv", &[dim, 3 * dim], Init::Normal(linear(dim)))?,
            attention_out: take("attention.out", &[dim, dim], Init::Normal(residual(dim)))?,
            mlp_norm: take("mlp.norm", &[dim], Init::Ones)?,
            up: take("mlp.up", &[dim, 4 * dim], Init::Normal(linear(dim)))?,
            down: take("mlp.down", &[4 * dim, dim], Init::Normal(residual(4 * dim)))?,
        })
    }

    fn forward(&self, x: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let shape = x.shape();
        let x = (x + self.attention(&rms_norm(x)?.broadcast_mul(&self.attention_norm)?, mask)?)?;
        let inner = rms_norm(&x)?.broadcast_mul(&self.mlp_norm)?.flatten_to(1)?;
        x + inner.matmul(&self.up)?.gelu()?.matmul(&self.down)?.reshape(shape)?
    }

    fn attention(&self, x: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let (batch, positions, dim) = x.dims3()?;
        let per_head = dim / self.heads;
        // [3, batch, heads, positions, per_head]
        let qkv = x.flatten_to(1)?.matmul(&self.qkv)?.reshape((batch, positions, 3, self.heads, per_head))?;
        let qkv = qkv.permute((2, 0, 3, 1, 4))?.contiguous()?;
        let (q, k, v) = (qkv.get(0)?, qkv.get(1)?, qkv.get(2)?);
        let scores = q.matmul(&k.t()?)?.affine((per_head as f64).powf(-0.5), 0.0)?;
        let scores = match mask {
            Some(mask) => scores.broadcast_add(mask)?,
            None => scores,
        };
        let mixed = softmax(&scores, D::Minus1)?.matmul(&v)?;
        let mixed = mixed.transpose(1, 2)?.reshape((batch * positions, dim))?;
        mixed.matmul(&self.attention_out)?.reshape((batch, positions, dim))
    }
}

/// Scales each vector to root mean square 1.
pub fn rms_norm(x: &Tensor) -> Result<Tensor> {
    x.broadcast_div(&x.sqr()?.mean_keepdim(D::Minus1)?.affine(1.0, 1e-6)?.sqrt()?)
}

/// Minus infinity on what comes later, `[1, 1, width, width]`.
pub fn causal_mask(width: usize) -> Result<Tensor> {
    let mask = (0..width).flat_map(|i| (0..width).map(move |j| if j <= i { 0.0f32 } else { f32::NEG_INFINITY }));
    Tensor::from_iter(mask, &Device::Cpu)?.reshape((1, 1, width, width))
}

//! The transformer itself: what a layer computes, and which tensors it is made of.

use super::{config::ModelConfig, lora};
use crate::{Error, Result, ops};
use candle_core::{Device, Tensor};
use std::{collections::BTreeMap, sync::Arc};

/// Gives a tensor by Hugging Face's name and shape.
pub type Get<'a> = &'a mut dyn FnMut(&str, &[usize]) -> Result<Tensor>;

/// y = x Wᵀ + b + scale (x Aᵀ) Bᵀ, the last two where there are a bias and an adapter.
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    adapter: Option<Adapter>,
}

struct Adapter {
    a: Tensor,
    b: Tensor,
    scale: f64,
}

impl Linear {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut y = ops::linear(x, &self.weight)?;
        if let Some(b) = &self.bias {
            y = y.broadcast_add(b)?;
        }
        if let Some(Adapter { a, b, scale }) = &self.adapter {
            y = (y + (ops::linear(&ops::linear(x, a)?, b)? * *scale)?)?;
        }
        Ok(y)
    }
    /// W + scale B A.
    pub fn merged(&self) -> Result<Tensor> {
        match &self.adapter {
            None => Ok(self.weight.detach()),
            Some(Adapter { a, b, scale }) => {
                let delta = ops::linear(&b.detach(), &a.detach().t()?)?;
                Ok((self.weight.detach() + (delta * *scale)?)?)
            }
        }
    }
    /// Width of its input and of its output.
    pub fn sizes(&self) -> (usize, usize) {
        let d = self.weight.dims();
        (d[1], d[0])
    }
}

/// Cosines and sines of the tokens' positions, [tokens, head_dim / 2] each.
pub struct Angles {
    cos: Tensor,
    sin: Tensor,
}

/// A transformer layer.
pub struct Layer {
    input_norm: Tensor,
    q: Linear,
    k: Linear,
    v: Linear,
    /// Norms of each head of q and k (Qwen3).
    qk_norm: Option<[Tensor; 2]>,
    o: Linear,
    post_norm: Tensor,
    gate: Linear,
    up: Linear,
    down: Linear,
    config: Arc<ModelConfig>,
}

impl Layer {
    fn build(config: &Arc<ModelConfig>, index: usize, get: Get) -> Result<Self> {
        let c = &**config;
        let (h, f) = (c.hidden_size, c.intermediate_size);
        let (q, kv) = (c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim);
        let mut tensor = |name: &str, shape: &[usize]| get(&format!("model.layers.{index}.{name}.weight"), shape);
        let input_norm = tensor("input_layernorm", &[h])?;
        let post_norm = tensor("post_attention_layernorm", &[h])?;
        let qk_norm = match c.qk_norm {
            true => Some([tensor("self_attn.q_norm", &[c.head_dim])?, tensor("self_attn.k_norm", &[c.head_dim])?]),
            false => None,
        };
        let mut linear = |module: &str, (inputs, outputs): (usize, usize)| -> Result<Linear> {
            let name = format!("model.layers.{index}.{module}");
            let biased = c.qkv_bias && ["q_proj", "k_proj", "v_proj"].iter().any(|m| module.ends_with(m));
            Ok(Linear {
                weight: get(&format!("{name}.weight"), &[outputs, inputs])?,
                bias: biased.then(|| get(&format!("{name}.bias"), &[outputs])).transpose()?,
                adapter: None,
            })
        };
        Ok(Self {
            input_norm,
            post_norm,
            qk_norm,
            q: linear("self_attn.q_proj", (h, q))?,
            k: linear("self_attn.k_proj", (h, kv))?,
            v: linear("self_attn.v_proj", (h, kv))?,
            o: linear("self_attn.o_proj", (q, h))?,
            gate: linear("mlp.gate_proj", (h, f))?,
            up: linear("mlp.up_proj", (h, f))?,
            down: linear("mlp.down_proj", (f, h))?,
            config: config.clone(),
        })
    }

    /// x [tokens, hidden]: [tokens, hidden]. `attend` turns q, k and v [tokens, heads * dim], positions applied, into
    /// the attention's output, over a pack or a cache.
    pub fn forward(
        &self,
        x: &Tensor,
        angles: &Angles,
        attend: impl FnOnce(&Tensor, &Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let eps = self.config.rms_norm_eps;
        let h = ops::rms_norm(x, &self.input_norm, eps)?;
        let (mut q, mut k, v) = (self.q.forward(&h)?, self.k.forward(&h)?, self.v.forward(&h)?);
        if let Some([q_norm, k_norm]) = &self.qk_norm {
            q = self.norm_heads(&q, q_norm)?;
            k = self.norm_heads(&k, k_norm)?;
        }
        let rope = |x: &Tensor| ops::rope(x, &angles.cos, &angles.sin);
        let x = (x + self.o.forward(&attend(&rope(&q)?, &rope(&k)?, &v)?)?)?;
        let h = ops::rms_norm(&x, &self.post_norm, eps)?;
        let h = ops::swiglu(&self.gate.forward(&h)?, &self.up.forward(&h)?)?;
        Ok((x + self.down.forward(&h)?)?)
    }

    fn norm_heads(&self, x: &Tensor, w: &Tensor) -> Result<Tensor> {
        let heads = x.reshape(((), self.config.head_dim))?;
        Ok(ops::rms_norm(&heads, w, self.config.rms_norm_eps)?.reshape(x.shape())?)
    }

    /// Its linear modules by name within the layer.
    fn linears_mut(&mut self) -> [(&'static str, &mut Linear); 7] {
        [
            ("self_attn.q_proj", &mut self.q),
            ("self_attn.k_proj", &mut self.k),
            ("self_attn.v_proj", &mut self.v),
            ("self_attn.o_proj", &mut self.o),
            ("mlp.gate_proj", &mut self.gate),
            ("mlp.up_proj", &mut self.up),
            ("mlp.down_proj", &mut self.down),
        ]
    }
}

/// All of it.
pub struct Transformer {
    /// What it is.
    pub config: Arc<ModelConfig>,
    /// The layers, in order.
    pub layers: Vec<Layer>,
    embedding: Tensor,
    norm: Tensor,
    head: Option<Tensor>,
    frequencies: Vec<f32>,
}

impl Transformer {
    /// Asks `get` for every tensor.
    pub fn build(config: &Arc<ModelConfig>, get: Get) -> Result<Self> {
        let c = &**config;
        let embedding_shape = [c.vocab_size, c.hidden_size];
        Ok(Self {
            embedding: get("model.embed_tokens.weight", &embedding_shape)?,
            layers: (0..c.num_layers).map(|i| Layer::build(config, i, get)).collect::<Result<_>>()?,
            norm: get("model.norm.weight", &[c.hidden_size])?,
            head: (!c.tied).then(|| get("lm_head.weight", &embedding_shape)).transpose()?,
            frequencies: c.rope.frequencies(c.head_dim),
            config: config.clone(),
        })
    }

    /// Puts adapters on the linear modules for which `tensors` has them under PEFT's names.
    pub fn attach(&mut self, tensors: &BTreeMap<String, Tensor>, scale: f64) {
        for (module, linear) in self.linears_mut() {
            let part = |part| tensors.get(&lora::tensor_name(&module, part)).cloned();
            linear.adapter = part("A").zip(part("B")).map(|(a, b)| Adapter { a, b, scale });
        }
    }

    /// Every linear module but the head, by Hugging Face's name without `.weight`.
    pub fn linears_mut(&mut self) -> impl Iterator<Item = (String, &mut Linear)> {
        self.layers.iter_mut().enumerate().flat_map(|(i, layer)| {
            layer.linears_mut().into_iter().map(move |(name, linear)| (format!("model.layers.{i}.{name}"), linear))
        })
    }

    /// Embeddings of tokens, [tokens, hidden].
    pub fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        let vocab = self.config.vocab_size;
        if let Some(id) = ids.iter().find(|id| **id as usize >= vocab) {
            return Err(Error::new("model/token", format!("token {id} is outside the model's vocabulary of {vocab}"))
                .hint("the tokenizer and the model do not belong together"));
        }
        Ok(self.embedding.index_select(&Tensor::new(ids, self.device())?, 0)?)
    }

    /// Angles of the rotary embedding.
    pub fn angles(&self, positions: &[u32]) -> Result<Angles> {
        let table = |f: fn(f32) -> f32| {
            let values = positions.iter().flat_map(|p| self.frequencies.iter().map(move |w| f(*p as f32 * w)));
            Tensor::from_vec(values.collect(), (positions.len(), self.frequencies.len()), self.device())
        };
        Ok(Angles { cos: table(f32::cos)?, sin: table(f32::sin)? })
    }

    /// The norm before the head.
    pub fn norm(&self, x: &Tensor) -> Result<Tensor> {
        Ok(ops::rms_norm(x, &self.norm, self.config.rms_norm_eps)?)
    }

    /// The head's weight, [vocabulary, hidden].
    pub fn head(&self) -> &Tensor {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    fn device(&self) -> &Device {
        self.embedding.device()
    }
}

//! A transformer layer, forward and backward.

use super::{
    config::ModelConfig,
    gradients::Sums,
    linear::{Inner, Linear, Matrix},
    parameter::Parameter,
};
use crate::{
    Result,
    ops::{Angles, Compute, LogSums, Rows},
};
use candle_core::Tensor;
use std::sync::Arc;

/// Gives a tensor by Hugging Face's name and shape.
pub type Get<'a> = &'a mut dyn FnMut(&str, &[usize]) -> Result<Parameter>;

/// A vector that scales a norm's result.
pub struct Norm {
    weight: Parameter,
    eps: f64,
    compute: Compute,
}

impl Norm {
    /// The norm of a model.
    pub fn new(weight: Parameter, config: &ModelConfig, compute: &Compute) -> Self {
        Self { weight, eps: config.rms_norm_eps, compute: compute.clone() }
    }
    /// Of each row.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.compute.rms_norm(x, &self.weight.tensor, self.eps)?)
    }
    /// The gradient with respect to x, added to `onto` in its memory.
    pub fn backward(&self, x: &Tensor, g: &Tensor, onto: Tensor, grads: &mut Sums) -> Result<Tensor> {
        let Parameter { name, tensor, trained } = &self.weight;
        let (dx, dw) = self.compute.rms_norm_backward(x, tensor, self.eps, g, onto, grads.want(*trained))?;
        if let Some(dw) = dw {
            grads.add(name, *trained, |sum| sum.map_or(Ok(dw.clone()), |sum| sum + &dw))?;
        }
        Ok(dx)
    }
}

/// Attention over a pack or a cache: its result from q, k and v, with positions applied, and what its backward needs.
pub type Attend<'a> = &'a mut dyn FnMut(&Tensor, &Tensor, &Tensor) -> candle_core::Result<(Tensor, LogSums)>;

/// What a layer's backward pass reads ([`ModelConfig::kept_bytes`]). The rest it computes again, since that costs no
/// product.
pub struct Kept {
    /// The layer's input.
    x: Tensor,
    /// q and k before their norms, where they have norms.
    raw: Option<[Tensor; 2]>,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attended: Tensor,
    sums: LogSums,
    /// Between attention and feed-forward.
    middle: Tensor,
    gate: Tensor,
    up: Tensor,
    inner: Inner,
}

/// A transformer layer.
pub struct Layer {
    input_norm: Norm,
    q: Linear,
    k: Linear,
    v: Linear,
    /// Norms of each head of q and k (Qwen3).
    qk_norm: Option<[Norm; 2]>,
    o: Linear,
    post_norm: Norm,
    gate: Linear,
    up: Linear,
    down: Linear,
    compute: Compute,
    head_dim: usize,
    /// Whether attention knows positions.
    rotates: bool,
}

impl Layer {
    /// Asks `get` for the tensors of layer `index`.
    pub fn build(config: &Arc<ModelConfig>, index: usize, compute: &Compute, get: Get) -> Result<Self> {
        let c = &**config;
        let (h, f) = (c.hidden_size, c.intermediate_size);
        let (q, kv) = (c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim);
        let mut norm = |name: &str, width: usize| -> Result<Norm> {
            Ok(Norm::new(get(&format!("model.layers.{index}.{name}.weight"), &[width])?, c, compute))
        };
        let input_norm = norm("input_layernorm", h)?;
        let post_norm = norm("post_attention_layernorm", h)?;
        let qk_norm = match c.qk_norm {
            true => Some([norm("self_attn.q_norm", c.head_dim)?, norm("self_attn.k_norm", c.head_dim)?]),
            false => None,
        };
        let mut linear = |module: &str, (inputs, outputs): (usize, usize)| -> Result<Linear> {
            let name = format!("model.layers.{index}.{module}");
            let biased = c.is_biased(module);
            let weight = Matrix::new(get(&format!("{name}.weight"), &[outputs, inputs])?, compute)?;
            Ok(Linear::new(weight, biased.then(|| get(&format!("{name}.bias"), &[outputs])).transpose()?))
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
            compute: compute.clone(),
            head_dim: c.head_dim,
            rotates: c.rotates[index],
        })
    }

    /// x [tokens, hidden]: [tokens, hidden], and what [`backward`](Self::backward) needs.
    pub fn forward(&self, x: Tensor, angles: &Angles, attend: Attend) -> Result<(Tensor, Kept)> {
        let mut kept = self.up_to_gates(x, angles, attend)?;
        let activated = self.activated(&kept.gate, &kept.up)?;
        let y = self.down.forward(&activated, Some(kept.middle.copy()?), &mut kept.inner)?;
        Ok((y, kept))
    }

    /// What [`backward`](Self::backward) needs, computed again from the input (activation checkpointing), without the
    /// last product: nothing reads its result.
    pub fn forward_again(&self, x: Tensor, angles: &Angles, attend: Attend) -> Result<Kept> {
        let mut kept = self.up_to_gates(x, angles, attend)?;
        self.down.forward_inner(|| self.activated(&kept.gate, &kept.up), &mut kept.inner)?;
        Ok(kept)
    }

    /// All that is kept but what `down` puts into `inner`.
    fn up_to_gates(&self, x: Tensor, angles: &Angles, attend: Attend) -> Result<Kept> {
        let h = self.rows(&self.input_norm.forward(&x)?)?;
        let mut inner = vec![];
        let mut q = self.q.forward(&h, None, &mut inner)?;
        let mut k = self.k.forward(&h, None, &mut inner)?;
        let v = self.v.forward(&h, None, &mut inner)?;
        drop(h);
        let mut raw = None;
        if let Some([q_norm, k_norm]) = &self.qk_norm {
            let normed = [self.of_heads(&q, |q| q_norm.forward(q))?, self.of_heads(&k, |k| k_norm.forward(k))?];
            raw = Some([q, k]);
            [q, k] = normed;
        }
        if self.rotates {
            (q, k) = (self.compute.rope(q, angles)?, self.compute.rope(k, angles)?);
        }
        let (attended, sums) = attend(&q, &k, &v)?;
        let middle = self.o.forward(&self.rows(&attended)?, Some(x.copy()?), &mut inner)?;
        let h = self.rows(&self.post_norm.forward(&middle)?)?;
        let (gate, up) = (self.gate.forward(&h, None, &mut inner)?, self.up.forward(&h, None, &mut inner)?);
        Ok(Kept { x, raw, q, k, v, attended, sums, middle, gate, up, inner })
    }

    fn activated(&self, gate: &Tensor, up: &Tensor) -> Result<Rows> {
        self.rows(&self.compute.swiglu(gate, up)?)
    }

    fn rows(&self, x: &Tensor) -> Result<Rows> {
        Ok(self.compute.rows(x)?)
    }

    /// Gradients of what is trained, and with respect to the layer's input if `want_dx`, from the gradient of its
    /// result. `attend` is the attention's backward: gradients with respect to q, k and v.
    pub fn backward(
        &self,
        kept: Kept,
        dy: Tensor,
        angles: &Angles,
        attend: impl FnOnce([&Tensor; 3], (&Tensor, &LogSums), &Tensor) -> candle_core::Result<[Tensor; 3]>,
        want_dx: bool,
        grads: &mut Sums,
    ) -> Result<Option<Tensor>> {
        const ASKED: &str = "asked for";
        let Kept { x, raw, q, k, v, attended, sums, middle, gate, up, mut inner } = kept;
        // Feed-forward: y = middle + down(swiglu(gate, up)).
        let activated = self.compute.swiglu(&gate, &up)?;
        let d = self.down.backward(&activated, &mut inner, &dy, None, true, grads)?.expect(ASKED);
        drop(activated);
        let (dgate, dup) = self.compute.swiglu_backward(gate, up, &d)?;
        drop(d);
        let h = self.post_norm.forward(&middle)?;
        let dh = self.up.backward(&h, &mut inner, &dup, None, true, grads)?;
        let dh = self.gate.backward(&h, &mut inner, &dgate, dh, true, grads)?.expect(ASKED);
        drop((dgate, dup, h));
        let dmiddle = self.post_norm.backward(&middle, &dh, dy, grads)?;

        // Attention: middle = x + o(attend(q, k, v)).
        let d = self.o.backward(&attended, &mut inner, &dmiddle, None, true, grads)?.expect(ASKED);
        let [dq, dk, dv] = attend([&q, &k, &v], (&attended, &sums), &d)?;
        drop((d, q, k, v, attended));
        let [mut dq, mut dk] = match self.rotates {
            true => [self.compute.rope_backward(dq, angles)?, self.compute.rope_backward(dk, angles)?],
            false => [dq, dk],
        };
        if let (Some([q_norm, k_norm]), Some([q, k])) = (&self.qk_norm, &raw) {
            dq = self.head_norm_backward(q_norm, q, &dq, grads)?;
            dk = self.head_norm_backward(k_norm, k, &dk, grads)?;
        }
        let h = self.input_norm.forward(&x)?;
        let mut dh = None;
        for (linear, d) in [(&self.v, &dv), (&self.k, &dk), (&self.q, &dq)] {
            // The norm's own gradient needs dh too.
            dh = linear.backward(&h, &mut inner, d, dh, want_dx, grads)?;
        }
        dh.map(|dh| self.input_norm.backward(&x, &dh, dmiddle, grads)).transpose()
    }

    /// Applies `f` to x [tokens, heads * dim] as rows of heads.
    fn of_heads(&self, x: &Tensor, f: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        Ok(f(&x.reshape(((), self.head_dim))?)?.reshape(x.shape())?)
    }

    fn head_norm_backward(&self, norm: &Norm, x: &Tensor, g: &Tensor, grads: &mut Sums) -> Result<Tensor> {
        let heads = |x: &Tensor| x.reshape(((), self.head_dim));
        let (x, zeros) = (heads(x)?, heads(&x.zeros_like()?)?);
        Ok(norm.backward(&x, &heads(g)?, zeros, grads)?.reshape(g.shape())?)
    }

    /// Its linear modules by name within the layer.
    pub fn linears_mut(&mut self) -> [(&'static str, &mut Linear); 7] {
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

//! The attention of a layer: projections, norms of heads, positions. What is attended to is the caller's.

use super::{Build, Norm};
use crate::{
    Result,
    model::{
        gradients::Sums,
        linear::{Inner, Linear},
    },
    ops::{Angles, Compute, LogSums, Rows},
};
use candle_core::Tensor;

/// Attention over a pack or a cache: its result from q, k and v, with positions applied, and what its backward needs.
pub type Attend<'a> = &'a mut dyn FnMut(&Tensor, &Tensor, &Tensor) -> candle_core::Result<(Tensor, LogSums)>;

/// o(attend(q, k, v)).
pub struct SelfAttention {
    q: Linear,
    k: Linear,
    v: Linear,
    /// Norms of each head of q and k, where the family has them.
    qk_norm: Option<[Norm; 2]>,
    o: Linear,
    compute: Compute,
    head_dim: usize,
    /// Which of the model's rotary embeddings it has; none where attention knows no positions.
    rope: Option<usize>,
}

/// What its backward pass reads.
pub struct Kept {
    /// q and k before their norms, where they have norms.
    raw: Option<[Tensor; 2]>,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attended: Tensor,
    sums: LogSums,
}

impl SelfAttention {
    /// Asks for its tensors.
    pub fn build(build: &mut Build) -> Result<Self> {
        let c = build.config;
        let qk_norm = match c.parts.qk_norm {
            true => Some([build.norm("self_attn.q_norm", c.head_dim)?, build.norm("self_attn.k_norm", c.head_dim)?]),
            false => None,
        };
        let (h, q, kv) = (c.hidden_size, c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim);
        Ok(Self {
            qk_norm,
            q: build.linear("self_attn.q_proj", h, q)?,
            k: build.linear("self_attn.k_proj", h, kv)?,
            v: build.linear("self_attn.v_proj", h, kv)?,
            o: build.linear("self_attn.o_proj", q, h)?,
            compute: build.compute.clone(),
            head_dim: c.head_dim,
            rope: c.layers[build.index].rope,
        })
    }

    /// All but the last product.
    pub fn forward(&self, h: Rows, angles: &[Angles], attend: Attend, inner: &mut Inner) -> Result<Kept> {
        let mut q = self.q.forward(&h, None, inner)?;
        let mut k = self.k.forward(&h, None, inner)?;
        let v = self.v.forward(&h, None, inner)?;
        drop(h);
        let mut raw = None;
        if let Some([q_norm, k_norm]) = &self.qk_norm {
            let normed = [self.of_heads(&q, |q| q_norm.forward(q))?, self.of_heads(&k, |k| k_norm.forward(k))?];
            raw = Some([q, k]);
            [q, k] = normed;
        }
        if let Some(rope) = self.rope {
            (q, k) = (self.compute.rope(q, &angles[rope])?, self.compute.rope(k, &angles[rope])?);
        }
        let (attended, sums) = attend(&q, &k, &v)?;
        Ok(Kept { raw, q, k, v, attended, sums })
    }

    /// The result, added to `onto` in its memory if there is one.
    pub fn result(&self, kept: &Kept, onto: Option<Tensor>, inner: &mut Inner) -> Result<Tensor> {
        self.o.forward(&self.compute.rows(&kept.attended)?, onto, inner)
    }

    /// The gradient with respect to h, if `want`ed, from the gradient d of the result. `attend` is the attention's
    /// backward: gradients with respect to q, k and v.
    pub fn backward(
        &self,
        kept: Kept,
        h: impl FnOnce() -> Result<Tensor>,
        d: Tensor,
        angles: &[Angles],
        attend: impl FnOnce([&Tensor; 3], (&Tensor, &LogSums), &Tensor) -> candle_core::Result<[Tensor; 3]>,
        (inner, want, grads): (&mut Inner, bool, &mut Sums),
    ) -> Result<Option<Tensor>> {
        let Kept { raw, q, k, v, attended, sums } = kept;
        let dattended = self.o.backward(&attended, inner, &d, None, true, grads)?.expect("asked for");
        drop(d);
        let [dq, dk, dv] = attend([&q, &k, &v], (&attended, &sums), &dattended)?;
        drop((dattended, q, k, v, attended));
        let [mut dq, mut dk] = match self.rope {
            Some(r) => [self.compute.rope_backward(dq, &angles[r])?, self.compute.rope_backward(dk, &angles[r])?],
            None => [dq, dk],
        };
        if let (Some([q_norm, k_norm]), Some([q, k])) = (&self.qk_norm, &raw) {
            dq = self.head_norm_backward(q_norm, q, &dq, grads)?;
            dk = self.head_norm_backward(k_norm, k, &dk, grads)?;
        }
        let (h, mut dh) = (h()?, None);
        for (linear, d) in [(&self.v, &dv), (&self.k, &dk), (&self.q, &dq)] {
            dh = linear.backward(&h, inner, d, dh, want, grads)?;
        }
        Ok(dh)
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
    pub fn linears_mut(&mut self) -> [(String, &mut Linear); 4] {
        let Self { q, k, v, o, .. } = self;
        [("q", q), ("k", k), ("v", v), ("o", o)].map(|(name, linear)| (format!("self_attn.{name}_proj"), linear))
    }
}

//! A transformer layer, forward and backward: attention and a feed-forward network in the residual stream.

mod attention;
mod experts;
mod gated;
mod norm;

pub use norm::Norm;

use super::{
    config::{FeedForward as Shape, ModelConfig},
    gradients::Sums,
    linear::{Inner, Linear, Matrix},
    parameter::Parameter,
};
use crate::{
    Result,
    ops::{Angles, Compute, LogSums},
};
use attention::{Attend, SelfAttention};
use candle_core::Tensor;
use experts::Experts;
use gated::Gated;
use norm::Around;

/// Gives a tensor by Hugging Face's name and shape.
pub type Get<'a> = &'a mut dyn FnMut(&str, &[usize]) -> Result<Parameter>;

/// What the parts of a layer are made with.
struct Build<'a> {
    config: &'a ModelConfig,
    index: usize,
    compute: &'a Compute,
    get: Get<'a>,
}

impl Build<'_> {
    fn norm(&mut self, name: &str, width: usize) -> Result<Norm> {
        let weight = (self.get)(&format!("model.layers.{}.{name}.weight", self.index), &[width])?;
        Ok(Norm::new(weight, self.config, self.compute))
    }

    fn linear(&mut self, module: &str, inputs: usize, outputs: usize) -> Result<Linear> {
        let name = format!("model.layers.{}.{module}", self.index);
        let biased = self.config.is_biased(module);
        let weight = Matrix::new((self.get)(&format!("{name}.weight"), &[outputs, inputs])?, self.compute)?;
        let bias = biased.then(|| (self.get)(&format!("{name}.bias"), &[outputs])).transpose()?;
        Ok(Linear::new(weight, bias))
    }
}

enum FeedForward {
    Gated(Box<Gated>),
    Experts(Box<Experts>),
}

enum KeptFeedForward {
    Gated(gated::Kept),
    Experts(experts::Kept),
}

/// What a layer's backward pass reads ([`ModelConfig::kept_bytes`]). The rest it computes again, since that costs no
/// product.
pub struct Kept {
    /// The layer's input.
    x: Tensor,
    attention: attention::Kept,
    /// Attention's result, where a norm follows it.
    attended: Option<Tensor>,
    /// Between attention and feed-forward.
    middle: Tensor,
    feed_forward: KeptFeedForward,
    /// The feed-forward network's result, where a norm follows it.
    fed: Option<Tensor>,
    inner: Inner,
}

/// A transformer layer.
pub struct Layer {
    around_attention: Around,
    attention: SelfAttention,
    around_feed_forward: Around,
    feed_forward: FeedForward,
    compute: Compute,
}

impl Layer {
    /// Asks `get` for the tensors of layer `index`.
    pub fn build(config: &ModelConfig, index: usize, compute: &Compute, get: Get) -> Result<Self> {
        let build = &mut Build { config, index, compute, get };
        let [around_attention, around_feed_forward] = config.norms();
        let mut around = |(before, after): (&str, Option<&str>)| -> Result<Around> {
            let mut norm = |name: &str| build.norm(name, config.hidden_size);
            Ok(Around { before: norm(before)?, after: after.map(norm).transpose()? })
        };
        Ok(Self {
            around_attention: around(around_attention)?,
            around_feed_forward: around(around_feed_forward)?,
            attention: SelfAttention::build(build)?,
            feed_forward: match config.layers[index].feed_forward {
                Shape::Gated(width) => FeedForward::Gated(Box::new(Gated::build(build, "mlp".to_owned(), width)?)),
                Shape::Experts(shape) => FeedForward::Experts(Box::new(Experts::build(build, shape)?)),
            },
            compute: compute.clone(),
        })
    }

    /// x [tokens, hidden]: [tokens, hidden], and what [`backward`](Self::backward) needs.
    pub fn forward(&self, x: Tensor, angles: &[Angles], attend: Attend) -> Result<(Tensor, Kept)> {
        let mut kept = self.up_to_gates(x, angles, attend)?;
        let y = self.feed(&mut kept)?;
        Ok((y, kept))
    }

    /// What [`backward`](Self::backward) needs, computed again from the input (activation checkpointing), without the
    /// last product where nothing reads its result.
    pub fn forward_again(&self, x: Tensor, angles: &[Angles], attend: Attend) -> Result<Kept> {
        let mut kept = self.up_to_gates(x, angles, attend)?;
        match (&self.around_feed_forward.after, &self.feed_forward, &kept.feed_forward) {
            (Some(_), ..) => drop(self.feed(&mut kept)?),
            (None, FeedForward::Gated(f), KeptFeedForward::Gated(k)) => f.forward_inner(k, &mut kept.inner)?,
            // Experts have no adapters.
            (None, ..) => {}
        }
        Ok(kept)
    }

    /// All that is kept but what the last products put into `inner` and `fed`.
    fn up_to_gates(&self, x: Tensor, angles: &[Angles], attend: Attend) -> Result<Kept> {
        let mut inner = vec![];
        let h = self.compute.rows(&self.around_attention.before.forward(&x)?)?;
        let attention = self.attention.forward(h, angles, attend, &mut inner)?;
        let result = |onto| self.attention.result(&attention, onto, &mut inner);
        let (middle, attended) = self.around_attention.add(&x, result)?;
        let h = self.around_feed_forward.before.forward(&middle)?;
        let feed_forward = match &self.feed_forward {
            FeedForward::Gated(f) => {
                let rows = self.compute.rows(&h)?;
                drop(h);
                KeptFeedForward::Gated(f.forward(rows, &mut inner)?)
            }
            FeedForward::Experts(f) => KeptFeedForward::Experts(f.forward(&h, &mut inner)?),
        };
        Ok(Kept { x, attention, attended, middle, feed_forward, fed: None, inner })
    }

    /// The layer's result.
    fn feed(&self, kept: &mut Kept) -> Result<Tensor> {
        let Kept { middle, feed_forward, fed, inner, .. } = kept;
        let result = |onto: Option<Tensor>| match (&self.feed_forward, &*feed_forward) {
            (FeedForward::Gated(f), KeptFeedForward::Gated(kept)) => f.result(kept, None, onto, inner),
            (FeedForward::Experts(f), KeptFeedForward::Experts(kept)) => {
                f.result(kept, onto.map_or_else(|| middle.zeros_like(), Ok)?, inner)
            }
            _ => unreachable!("a layer keeps what its own kind of network gives"),
        };
        let (y, result) = self.around_feed_forward.add(middle, result)?;
        *fed = result;
        Ok(y)
    }

    /// Gradients of what is trained, and with respect to the layer's input if `want_dx`, from the gradient of its
    /// result. `attend` is the attention's backward: gradients with respect to q, k and v.
    pub fn backward(
        &self,
        kept: Kept,
        dy: Tensor,
        angles: &[Angles],
        attend: impl FnOnce([&Tensor; 3], (&Tensor, &LogSums), &Tensor) -> candle_core::Result<[Tensor; 3]>,
        want_dx: bool,
        grads: &mut Sums,
    ) -> Result<Option<Tensor>> {
        let Kept { x, attention, attended, middle, feed_forward, fed, mut inner } = kept;
        let Around { before, .. } = &self.around_feed_forward;
        let d = self.around_feed_forward.backward(fed, &dy, grads)?;
        let h = || before.forward(&middle);
        let dh = match (&self.feed_forward, feed_forward) {
            (FeedForward::Gated(f), KeptFeedForward::Gated(kept)) => {
                f.backward(kept, h, &d, None, (&mut inner, grads))?.0
            }
            (FeedForward::Experts(f), KeptFeedForward::Experts(kept)) => {
                f.backward(kept, &h()?, &d, (&mut inner, grads))?
            }
            _ => unreachable!("a layer keeps what its own kind of network gives"),
        };
        drop(d);
        let dmiddle = before.backward(&middle, &dh, dy, grads)?;

        let Around { before, .. } = &self.around_attention;
        let d = self.around_attention.backward(attended, &dmiddle, grads)?;
        let more = (&mut inner, want_dx, &mut *grads);
        let dh = self.attention.backward(attention, || before.forward(&x), d, angles, attend, more)?;
        dh.map(|dh| before.backward(&x, &dh, dmiddle, grads)).transpose()
    }

    /// Its linear modules by name within the layer.
    pub fn linears_mut(&mut self) -> Vec<(String, &mut Linear)> {
        let mut all: Vec<_> = self.attention.linears_mut().into();
        match &mut self.feed_forward {
            FeedForward::Gated(f) => all.extend(f.linears_mut()),
            FeedForward::Experts(f) => all.extend(f.linears_mut()),
        }
        all
    }
}

//! A mixture of experts (Shazeer et al. 2017, arXiv 1701.06538): a router sends each token through a few of many gated
//! networks, and sums their results by its weights.
//!
//! The tokens of an expert are gathered, so a pass costs what the experts that tokens go through cost. A token's result
//! is summed by rising number of the experts, and depends on that token alone. The auxiliary loss by which pretraining
//! spreads tokens over experts is no part of DPO: it is not computed.

mod routing;

use super::{
    Build,
    gated::{self, Gated},
};
use crate::{
    Result,
    model::{
        config,
        gradients::Sums,
        linear::{Inner, Linear},
    },
    ops::Compute,
};
use candle_core::Tensor;
use routing::Routing;

/// The router, and the experts by number.
pub struct Experts {
    router: Linear,
    experts: Vec<Gated>,
    shape: config::Experts,
    compute: Compute,
}

/// What its backward pass reads.
pub struct Kept {
    routing: Routing,
    /// Of each expert that has tokens, in the order of the routing.
    used: Vec<gated::Kept>,
}

const ROUTER: &str = "mlp.gate";

impl Experts {
    /// Asks for its tensors.
    pub fn build(build: &mut Build, shape: config::Experts) -> Result<Self> {
        let router = build.linear(ROUTER, build.config.hidden_size, shape.count)?;
        let expert = |i| Gated::build(build, format!("mlp.experts.{i}"), shape.width);
        let experts = (0..shape.count).map(expert).collect::<Result<_>>()?;
        Ok(Self { router, experts, shape, compute: build.compute.clone() })
    }

    /// All but the last products of h [tokens, hidden].
    pub fn forward(&self, h: &Tensor, inner: &mut Inner) -> Result<Kept> {
        let logits = self.router.forward(&self.compute.rows(h)?, None, inner)?;
        let routing = self.compute.read(&logits, |logits| Routing::new(logits, self.shape))?;
        let used = routing.shares.iter().map(|share| {
            let rows = self.compute.rows(&share.gather(h)?)?;
            self.experts[share.expert].forward(rows, inner)
        });
        Ok(Kept { used: used.collect::<Result<_>>()?, routing })
    }

    /// The result, added to `onto` in its memory.
    pub fn result(&self, kept: &Kept, mut onto: Tensor, inner: &mut Inner) -> Result<Tensor> {
        for (share, kept) in kept.routing.shares.iter().zip(&kept.used) {
            let weights = share.weights(self.compute.device())?;
            let result = self.experts[share.expert].result(kept, Some(&weights), None, inner)?;
            onto = self.compute.add_rows(onto, &result, &share.tokens)?;
        }
        Ok(onto)
    }

    /// The gradient with respect to h, from the gradient dy of the result.
    pub fn backward(
        &self,
        Kept { routing, used }: Kept,
        h: &Tensor,
        dy: &Tensor,
        (inner, grads): (&mut Inner, &mut Sums),
    ) -> Result<Tensor> {
        let mut dh = h.zeros_like()?;
        let mut dweights = vec![];
        for (share, kept) in routing.shares.iter().zip(used) {
            let (weights, dy) = (share.weights(self.compute.device())?, share.gather(dy)?);
            let expert = &self.experts[share.expert];
            let (d, dw) = expert.backward(kept, || share.gather(h), &dy, Some(&weights), (&mut *inner, &mut *grads))?;
            dh = self.compute.add_rows(dh, &d, &share.tokens)?;
            dweights.push(self.compute.read(&dw.expect("there are weights"), <[f32]>::to_vec)?);
        }
        for unused in routing.unused(self.shape) {
            self.experts[unused].unused(grads)?;
        }
        let dlogits =
            Tensor::from_vec(routing.backward(&dweights, self.shape), (h.dim(0)?, self.shape.count), h.device())?;
        Ok(self.router.backward(h, inner, &dlogits, Some(dh), true, grads)?.expect("asked for"))
    }

    /// Its linear modules by name within the layer.
    pub fn linears_mut(&mut self) -> Vec<(String, &mut Linear)> {
        let experts = self.experts.iter_mut().flat_map(Gated::linears_mut);
        std::iter::once((ROUTER.to_owned(), &mut self.router)).chain(experts).collect()
    }
}

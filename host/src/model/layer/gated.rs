//! A gated feed-forward network: down(activation(gate(h)) * up(h)).

use super::Build;
use crate::{
    Result,
    model::{
        gradients::Sums,
        linear::{Inner, Linear},
    },
    ops::{Activation, Compute, Rows},
};
use candle_core::Tensor;

/// Its three matrices.
pub struct Gated {
    gate: Linear,
    up: Linear,
    down: Linear,
    activation: Activation,
    compute: Compute,
    /// Its name within the layer.
    name: String,
}

/// What its backward pass reads.
pub struct Kept {
    gate: Tensor,
    up: Tensor,
}

impl Gated {
    /// Asks for the tensors of the network `name` of `width` numbers.
    pub fn build(build: &mut Build, name: String, width: usize) -> Result<Self> {
        let h = build.config.hidden_size;
        Ok(Self {
            gate: build.linear(&format!("{name}.gate_proj"), h, width)?,
            up: build.linear(&format!("{name}.up_proj"), h, width)?,
            down: build.linear(&format!("{name}.down_proj"), width, h)?,
            activation: build.config.parts.activation,
            compute: build.compute.clone(),
            name,
        })
    }

    /// All but the last product.
    pub fn forward(&self, h: Rows, inner: &mut Inner) -> Result<Kept> {
        Ok(Kept { gate: self.gate.forward(&h, None, inner)?, up: self.up.forward(&h, None, inner)? })
    }

    /// The result, added to `onto` in its memory if there is one; each row times its number of `weights` [rows, 1].
    pub fn result(
        &self,
        kept: &Kept,
        weights: Option<&Tensor>,
        onto: Option<Tensor>,
        inner: &mut Inner,
    ) -> Result<Tensor> {
        self.down.forward(&self.input(kept, weights)?, onto, inner)
    }

    /// What [`result`](Self::result) puts into `inner`, without the result.
    pub fn forward_inner(&self, kept: &Kept, inner: &mut Inner) -> Result<()> {
        self.down.forward_inner(|| self.input(kept, None), inner)
    }

    /// What goes into the last product. A row's weight is there: it is narrower than the result.
    fn input(&self, Kept { gate, up }: &Kept, weights: Option<&Tensor>) -> Result<Rows> {
        let activated = self.compute.gated(self.activation, gate, up)?;
        Ok(match weights {
            None => self.compute.rows(&activated)?,
            Some(weights) => self.compute.rows(&activated.broadcast_mul(weights)?)?,
        })
    }

    /// Gradients with respect to h and the weights, if there are any, from the gradient dy of the result.
    pub fn backward(
        &self,
        Kept { gate, up }: Kept,
        h: impl FnOnce() -> Result<Tensor>,
        dy: &Tensor,
        weights: Option<&Tensor>,
        (inner, grads): (&mut Inner, &mut Sums),
    ) -> Result<(Tensor, Option<Tensor>)> {
        const ASKED: &str = "asked for";
        let activated = self.compute.gated(self.activation, &gate, &up)?;
        let input = weights.map_or(Ok(activated.clone()), |weights| activated.broadcast_mul(weights))?;
        let mut d = self.down.backward(&input, inner, dy, None, true, grads)?.expect(ASKED);
        drop(input);
        let mut dweights = None;
        if let Some(weights) = weights {
            dweights = Some((&d * &activated)?.sum_keepdim(1)?);
            d = d.broadcast_mul(weights)?;
        }
        drop(activated);
        let (dgate, dup) = self.compute.gated_backward(self.activation, gate, up, &d)?;
        drop(d);
        let h = h()?;
        let dh = self.up.backward(&h, inner, &dup, None, true, grads)?;
        let dh = self.gate.backward(&h, inner, &dgate, dh, true, grads)?.expect(ASKED);
        Ok((dh, dweights))
    }

    /// Its linear modules by name within the layer.
    pub fn linears_mut(&mut self) -> [(String, &mut Linear); 3] {
        let Self { gate, up, down, name, .. } = self;
        [("gate", gate), ("up", up), ("down", down)].map(|(part, linear)| (format!("{name}.{part}_proj"), linear))
    }

    /// Gives gradients of 0 to what is trained and has none: no token came here.
    pub fn unused(&self, grads: &mut Sums) -> Result<()> {
        [&self.gate, &self.up, &self.down].into_iter().try_for_each(|linear| linear.unused(grads))
    }
}

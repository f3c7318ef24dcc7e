//! A norm with its weight, and the norms around a sublayer.

use crate::{
    Result,
    model::{config::ModelConfig, gradients::Sums, parameter::Parameter},
    ops::Compute,
};
use candle_core::Tensor;

/// A root-mean-square norm: each row divided by its own, times the weight, or 1 + the weight.
pub struct Norm {
    weight: Parameter,
    /// Added to the weight.
    offset: f64,
    eps: f64,
    compute: Compute,
}

impl Norm {
    /// The norm of a model.
    pub fn new(weight: Parameter, config: &ModelConfig, compute: &Compute) -> Self {
        Self { weight, offset: config.parts.norm_offset, eps: config.rms_norm_eps, compute: compute.clone() }
    }

    /// What numbers are multiplied with.
    fn factors(&self) -> Result<Tensor> {
        let weight = self.weight.tensor();
        Ok(if self.offset == 0.0 { weight.clone() } else { (weight + self.offset)? })
    }

    /// Of each row.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.compute.rms_norm(x, &self.factors()?, self.eps)?)
    }

    /// The gradient with respect to x, added to `onto` in its memory.
    pub fn backward(&self, x: &Tensor, g: &Tensor, onto: Tensor, grads: &mut Sums) -> Result<Tensor> {
        let Parameter { name, trained, .. } = &self.weight;
        let (dx, dw) = self.compute.rms_norm_backward(x, &self.factors()?, self.eps, g, onto, grads.want(*trained))?;
        if let Some(dw) = dw {
            grads.add(name, *trained, |sum| sum.map_or(Ok(dw.clone()), |sum| sum + &dw))?;
        }
        Ok(dx)
    }
}

/// A sublayer in the residual stream: y = x + f(before(x)), or x + after(f(before(x))).
pub struct Around {
    /// Of what goes into the sublayer.
    pub before: Norm,
    /// Of its result.
    pub after: Option<Norm>,
}

impl Around {
    /// y, and the sublayer's result where the backward pass needs it. `f` gives that result, added to what it is given.
    pub fn add(
        &self,
        x: &Tensor,
        f: impl FnOnce(Option<Tensor>) -> Result<Tensor>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        match &self.after {
            None => Ok((f(Some(x.copy()?))?, None)),
            Some(after) => {
                let result = f(None)?;
                Ok(((x + after.forward(&result)?)?, Some(result)))
            }
        }
    }

    /// The gradient with respect to the sublayer's result, from the one with respect to y.
    pub fn backward(&self, result: Option<Tensor>, dy: &Tensor, grads: &mut Sums) -> Result<Tensor> {
        match self.after.as_ref().zip(result) {
            None => Ok(dy.clone()),
            Some((after, result)) => after.backward(&result, dy, result.zeros_like()?, grads),
        }
    }
}

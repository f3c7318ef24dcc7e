//! AdamW with decoupled weight decay (arXiv 1711.05101, algorithm 2), as torch.optim.AdamW computes it, and the norm of
//! the gradient.

use super::tensors::{Entry, Tensors};
use crate::{
    Code, Error, Result,
    config::TrainConfig,
    model::{Gradients, Trainable},
    ops::{AdamStep, Compute},
};
use candle_core::{Tensor, Var};

/// The optimizer and its state for every trainable tensor.
pub struct AdamW {
    compute: Compute,
    betas: [f64; 2],
    epsilon: f64,
    params: Vec<Param>,
}

struct Param {
    name: String,
    var: Var,
    weight_decay: f64,
    /// Running means of the gradient and of its square.
    moments: [Tensor; 2],
}

impl AdamW {
    /// Zero state. Weight decay leaves out norms and biases, as transformers does: here, tensors of one dimension.
    pub fn new(compute: &Compute, trainable: &[Trainable], config: &TrainConfig) -> Result<Self> {
        let param = |t: &Trainable| -> Result<Param> {
            let moments = [t.var.zeros_like()?, t.var.zeros_like()?];
            let weight_decay = if t.var.rank() > 1 { config.weight_decay } else { 0.0 };
            Ok(Param { name: t.name.clone(), var: t.var.clone(), weight_decay, moments })
        };
        Ok(Self {
            compute: compute.clone(),
            betas: [config.adam_beta1, config.adam_beta2],
            epsilon: config.adam_epsilon,
            params: trainable.iter().map(param).collect::<Result<_>>()?,
        })
    }

    /// Step `t` (from 1) with gradients multiplied by `scale`.
    pub fn step(&mut self, t: u64, gradients: &Gradients, learning_rate: f64, scale: f64) -> Result<()> {
        let [beta1, beta2] = self.betas;
        for param in &mut self.params {
            let gradient = gradients.get(&param.name).ok_or_else(|| {
                Error::new(Code::TrainGradient, format!("the backward pass gave no gradient for {}", param.name))
            })?;
            let step = AdamStep {
                scale: scale as f32,
                keep: (1.0 - learning_rate * param.weight_decay) as f32,
                new1: (1.0 - beta1) as f32,
                keep2: beta2 as f32,
                new2: (1.0 - beta2) as f32,
                rate: (learning_rate / (1.0 - beta1.powf(t as f64))) as f32,
                root: (1.0 - beta2.powf(t as f64)).sqrt() as f32,
                epsilon: self.epsilon as f32,
            };
            self.compute.adamw(step, &param.var, gradient, &mut param.moments)?;
        }
        Ok(())
    }

    /// The state, `NAME.exp_avg` and `NAME.exp_avg_sq` for every tensor, in the order of the trainable tensors.
    pub fn entries(&self) -> Vec<Entry<'_>> {
        self.params.iter().flat_map(|p| [p.entry(0), p.entry(1)]).collect()
    }

    /// Takes over a state written from [`entries`](Self::entries).
    pub fn load(&mut self, tensors: &Tensors) -> Result<()> {
        for p in &mut self.params {
            let moment = |which| -> Result<Tensor> {
                let numbers = tensors.get(&p.state_name(which), p.var.dims())?;
                Ok(Tensor::from_vec(numbers, p.var.shape(), p.var.device())?)
            };
            p.moments = [moment(0)?, moment(1)?];
        }
        Ok(())
    }
}

impl Param {
    fn entry(&self, which: usize) -> Entry<'_> {
        Entry { name: self.state_name(which), tensor: &self.moments[which] }
    }

    fn state_name(&self, which: usize) -> String {
        format!("{}.{}", self.name, ["exp_avg", "exp_avg_sq"][which])
    }
}

/// The 2-norm of all gradients together, summed in f64 and in a fixed order: the same for any number of threads.
///
/// Fails with `train/non-finite` naming the first tensor that holds NaN or infinity.
pub fn norm(compute: &Compute, gradients: &Gradients) -> Result<f64> {
    let mut total = 0.0;
    for (name, gradient) in gradients {
        let squares = compute.sum_of_squares(gradient)?;
        if !squares.is_finite() {
            return Err(Error::new(Code::TrainNonFinite, format!("the gradient of {name} is not finite")));
        }
        total += squares;
    }
    Ok(total.sqrt())
}

/// The factor that brings a gradient of norm `norm` to at most `max_norm`, as `torch.nn.utils.clip_grad_norm_`; 0 is no
/// limit.
pub fn clip(norm: f64, max_norm: f64) -> f64 {
    if max_norm > 0.0 { (max_norm / (norm + 1e-6)).min(1.0) } else { 1.0 }
}

#[cfg(test)]
mod tests;

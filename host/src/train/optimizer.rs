//! AdamW with decoupled weight decay (arXiv 1711.05101, algorithm 2), as torch.optim.AdamW computes it, and the gradient's norm.

use super::tensors::{Entry, Source, Tensors, with_slice};
use crate::{
    Code, Error, Result,
    config::TrainConfig,
    model::{Gradients, Trainable},
    ops::has_kernels,
};
use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor, Var};
use rayon::prelude::*;
use std::sync::Mutex;

/// Numbers a thread works on at a time. Sums depend on it, not on the number of threads.
const CHUNK: usize = 1 << 15;

/// The optimizer and its state for every trainable tensor.
pub struct AdamW {
    betas: [f64; 2],
    epsilon: f64,
    params: Vec<Param>,
}

struct Param {
    name: String,
    var: Var,
    weight_decay: f64,
    moments: Moments,
}

/// Running means of the gradient and of its square.
enum Moments {
    /// Beside the processor, updated together with the parameter in one pass over memory.
    Host([Vec<f32>; 2]),
    /// On the device, updated by tensor operations.
    Device([Tensor; 2]),
}

impl AdamW {
    /// Zero state. Weight decay leaves out norms and biases, as transformers does: here, tensors of one dimension.
    pub fn new(trainable: &[Trainable], config: &TrainConfig) -> Result<Self> {
        let param = |t: &Trainable| -> Result<Param> {
            let moments = if has_kernels(&t.var) {
                Moments::Host([vec![0.0; t.var.elem_count()], vec![0.0; t.var.elem_count()]])
            } else {
                Moments::Device([t.var.zeros_like()?, t.var.zeros_like()?])
            };
            let weight_decay = if t.var.rank() > 1 { config.weight_decay } else { 0.0 };
            Ok(Param { name: t.name.clone(), var: t.var.clone(), weight_decay, moments })
        };
        Ok(Self {
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
            let update = Update {
                scale: scale as f32,
                keep: (1.0 - learning_rate * param.weight_decay) as f32,
                new1: (1.0 - beta1) as f32,
                keep2: beta2 as f32,
                new2: (1.0 - beta2) as f32,
                rate: (learning_rate / (1.0 - beta1.powf(t as f64))) as f32,
                root: (1.0 - beta2.powf(t as f64)).sqrt() as f32,
                epsilon: self.epsilon as f32,
            };
            match &mut param.moments {
                Moments::Host([m, v]) => {
                    let fused = Fused { update, moments: Mutex::new([m, v]) };
                    param.var.inplace_op2(&gradient.contiguous()?, &fused)?;
                }
                Moments::Device(moments) => update.on_device(&param.var, gradient, moments)?,
            }
        }
        Ok(())
    }

    /// The state, `NAME.exp_avg` and `NAME.exp_avg_sq` for every tensor, in the order of the trainable tensors.
    pub fn entries(&self) -> Vec<Entry<'_>> {
        self.params.iter().flat_map(|p| [p.entry(0), p.entry(1)]).collect()
    }

    /// Takes over a state written from [`entries`](Self::entries).
    pub fn load(&mut self, tensors: &Tensors<'_>) -> Result<()> {
        for p in &mut self.params {
            let [m, v] = [tensors.get(&p.state_name(0), p.var.dims())?, tensors.get(&p.state_name(1), p.var.dims())?];
            p.moments = match p.moments {
                Moments::Host(_) => Moments::Host([m, v]),
                Moments::Device(_) => {
                    let tensor = |x| Tensor::from_vec(x, p.var.shape(), p.var.device());
                    Moments::Device([tensor(m)?, tensor(v)?])
                }
            };
        }
        Ok(())
    }
}

impl Param {
    fn entry(&self, which: usize) -> Entry<'_> {
        let data = match &self.moments {
            Moments::Host(moments) => Source::Slice(&moments[which]),
            Moments::Device(moments) => Source::Tensor(&moments[which]),
        };
        Entry { name: self.state_name(which), shape: self.var.dims().to_vec(), data }
    }

    fn state_name(&self, which: usize) -> String {
        format!("{}.{}", self.name, ["exp_avg", "exp_avg_sq"][which])
    }
}

/// The numbers of one update, rounded once from f64.
#[derive(Clone, Copy)]
struct Update {
    scale: f32,
    keep: f32,
    new1: f32,
    keep2: f32,
    new2: f32,
    rate: f32,
    root: f32,
    epsilon: f32,
}

impl Update {
    /// Operation for operation what torch does.
    fn on_slices(self, param: &mut [f32], m: &mut [f32], v: &mut [f32], gradient: &[f32]) {
        for (((p, m), v), g) in param.iter_mut().zip(m).zip(v).zip(gradient) {
            let g = g * self.scale;
            *m += (g - *m) * self.new1;
            *v = *v * self.keep2 + self.new2 * g * g;
            *p = *p * self.keep - self.rate * (*m / (v.sqrt() / self.root + self.epsilon));
        }
    }

    fn on_device(self, param: &Var, gradient: &Tensor, [m, v]: &mut [Tensor; 2]) -> candle_core::Result<()> {
        let g = (gradient * f64::from(self.scale))?;
        *m = (&*m + ((&g - &*m)? * f64::from(self.new1))?)?;
        *v = ((&*v * f64::from(self.keep2))? + (g.sqr()? * f64::from(self.new2))?)?;
        let denominator = ((v.sqrt()? / f64::from(self.root))? + f64::from(self.epsilon))?;
        param.set(&((param.as_tensor() * f64::from(self.keep))? - ((&*m / denominator)? * f64::from(self.rate))?)?)
    }
}

struct Fused<'a> {
    update: Update,
    /// candle passes the operation by shared reference; nothing else waits for this lock.
    moments: Mutex<[&'a mut Vec<f32>; 2]>,
}

impl InplaceOp2 for Fused<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(
        &self,
        param: &mut CpuStorage,
        param_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (CpuStorage::F32(param), CpuStorage::F32(gradient)) = (param, gradient) else {
            candle_core::bail!("adamw: parameter and gradient must be f32")
        };
        let (Some((p0, p1)), Some((g0, g1))) =
            (param_layout.contiguous_offsets(), gradient_layout.contiguous_offsets())
        else {
            candle_core::bail!("adamw: parameter and gradient must be contiguous")
        };
        if p1 - p0 != g1 - g0 {
            candle_core::bail!("adamw: {:?} has a gradient of {:?}", param_layout.shape(), gradient_layout.shape())
        }
        let mut moments = self.moments.lock().expect("no update panics while it holds the moments");
        let [m, v] = &mut *moments;
        param[p0..p1]
            .par_chunks_mut(CHUNK)
            .zip(m.par_chunks_mut(CHUNK))
            .zip(v.par_chunks_mut(CHUNK))
            .zip(gradient[g0..g1].par_chunks(CHUNK))
            .for_each(|(((p, m), v), g)| self.update.on_slices(p, m, v, g));
        Ok(())
    }
}

/// The 2-norm of all gradients together, in f64 and summed in a fixed order: the same for any number of threads.
///
/// Fails with `train/non-finite` naming the first tensor that holds NaN or infinity.
pub fn norm(gradients: &Gradients) -> Result<f64> {
    let mut total = 0.0;
    for (name, gradient) in gradients {
        let squares: f64 = if has_kernels(gradient) {
            with_slice(gradient, |all| all.par_chunks(CHUNK).map(sum_of_squares).collect::<Vec<_>>().iter().sum())?
        } else {
            f64::from(gradient.sqr()?.sum_all()?.to_scalar::<f32>()?)
        };
        if !squares.is_finite() {
            return Err(Error::new(Code::TrainNonFinite, format!("the gradient of {name} is not finite")));
        }
        total += squares;
    }
    Ok(total.sqrt())
}

/// Eight sums side by side: one would wait for each addition.
fn sum_of_squares(x: &[f32]) -> f64 {
    let square = |g: &f32| f64::from(*g) * f64::from(*g);
    let (eights, rest) = x.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for eight in eights {
        sums.iter_mut().zip(eight).for_each(|(sum, g)| *sum += square(g));
    }
    sums.iter().sum::<f64>() + rest.iter().map(square).sum::<f64>()
}

/// The factor that brings a gradient of norm `norm` to at most `max_norm`, as `torch.nn.utils.clip_grad_norm_`; 0 is no limit.
pub fn clip(norm: f64, max_norm: f64) -> f64 {
    if max_norm > 0.0 { (max_norm / (norm + 1e-6)).min(1.0) } else { 1.0 }
}

#[cfg(test)]
mod tests;

//! Passes over packs: log-probabilities, hidden states, gradients.
//!
//! A backward pass keeps the activations of as many of the last layers as its budget allows. Of the others it keeps the
//! input, and computes the rest again when it comes to them: activation checkpointing (Chen et al. 2016, arXiv
//! 1604.06174), layer by layer.

use super::{
    Pack, Target,
    gradients::{Gradients, Sums},
    layer::Kept,
    linear::Matrix,
    parameter::Parameter,
    policy::Policy,
};
use crate::{
    Code, Error, Result,
    ops::{self, Angles, Attention, LogSums, Span, Wanted},
};
use candle_core::Tensor;

/// What all layers need to know of a pack.
struct Context {
    /// Of each rotary embedding.
    angles: Vec<Angles>,
    attention: Attention,
}

impl Policy {
    fn context(&self, pack: &Pack) -> Result<Context> {
        let segments = &pack.segments;
        let spans = (0..segments.len()).map(|i| Span {
            queries: pack.rows(i),
            keys: [segments[i].prefix.map_or(0..0, |p| pack.rows(p)), pack.rows(i)],
        });
        let model = self.model();
        Ok(Context { angles: model.angles(&pack.positions)?, attention: model.config.attention(spans.collect())? })
    }

    fn layer(&self, index: usize, x: Tensor, context: &Context) -> Result<(Tensor, Kept)> {
        self.model().layers[index].forward(x, &context.angles, &mut self.attend(index, context))
    }

    fn attend(
        &self,
        index: usize,
        context: &Context,
    ) -> impl FnMut(&Tensor, &Tensor, &Tensor) -> candle_core::Result<(Tensor, LogSums)> {
        let window = self.model().config.layers[index].window;
        move |q, k, v| self.compute().attention(&context.attention, [q, k, v], window)
    }

    /// What goes into the first layer: embeddings of the pack's tokens, and `inputs_embeds` [soft rows, hidden] in
    /// place of those of its soft prompts.
    fn input(&self, pack: &Pack, inputs_embeds: &[f32]) -> Result<Tensor> {
        let (rows, width) = (pack.soft.len(), self.hidden_size());
        let (needed, got) = (rows * width, inputs_embeds.len());
        if got != needed {
            let what = format!("a pack with {rows} rows of soft prompts needs {needed} numbers for them, got {got}");
            return Err(Error::new(Code::ModelPack, what));
        }
        let x = self.model().embed(&pack.ids)?;
        if rows > 0 {
            let embeds = Tensor::from_slice(inputs_embeds, (rows, width), self.device())?;
            self.compute().set_rows(&x, &embeds, &pack.soft)?;
        }
        Ok(x)
    }

    /// Hidden states after the first `layers` layers, before the last norm.
    fn run(&self, pack: &Pack, inputs_embeds: &[f32], layers: usize) -> Result<Tensor> {
        let context = self.context(pack)?;
        let input = self.input(pack, inputs_embeds);
        (0..layers).try_fold(input?, |x, i| Ok(self.layer(i, x, &context)?.0))
    }

    /// Log-probabilities of the targets, no gradient, no stored activations.
    pub fn logps(&self, pack: &Pack, targets: &[Target]) -> Result<Vec<f32>> {
        self.logps_soft(pack, &[], targets)
    }

    /// [`logps`](Self::logps) of a pack with soft prompts, `inputs_embeds` being `hidden_size` numbers for each of
    /// their rows.
    pub fn logps_soft(&self, pack: &Pack, inputs_embeds: &[f32], targets: &[Target]) -> Result<Vec<f32>> {
        let x = self.run(pack, inputs_embeds, self.num_layers())?;
        let (rows, tokens) = split(pack, targets)?;
        let h = self.model().norm.forward(&x.index_select(&Tensor::new(rows, self.device())?, 0)?)?;
        Ok(ops::score(&h, &self.model().head.weight, &tokens, Wanted::Nothing)?.logps)
    }

    /// Hidden states [tokens, hidden] after `layer` layers (0 = embeddings, `num_layers()` = after the final norm), no
    /// gradient.
    pub fn hidden_states(&self, pack: &Pack, layer: usize) -> Result<Tensor> {
        if layer > self.num_layers() {
            let what = format!("hidden states of layer {layer} of a model with {} layers", self.num_layers());
            return Err(Error::new(Code::ModelLayer, what));
        }
        let x = self.run(pack, &[], layer)?;
        if layer == self.num_layers() { self.model().norm.forward(&x) } else { Ok(x) }
    }

    /// Tokens of a pass whose activations fit the budget.
    pub fn pass_tokens(&self) -> usize {
        self.activation_budget() / (self.model().config.kept_bytes() * self.num_layers())
    }

    /// Forward, then `loss_gradient` turns the targets' log-probabilities into dLoss/dlogp (same length), then
    /// backward: adds the gradients of all trainable tensors to `grads`.
    pub fn backward(
        &self,
        pack: &Pack,
        targets: &[Target],
        loss_gradient: impl FnOnce(&[f32]) -> Result<Vec<f32>>,
        grads: &mut Gradients,
    ) -> Result<()> {
        // Nothing below the lowest layer is trained where the embedding is frozen.
        let Parameter { name, trained, .. } = &self.model().embedding;
        let dx = self.gradient(pack, self.input(pack, &[])?, targets, loss_gradient, &mut Sums::to(grads), *trained)?;
        dx.map_or(Ok(()), |dx| {
            let dx = self.model().embed_backward(dx)?;
            Sums::to(grads).add(name, *trained, |sum| {
                let zeros = || Tensor::zeros((self.vocab_size(), self.hidden_size()), dx.dtype(), dx.device());
                self.compute().add_rows(sum.map_or_else(zeros, Ok)?, &dx, &pack.ids)
            })
        })
    }

    /// The gradient of a loss with respect to `inputs_embeds`, the rows of soft prompts, as many numbers: every tensor
    /// of the model is taken as frozen.
    pub fn soft_gradient(
        &self,
        pack: &Pack,
        inputs_embeds: &[f32],
        targets: &[Target],
        loss_gradient: impl FnOnce(&[f32]) -> Result<Vec<f32>>,
    ) -> Result<Vec<f32>> {
        let input = self.input(pack, inputs_embeds)?;
        let dx = self.gradient(pack, input, targets, loss_gradient, &mut Sums::nowhere(), true)?.expect("asked for");
        let rows: Vec<u32> = pack.soft.iter().map(|row| *row as u32).collect();
        Ok(dx.index_select(&Tensor::new(rows, dx.device())?, 0)?.flatten_all()?.to_vec1()?)
    }

    /// Forward and backward from the first layer's input: adds the gradients of what is trained (the embedding aside)
    /// to `grads`, and returns the one with respect to the input if `want_dx`.
    fn gradient(
        &self,
        pack: &Pack,
        mut x: Tensor,
        targets: &[Target],
        loss_gradient: impl FnOnce(&[f32]) -> Result<Vec<f32>>,
        grads: &mut Sums,
        want_dx: bool,
    ) -> Result<Option<Tensor>> {
        let (model, compute, context) = (self.model(), self.compute(), self.context(pack)?);
        let (rows, tokens) = split(pack, targets)?;
        // The last layers' activations are the first to be used up.
        let fit = self.activation_budget() / (model.config.kept_bytes() * pack.len());
        let first_kept = self.num_layers().saturating_sub(fit);
        let mut stack = Vec::with_capacity(self.num_layers());
        for i in 0..self.num_layers() {
            let (y, kept) = self.layer(i, x.clone(), &context)?;
            stack.push(if i < first_kept { Stored::Input(x) } else { Stored::All(Box::new(kept)) });
            x = y;
        }

        // Head: log-probabilities, the loss, and its gradient down to the rows that predict.
        let predicting = x.index_select(&Tensor::new(rows.as_slice(), self.device())?, 0)?;
        let h = model.norm.forward(&predicting)?;
        let Matrix { name, trained, weight: head } = &model.head;
        let trained = grads.want(*trained);
        let wanted = if trained { Wanted::Both } else { Wanted::Hidden };
        let scores = ops::score(&h, head, &tokens, wanted)?;
        let dlogps = loss_gradient(&scores.logps)?;
        let sum = if trained { grads.take(name) } else { None };
        let (dh, dhead) = ops::score_backward(&h, head, &tokens, scores, &dlogps, sum)?;
        if let Some(d) = dhead {
            grads.put(name, d);
        }
        let dx = model.norm.backward(&predicting, &dh, predicting.zeros_like()?, grads)?;
        let mut dx = compute.add_rows(x.zeros_like()?, &dx, &rows)?;
        drop((x, predicting, h, dh));

        for (i, stored) in stack.into_iter().enumerate().rev() {
            let kept = match stored {
                Stored::All(kept) => *kept,
                Stored::Input(x) => model.layers[i].forward_again(x, &context.angles, &mut self.attend(i, &context))?,
            };
            let window = model.config.layers[i].window;
            let attend = |qkv: [&Tensor; 3], out: (&Tensor, &LogSums), d: &Tensor| {
                compute.attention_backward(&context.attention, qkv, window, out, d)
            };
            match model.layers[i].backward(kept, dx, &context.angles, attend, want_dx || i > 0, grads)? {
                Some(d) => dx = d,
                None => return Ok(None),
            }
        }
        Ok(want_dx.then_some(dx))
    }
}

/// What the backward pass has of a layer.
enum Stored {
    All(Box<Kept>),
    /// Its input, a checkpoint: the layer is computed again.
    Input(Tensor),
}

/// Rows and tokens of the targets, checked against the pack.
fn split(pack: &Pack, targets: &[Target]) -> Result<(Vec<u32>, Vec<u32>)> {
    if let Some(t) = targets.iter().find(|t| t.row as usize >= pack.len()) {
        return Err(Error::new(
            Code::ModelPack,
            format!("a target on row {} of a pack of {} tokens", t.row, pack.len()),
        ));
    }
    if targets.is_empty() {
        return Err(Error::new(Code::ModelPack, "a pass without targets"));
    }
    Ok(targets.iter().map(|t| (t.row, t.token)).unzip())
}

//! Passes over packs: log-probabilities, hidden states, gradients.

use super::{
    Pack, Target,
    policy::{Gradients, Policy},
    transformer::Angles,
};
use crate::{
    Error, Result,
    ops::{self, Attention, Span},
};
use candle_core::{Tensor, Var};

/// What all layers need to know of a pack.
struct Context {
    angles: Angles,
    attention: Attention,
}

impl Policy {
    fn context(&self, pack: &Pack) -> Result<Context> {
        let segments = &pack.segments;
        let spans = (0..segments.len()).map(|i| Span {
            queries: pack.rows(i),
            keys: [segments[i].prefix.map_or(0..0, |p| pack.rows(p)), pack.rows(i)],
        });
        let model = self.plain();
        Ok(Context {
            angles: model.angles(&pack.positions)?,
            attention: Attention::new(spans.collect(), model.config.head_dim)?,
        })
    }

    /// Runs one layer: `graph` says whether candle records it.
    fn layer(&self, index: usize, x: &Tensor, context: &Context, graph: bool) -> Result<Tensor> {
        let model = if graph { self.graph() } else { self.plain() };
        let window = model.config.windows[index];
        model.layers[index].forward(x, &context.angles, |q, k, v| Ok(context.attention.forward(q, k, v, window)?))
    }

    /// Log-probabilities of the targets, no gradient, no stored activations.
    pub fn logps(&self, pack: &Pack, targets: &[Target]) -> Result<Vec<f32>> {
        let context = self.context(pack)?;
        let mut x = self.plain().embed(&pack.ids)?;
        for i in 0..self.num_layers() {
            x = self.layer(i, &x, &context, false)?;
        }
        let (rows, tokens) = split(pack, targets)?;
        let h = self.plain().norm(&x.index_select(&Tensor::new(rows, self.device())?, 0)?)?;
        Ok(ops::score(&h, self.plain().head(), &tokens)?.logps)
    }

    /// Hidden states [tokens, hidden] after `layer` layers (0 = embeddings, `num_layers()` = after the final norm), no
    /// gradient.
    pub fn hidden_states(&self, pack: &Pack, layer: usize) -> Result<Tensor> {
        if layer > self.num_layers() {
            let what = format!("hidden states of layer {layer} of a model with {} layers", self.num_layers());
            return Err(Error::new("model/layer", what));
        }
        let context = self.context(pack)?;
        let mut x = self.plain().embed(&pack.ids)?;
        for i in 0..layer {
            x = self.layer(i, &x, &context, false)?;
        }
        if layer == self.num_layers() { self.plain().norm(&x) } else { Ok(x) }
    }

    /// Forward, then `loss_gradient` turns the targets' log-probabilities into dLoss/dlogp (same length), then backward:
    /// the gradients of all trainable tensors. Layers are recomputed in the backward pass; only their inputs are kept.
    pub fn backward(
        &self,
        pack: &Pack,
        targets: &[Target],
        loss_gradient: impl FnOnce(&[f32]) -> Result<Vec<f32>>,
    ) -> Result<Gradients> {
        let mut grads = Gradients::new();
        let context = self.context(pack)?;
        let mut inputs = vec![self.plain().embed(&pack.ids)?];
        for i in 0..self.num_layers() {
            inputs.push(self.layer(i, &inputs[i], &context, false)?);
        }

        // Head: log-probabilities, the loss, and its gradient down to the rows that predict.
        let (rows, tokens) = split(pack, targets)?;
        let last = inputs.pop().expect("the embeddings are always there");
        let x = last.index_select(&Tensor::new(rows.as_slice(), self.device())?, 0)?;
        let (h, head) = (self.plain().norm(&x)?, self.plain().head());
        let scores = ops::score(&h, head, &tokens)?;
        let dlogps = loss_gradient(&scores.logps)?;
        // Either every tensor of the base model is trained, or none.
        let full = self.lora().is_none();
        let (dh, dhead) = ops::score_backward(&h, head, &tokens, &scores, &dlogps, full)?;
        let run = |x: &Tensor| self.graph().norm(x);
        let dx = self.differentiate(&x, true, &dh, "model.norm.", &mut grads, run)?.expect("asked for");
        let mut dx = ops::add_rows(last.zeros_like()?, &dx, &rows)?;
        drop((last, x, h, dh));

        // Layers: nothing below the lowest needs a gradient where the embedding is frozen.
        for (i, x) in inputs.into_iter().enumerate().rev() {
            let run = |x: &Tensor| self.layer(i, x, &context, true);
            let prefix = format!("model.layers.{i}.");
            match self.differentiate(&x, full || i > 0, &dx, &prefix, &mut grads, run)? {
                Some(d) => dx = d,
                None => return Ok(grads),
            }
        }

        // Embedding: where it is also the head, both gradients add up.
        let dhead = dhead.expect("asked for");
        let table = if self.plain().config.tied {
            dhead
        } else {
            let zeros = dhead.zeros_like()?;
            grads.insert("lm_head.weight".into(), dhead);
            zeros
        };
        grads.insert("model.embed_tokens.weight".into(), ops::add_rows(table, &dx, &pack.ids)?);
        Ok(grads)
    }

    /// Runs `run` on x again, recorded, and applies its transposed derivative to `seed`: puts the gradients of the
    /// trainable tensors below `prefix` into `grads`, and returns x's if wanted.
    fn differentiate(
        &self,
        x: &Tensor,
        want_dx: bool,
        seed: &Tensor,
        prefix: &str,
        grads: &mut Gradients,
        run: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Option<Tensor>> {
        let x = if want_dx { Var::from_tensor(x)?.into_inner() } else { x.clone() };
        let mut store = (run(&x)? * seed)?.sum_all()?.backward()?;
        // Detached: what candle returns would keep the pass's memory alive.
        let mut take = |name: &str, t: &Tensor| match store.remove(t) {
            Some(g) => Ok(g.detach()),
            None => Err(Error::new("engine/gradient", format!("no gradient reached {name}"))),
        };
        for (name, t) in self.variables(prefix) {
            grads.insert(name.clone(), take(name, t)?);
        }
        want_dx.then(|| take("a layer's input", &x)).transpose()
    }
}

/// Rows and tokens of the targets, checked against the pack.
fn split(pack: &Pack, targets: &[Target]) -> Result<(Vec<u32>, Vec<u32>)> {
    if let Some(t) = targets.iter().find(|t| t.row as usize >= pack.len()) {
        return Err(Error::new("model/pack", format!("a target on row {} of a pack of {} tokens", t.row, pack.len())));
    }
    if targets.is_empty() {
        return Err(Error::new("model/pack", "a pass without targets"));
    }
    Ok(targets.iter().map(|t| (t.row, t.token)).unzip())
}

//! Passes over packs: log-probabilities, hidden states, gradients.

use super::{
    Pack, Target,
    layer::{Kept, accumulate},
    policy::{Gradients, Policy},
};
use crate::{
    Error, Result,
    ops::{self, Angles, Attention, Span, Wanted},
};
use candle_core::Tensor;

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
        let model = self.model();
        Ok(Context {
            angles: model.angles(&pack.positions)?,
            attention: Attention::new(spans.collect(), model.config.head_dim)?,
        })
    }

    fn layer(&self, index: usize, x: Tensor, context: &Context) -> Result<(Tensor, Kept)> {
        let model = self.model();
        let attend =
            &mut |q: &Tensor, k: &Tensor, v: &Tensor| context.attention.forward(q, k, v, model.config.windows[index]);
        model.layers[index].forward(x, &context.angles, attend)
    }

    /// Hidden states after the first `layers` layers, before the last norm.
    fn run(&self, pack: &Pack, layers: usize) -> Result<Tensor> {
        let context = self.context(pack)?;
        let embedded = self.model().embed(&pack.ids);
        (0..layers).try_fold(embedded?, |x, i| Ok(self.layer(i, x, &context)?.0))
    }

    /// Log-probabilities of the targets, no gradient, no stored activations.
    pub fn logps(&self, pack: &Pack, targets: &[Target]) -> Result<Vec<f32>> {
        let x = self.run(pack, self.num_layers())?;
        let (rows, tokens) = split(pack, targets)?;
        let h = self.model().norm.forward(&x.index_select(&Tensor::new(rows, self.device())?, 0)?)?;
        Ok(ops::score(&h, &self.model().head, &tokens, Wanted::Nothing)?.logps)
    }

    /// Hidden states [tokens, hidden] after `layer` layers (0 = embeddings, `num_layers()` = after the final norm), no
    /// gradient.
    pub fn hidden_states(&self, pack: &Pack, layer: usize) -> Result<Tensor> {
        if layer > self.num_layers() {
            let what = format!("hidden states of layer {layer} of a model with {} layers", self.num_layers());
            return Err(Error::new("model/layer", what));
        }
        let x = self.run(pack, layer)?;
        if layer == self.num_layers() { self.model().norm.forward(&x) } else { Ok(x) }
    }

    /// Tokens of a pass whose activations fit the budget.
    pub fn pass_tokens(&self) -> usize {
        self.activation_budget() / (self.model().config.kept_bytes() * self.num_layers())
    }

    /// Forward, then `loss_gradient` turns the targets' log-probabilities into dLoss/dlogp (same length), then backward:
    /// adds the gradients of all trainable tensors to `grads`.
    pub fn backward(
        &self,
        pack: &Pack,
        targets: &[Target],
        loss_gradient: impl FnOnce(&[f32]) -> Result<Vec<f32>>,
        grads: &mut Gradients,
    ) -> Result<()> {
        let (model, context) = (self.model(), self.context(pack)?);
        let (rows, tokens) = split(pack, targets)?;
        // The last layers' activations are the first to be used up.
        let fit = self.activation_budget() / (model.config.kept_bytes() * pack.len());
        let first_kept = self.num_layers().saturating_sub(fit);
        let mut stack = Vec::with_capacity(self.num_layers());
        let mut x = model.embed(&pack.ids)?;
        for i in 0..self.num_layers() {
            let (y, kept) = self.layer(i, x.clone(), &context)?;
            stack.push(if i < first_kept { Stored::Input(x) } else { Stored::All(kept) });
            x = y;
        }

        // Head: log-probabilities, the loss, and its gradient down to the rows that predict.
        let predicting = x.index_select(&Tensor::new(rows.as_slice(), self.device())?, 0)?;
        let h = model.norm.forward(&predicting)?;
        // Either every tensor of the base model is trained, or none.
        let full = self.lora().is_none();
        let wanted = if full { Wanted::Both } else { Wanted::Hidden };
        let scores = ops::score(&h, &model.head, &tokens, wanted)?;
        let dlogps = loss_gradient(&scores.logps)?;
        let table = if model.config.tied { EMBEDDING } else { "lm_head.weight" };
        let sum = grads.remove(table).filter(|_| full);
        let (dh, dhead) = ops::score_backward(&h, &model.head, &tokens, scores, &dlogps, sum)?;
        grads.extend(dhead.map(|d| (table.to_owned(), d)));
        let dx = model.norm.backward(&predicting, &dh, predicting.zeros_like()?, grads)?;
        let mut dx = ops::add_rows(x.zeros_like()?, &dx, &rows)?;
        drop((x, predicting, h, dh));

        for (i, stored) in stack.into_iter().enumerate().rev() {
            let kept = match stored {
                Stored::All(kept) => kept,
                Stored::Input(x) => self.layer(i, x, &context)?.1,
            };
            let window = model.config.windows[i];
            let attend = |qkv: [&Tensor; 3], out: (&Tensor, &ops::LogSums), d: &Tensor| {
                context.attention.backward(qkv, window, out, d)
            };
            // Nothing below the lowest layer needs a gradient where the embedding is frozen.
            match model.layers[i].backward(kept, dx, &context.angles, attend, full || i > 0, grads)? {
                Some(d) => dx = d,
                None => return Ok(()),
            }
        }
        accumulate(grads, EMBEDDING, |sum| {
            let sum =
                sum.map_or_else(|| Tensor::zeros((self.vocab_size(), self.hidden_size()), dx.dtype(), dx.device()), Ok);
            ops::add_rows(sum?, &dx, &pack.ids)
        })
    }
}

const EMBEDDING: &str = "model.embed_tokens.weight";

/// What the backward pass has of a layer.
enum Stored {
    All(Kept),
    /// Its input: the layer is run again.
    Input(Tensor),
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

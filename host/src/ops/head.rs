//! Log-probabilities of tokens from hidden states, in chunks of rows: the matrix [tokens, vocabulary] exists as a whole
//! only where it is small and the gradient with respect to the weights is wanted.
//!
//! Results by row are allocated before the first chunk: between two chunks' logits they would keep the memory of the
//! former from serving the latter.

use super::weight::Weight;
use candle_core::{Result, Tensor, bail};

/// Log-probabilities, and what the backward pass needs besides.
#[derive(Debug)]
pub struct Scores {
    /// Log-probability of each token.
    pub logps: Vec<f32>,
    /// log-sum-exp of each row of logits.
    lse: Vec<f32>,
    kept: Kept,
}

/// Gradients that a backward pass will ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// None.
    Nothing,
    /// With respect to the hidden states.
    Hidden,
    /// With respect to the hidden states and the weights.
    Both,
}

#[derive(Debug)]
enum Kept {
    Nothing,
    /// Gradient of each log-probability with respect to its hidden state: with frozen weights nothing else is needed.
    Gradients(Tensor),
    /// The logits, where they are few enough.
    Logits(Tensor),
}

/// Logits that may be kept: few in the tests, so that there are cases of both kinds.
const LOGITS: usize = if cfg!(test) { 1 << 12 } else { 1 << 25 };

/// Rows whose logits are held at a time: whole panels of the widest product.
pub fn logit_rows(vocab: usize, wanted: Wanted) -> usize {
    let logits = if wanted == Wanted::Both { LOGITS } else { LOGITS / 8 };
    (logits / vocab).max(1).next_multiple_of(48)
}

fn check(hidden: &Tensor, w: &Weight, tokens: &[u32]) -> Result<usize> {
    let ((n, d), (inputs, vocab)) = (hidden.dims2()?, w.sizes());
    if n != tokens.len() || d != inputs || tokens.iter().any(|t| *t as usize >= vocab) {
        bail!("head: hidden [{n}, {d}] and weight [{vocab}, {inputs}] do not fit {} tokens", tokens.len())
    }
    Ok(vocab)
}

/// `log softmax(hidden wᵀ)` of one token each: hidden [n, d], w [vocabulary, d], n tokens.
pub fn score(hidden: &Tensor, w: &Weight, tokens: &[u32], wanted: Wanted) -> Result<Scores> {
    let rows = logit_rows(check(hidden, w, tokens)?, wanted);
    let (compute, backend) = (w.compute(), w.compute().backend());
    let (mut logps, mut lse) = (Vec::with_capacity(tokens.len()), Vec::with_capacity(tokens.len()));
    let mut kept = if wanted == Wanted::Hidden { Kept::Gradients(hidden.zeros_like()?) } else { Kept::Nothing };
    for (i, here) in tokens.chunks(rows).enumerate() {
        let h = hidden.narrow(0, i * rows, here.len())?;
        let logits = w.forward(&compute.rows(&h)?, None)?;
        let (new, new_lse) = backend.log_softmax(&logits, here)?;
        if let Kept::Gradients(gradients) = &kept {
            let d = backend.log_softmax_backward(logits, here, &new_lse, &vec![1.0; here.len()])?;
            gradients.slice_set(&w.backward(&compute.rows(&d)?, None)?, 0, i * rows)?;
        } else if wanted == Wanted::Both && here.len() == tokens.len() {
            kept = Kept::Logits(logits);
        }
        logps.extend(new);
        lse.extend(new_lse);
    }
    Ok(Scores { logps, lse, kept })
}

/// Gradients with respect to hidden and, if they were [`Wanted`], w, of a loss whose gradient with respect to the
/// log-probabilities is `dlogps`.
///
/// Logits that were not kept are computed again. w's gradient is added to `onto` in its memory, if there is one.
pub fn score_backward(
    hidden: &Tensor,
    w: &Weight,
    tokens: &[u32],
    scores: Scores,
    dlogps: &[f32],
    onto: Option<Tensor>,
) -> Result<(Tensor, Option<Tensor>)> {
    let rows = logit_rows(check(hidden, w, tokens)?, Wanted::Both);
    let (compute, backend) = (w.compute(), w.compute().backend());
    if dlogps.len() != tokens.len() || scores.lse.len() != tokens.len() {
        bail!("head: {} gradients for {} tokens", dlogps.len(), tokens.len())
    }
    let mut kept = match scores.kept {
        Kept::Gradients(gradients) => {
            let d = Tensor::new(dlogps, gradients.device())?.unsqueeze(1)?;
            return Ok((gradients.broadcast_mul(&d)?, None));
        }
        Kept::Logits(logits) => Some(logits),
        Kept::Nothing => None,
    };
    let (dh, mut dw) = (hidden.zeros_like()?, onto);
    for (i, here) in tokens.chunks(rows).enumerate() {
        let range = i * rows..i * rows + here.len();
        let h = hidden.narrow(0, range.start, here.len())?;
        let logits = match kept.take() {
            Some(logits) => logits,
            None => w.forward(&compute.rows(&h)?, None)?,
        };
        let g = backend.log_softmax_backward(logits, here, &scores.lse[range.clone()], &dlogps[range.clone()])?;
        dh.slice_set(&w.backward(&compute.rows(&g)?, None)?, 0, range.start)?;
        dw = Some(w.gradient(&g, &h, dw)?);
    }
    Ok((dh, dw))
}

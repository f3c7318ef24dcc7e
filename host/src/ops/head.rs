//! Log-probabilities of tokens from hidden states, in chunks of rows: the matrix [tokens, vocabulary] exists as a whole only
//! where it is small and its gradient by the weights is wanted.
//!
//! Results by row are allocated before the first chunk: between two chunks' logits they would keep the memory of the former from
//! serving the latter.

use super::{
    Rows, Weight,
    buffer::{update, with},
    has_kernels,
    simd::{self, Level},
};
use candle_core::{D, Result, Tensor, bail};
use rayon::prelude::*;

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
    /// By the hidden states.
    Hidden,
    /// By the hidden states and the weights.
    Both,
}

#[derive(Debug)]
enum Kept {
    Nothing,
    /// Gradient of each log-probability by its hidden state: with frozen weights nothing else is needed.
    Slopes(Tensor),
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
    let (mut logps, mut lse) = (Vec::with_capacity(tokens.len()), Vec::with_capacity(tokens.len()));
    let mut kept = if wanted == Wanted::Hidden { Kept::Slopes(hidden.zeros_like()?) } else { Kept::Nothing };
    for (i, here) in tokens.chunks(rows).enumerate() {
        let h = hidden.narrow(0, i * rows, here.len())?;
        let logits = w.forward(&Rows::new(&h, w.precision())?, None)?;
        let (new, new_lse) = log_softmax(&logits, here)?;
        if let Kept::Slopes(slopes) = &kept {
            let d = log_softmax_backward(logits, here, &new_lse, &vec![1.0; here.len()])?;
            slopes.slice_set(&w.backward(&Rows::new(&d, w.precision())?, None)?, 0, i * rows)?;
        } else if wanted == Wanted::Both && here.len() == tokens.len() {
            kept = Kept::Logits(logits);
        }
        logps.extend(new);
        lse.extend(new_lse);
    }
    Ok(Scores { logps, lse, kept })
}

/// Log-probability of one token of each row of logits, and the rows' log-sum-exps.
fn log_softmax(logits: &Tensor, tokens: &[u32]) -> Result<(Vec<f32>, Vec<f32>)> {
    if !has_kernels(logits) {
        let max = logits.max_keepdim(D::Minus1)?;
        let lse = (logits.broadcast_sub(&max)?.exp()?.sum_keepdim(D::Minus1)?.log()? + max)?;
        let index = Tensor::new(tokens, logits.device())?.unsqueeze(1)?;
        let logps = (logits.gather(&index, 1)? - &lse)?;
        return Ok((logps.flatten_all()?.to_vec1()?, lse.flatten_all()?.to_vec1()?));
    }
    let (vocab, level) = (logits.dim(1)?, Level::best());
    with([logits], |[logits]| {
        let row = |(row, token): (&[f32], &u32)| {
            let max = simd::max(level, row);
            let lse = max + simd::exp_sum(level, row, max).ln();
            (row[*token as usize] - lse, lse)
        };
        Ok(logits.par_chunks(vocab).zip(tokens).map(row).unzip())
    })
}

/// The largest number; NaN counts for nothing.
pub fn max(x: &[f32]) -> f32 {
    simd::max(Level::best(), x)
}

/// `exp((x - shift) * scale)` of each number.
pub fn exp(x: &[f32], scale: f32, shift: f32) -> Vec<f32> {
    let mut out = x.to_vec();
    simd::exp_scale(Level::best(), &mut out, scale, shift * scale, 1.0);
    out
}

/// Gradients by hidden and, if they were [`Wanted`], by w, of a loss whose gradient by the log-probabilities is `dlogps`.
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
    if dlogps.len() != tokens.len() || scores.lse.len() != tokens.len() {
        bail!("head: {} gradients for {} tokens", dlogps.len(), tokens.len())
    }
    let mut kept = match scores.kept {
        Kept::Slopes(slopes) => {
            let d = Tensor::new(dlogps, slopes.device())?.unsqueeze(1)?;
            return Ok((slopes.broadcast_mul(&d)?, None));
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
            None => w.forward(&Rows::new(&h, w.precision())?, None)?,
        };
        let g = log_softmax_backward(logits, here, &scores.lse[range.clone()], &dlogps[range.clone()])?;
        dh.slice_set(&w.backward(&Rows::new(&g, w.precision())?, None)?, 0, range.start)?;
        dw = Some(w.gradient(&g, &h, dw)?);
    }
    Ok((dh, dw))
}

/// The gradient by the logits, in their memory: d logp[token] / d logits = onehot(token) - softmax.
fn log_softmax_backward(logits: Tensor, tokens: &[u32], lse: &[f32], dlogps: &[f32]) -> Result<Tensor> {
    if !has_kernels(&logits) {
        let column = |x: &[f32]| Tensor::new(x, logits.device())?.unsqueeze(1);
        let (p, d) = (logits.broadcast_sub(&column(lse)?)?.exp()?, column(dlogps)?);
        return p.broadcast_mul(&d.neg()?)?.scatter_add(&Tensor::new(tokens, logits.device())?.unsqueeze(1)?, &d, 1);
    }
    let (vocab, level) = (logits.dim(1)?, Level::best());
    update(&logits, |logits| {
        logits.par_chunks_mut(vocab).zip(tokens).zip(lse.par_iter().zip(dlogps)).for_each(
            |((row, token), (lse, d))| {
                simd::exp_scale(level, row, 1.0, *lse, -d);
                row[*token as usize] += d;
            },
        );
        Ok(())
    })?;
    Ok(logits)
}

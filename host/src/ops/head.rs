//! Log-probabilities of tokens from hidden states, in chunks: the matrix [tokens, vocabulary] never exists as a whole.
//!
//! Forward and backward are plain functions: between them the caller turns log-probabilities into their gradient.

use super::{
    buffer::{Matrix, gemm, uninit, with},
    simd::{self, Level},
};
use candle_core::{D, Result, Tensor, bail};
use rayon::prelude::*;

/// Log-probabilities, and what the backward pass needs besides.
#[derive(Debug, Clone)]
pub struct Scores {
    /// Log-probability of each token.
    pub logps: Vec<f32>,
    /// log-sum-exp of each row of logits.
    lse: Vec<f32>,
}

/// Logits held at a time: rows such that this many numbers suffice, but enough rows for a fast product.
const LOGITS: usize = 1 << 24;

fn chunk(vocab: usize) -> usize {
    (LOGITS / vocab).clamp(32, 256)
}

fn check(hidden: &Tensor, w: &Tensor, tokens: &[u32]) -> Result<(usize, usize)> {
    let ((n, d), (vocab, dw)) = (hidden.dims2()?, w.dims2()?);
    if n != tokens.len() || d != dw || tokens.iter().any(|t| *t as usize >= vocab) {
        bail!("head: hidden [{n}, {d}] and weight [{vocab}, {dw}] do not fit {} tokens", tokens.len())
    }
    Ok((d, vocab))
}

/// `log softmax(hidden wᵀ)` of one token each: hidden [n, d], w [vocabulary, d], n tokens. No graph.
pub fn score(hidden: &Tensor, w: &Tensor, tokens: &[u32]) -> Result<Scores> {
    let (d, vocab) = check(hidden, w, tokens)?;
    if !hidden.device().is_cpu() {
        return plain_score(hidden, w, tokens);
    }
    let (n, rows, level) = (tokens.len(), chunk(vocab), Level::best());
    let (mut logps, mut lse) = (vec![0.0; n], vec![0.0; n]);
    with([&hidden.contiguous()?, &w.contiguous()?], |[hidden, w]| {
        // SAFETY: the product writes the rows that are read.
        let mut logits = unsafe { uninit(rows.min(n) * vocab) };
        for start in (0..n).step_by(rows) {
            let here = start..n.min(start + rows);
            logits_of(&hidden[start * d..here.end * d], w, d, &mut logits);
            let outputs = logps[here.clone()].par_iter_mut().zip(&mut lse[here.clone()]);
            logits.par_chunks_mut(vocab).zip(outputs.zip(&tokens[here])).for_each(|(row, ((logp, lse), token))| {
                let max = simd::scale_max(level, row, 1.0);
                *lse = max + simd::exp_sum(level, row, max).ln();
                *logp = row[*token as usize] - *lse;
            });
        }
        Ok(())
    })?;
    Ok(Scores { logps, lse })
}

fn logits_of(hidden: &[f32], w: &[f32], d: usize, out: &mut [f32]) {
    let (rows, vocab) = (hidden.len() / d, w.len() / d);
    gemm(out, vocab, Matrix::new(hidden, rows, d, d), Matrix::new(w, vocab, d, d).t(), false, true);
}

/// Gradients by hidden and, if `want_dw`, by w, of a loss whose gradient by the log-probabilities is `dlogps`.
///
/// The logits are computed again.
pub fn score_backward(
    hidden: &Tensor,
    w: &Tensor,
    tokens: &[u32],
    scores: &Scores,
    dlogps: &[f32],
    want_dw: bool,
) -> Result<(Tensor, Option<Tensor>)> {
    let (d, vocab) = check(hidden, w, tokens)?;
    if dlogps.len() != tokens.len() || scores.lse.len() != tokens.len() {
        bail!("head: {} gradients for {} tokens", dlogps.len(), tokens.len())
    }
    if !hidden.device().is_cpu() {
        return plain_score_backward(hidden, w, tokens, scores, dlogps, want_dw);
    }
    let (n, rows, level) = (tokens.len(), chunk(vocab), Level::best());
    // SAFETY: every chunk's product writes its rows.
    let mut dh = unsafe { uninit(n * d) };
    let mut dw = want_dw.then(|| vec![0.0; vocab * d]);
    with([&hidden.contiguous()?, &w.contiguous()?], |[hidden, w]| {
        // SAFETY: the product writes the rows that are read.
        let mut logits = unsafe { uninit(rows.min(n) * vocab) };
        for start in (0..n).step_by(rows) {
            let here = start..n.min(start + rows);
            let h = &hidden[start * d..here.end * d];
            logits_of(h, w, d, &mut logits);
            // d logp[token] / d logits = onehot(token) - softmax
            logits.par_chunks_mut(vocab).zip(here.clone()).for_each(|(row, i)| {
                simd::exp_scale(level, row, 1.0, scores.lse[i], -dlogps[i]);
                row[tokens[i] as usize] += dlogps[i];
            });
            let g = Matrix::new(&logits, here.len(), vocab, vocab);
            gemm(&mut dh[start * d..here.end * d], d, g, Matrix::new(w, vocab, d, d), false, true);
            if let Some(dw) = &mut dw {
                gemm(dw, d, g.t(), Matrix::new(h, here.len(), d, d), start > 0, true);
            }
        }
        Ok(())
    })?;
    let device = hidden.device();
    Ok((Tensor::from_vec(dh, (n, d), device)?, dw.map(|dw| Tensor::from_vec(dw, (vocab, d), device)).transpose()?))
}

/// [`score`] in candle's operations.
pub fn plain_score(hidden: &Tensor, w: &Tensor, tokens: &[u32]) -> Result<Scores> {
    let (_, vocab) = check(hidden, w, tokens)?;
    let mut scores = Scores { logps: vec![], lse: vec![] };
    for (i, tokens) in tokens.chunks(chunk(vocab)).enumerate() {
        let logits = hidden.narrow(0, i * chunk(vocab), tokens.len())?.matmul(&w.t()?)?;
        let max = logits.max_keepdim(D::Minus1)?;
        let lse = (logits.broadcast_sub(&max)?.exp()?.sum_keepdim(D::Minus1)?.log()? + max)?;
        let index = Tensor::new(tokens, hidden.device())?.unsqueeze(1)?;
        scores.logps.extend((logits.gather(&index, 1)? - &lse)?.flatten_all()?.to_vec1::<f32>()?);
        scores.lse.extend(lse.flatten_all()?.to_vec1::<f32>()?);
    }
    Ok(scores)
}

/// [`score_backward`] in candle's operations.
pub fn plain_score_backward(
    hidden: &Tensor,
    w: &Tensor,
    tokens: &[u32],
    scores: &Scores,
    dlogps: &[f32],
    want_dw: bool,
) -> Result<(Tensor, Option<Tensor>)> {
    let (_, vocab) = check(hidden, w, tokens)?;
    let (mut dh, mut dw) = (vec![], None);
    let column = |x: &[f32]| Tensor::new(x, hidden.device())?.unsqueeze(1);
    for (i, here) in tokens.chunks(chunk(vocab)).enumerate() {
        let rows = i * chunk(vocab)..i * chunk(vocab) + here.len();
        let h = hidden.narrow(0, rows.start, rows.len())?;
        let p = h.matmul(&w.t()?)?.broadcast_sub(&column(&scores.lse[rows.clone()])?)?.exp()?;
        let d = column(&dlogps[rows])?;
        let index = Tensor::new(here, hidden.device())?.unsqueeze(1)?;
        let g = p.broadcast_mul(&d.neg()?)?.scatter_add(&index, &d, 1)?;
        dh.push(g.matmul(w)?);
        if want_dw {
            let new = g.t()?.matmul(&h)?;
            dw = Some(match dw {
                Some(old) => (old + new)?,
                None => new,
            });
        }
    }
    Ok((Tensor::cat(&dh, 0)?, dw))
}

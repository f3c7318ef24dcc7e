//! Log-softmax of rows of logits at one token each, forward and backward.

use super::{
    buffer::{update, with},
    simd::{self, Level},
};
use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// Log-probabilities of the tokens, and the rows' log-sum-exps.
pub fn log_softmax(logits: &Tensor, tokens: &[u32]) -> Result<(Vec<f32>, Vec<f32>)> {
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

/// The gradient with respect to the logits, in their memory.
pub fn log_softmax_backward(logits: Tensor, tokens: &[u32], lse: &[f32], dlogps: &[f32]) -> Result<Tensor> {
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

//! Likelihoods of responses after soft prefixes, and their gradients: what an encoder learns from whose decoder is the
//! frozen policy.

use super::request::{FAULT, check_len, take, tokens};
use crate::{
    Error, Result, interrupt,
    model::{PASS_TOKENS, Pack, Policy, cut},
};
use ldalign_sdk::Sample;

/// `nll[i]`: negative log-likelihood in nats of response i after prompt i and prefix i, [k, hidden] of `prefixes`;
/// where `gradients` is not empty, its gradient with respect to that prefix. A sample's numbers do not depend on the
/// samples beside it.
pub fn nll(
    policy: &Policy,
    samples: &[Sample<'_>],
    prefixes: &[f32],
    nll: &mut [f32],
    gradients: &mut [f32],
) -> Result<()> {
    let width = policy.hidden_size();
    let rows = prefixes.len() / samples.len().max(1) / width;
    check_len("likelihoods", nll.len(), samples.len())?;
    if prefixes.len() != samples.len() * rows * width {
        let what =
            format!("{} numbers are not prefixes of {} samples, {width} numbers a row", prefixes.len(), samples.len());
        return Err(Error::new(FAULT, what));
    }
    if !gradients.is_empty() {
        check_len("gradients", gradients.len(), prefixes.len())?;
    }
    if let Some(s) = samples.iter().find(|s| s.response_ids.is_empty() || s.prompt_ids.len() + rows == 0) {
        let what =
            if s.response_ids.is_empty() { "a response has no token" } else { "nothing comes before a response" };
        return Err(Error::new(FAULT, what));
    }

    let wants_gradients = !gradients.is_empty();
    let most = if wants_gradients { policy.pass_tokens() } else { PASS_TOKENS };
    let (mut nll, mut gradients, mut start) = (nll, gradients, 0);
    for samples in cut(samples, most, |s| tokens(s) + rows) {
        interrupt::check()?;
        let (mut pack, mut targets) = (Pack::default(), vec![]);
        for sample in samples {
            targets.extend(pack.push_soft(sample.prompt_ids, rows, sample.response_ids));
        }
        let inputs_embeds = &prefixes[start..][..samples.len() * rows * width];
        start += inputs_embeds.len();
        let logps = if wants_gradients {
            let mut seen = vec![];
            let gradient = policy.soft_gradient(&pack, inputs_embeds, &targets, |logps| {
                seen = logps.to_vec();
                Ok(vec![-1.0; logps.len()])
            })?;
            take(&mut gradients, inputs_embeds.len()).copy_from_slice(&gradient);
            seen
        } else {
            policy.logps_soft(&pack, inputs_embeds, &targets)?
        };
        let mut logps = logps.iter();
        for (nll, sample) in take(&mut nll, samples.len()).iter_mut().zip(samples) {
            // f64 sums: long responses lose nothing.
            *nll = -logps.by_ref().take(sample.response_ids.len()).map(|l| f64::from(*l)).sum::<f64>() as f32;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

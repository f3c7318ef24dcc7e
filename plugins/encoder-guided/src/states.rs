//! The policy's states of responses.

use candle_core::{Device, Result, Tensor};
use ldalign_sdk::{Error, Host, Sample};

/// States after `layer` layers of each response's tokens, `hidden` numbers a token.
pub fn response_states(
    host: &Host,
    samples: &[Sample<'_>],
    layer: usize,
    hidden: usize,
) -> std::result::Result<Vec<Vec<f32>>, Error> {
    if samples.iter().any(|s| s.response_ids.is_empty()) {
        return Err(Error::input("a sample has no response token"));
    }
    let tokens = |s: &Sample<'_>| s.prompt_ids.len() + s.response_ids.len();
    let mut states = vec![0.0; samples.iter().map(tokens).sum::<usize>() * hidden];
    host.token_states(samples, layer, &mut states)?;
    let mut rest = &states[..];
    let mut next = |s: &Sample<'_>| {
        let sample;
        (sample, rest) = rest.split_at(tokens(s) * hidden);
        sample[s.prompt_ids.len() * hidden..].to_vec()
    };
    Ok(samples.iter().map(&mut next).collect())
}

/// States as a tensor `[tokens, hidden]`.
pub fn tensor(states: Vec<f32>, hidden: usize) -> Result<Tensor> {
    Tensor::from_vec(states, ((), hidden), &Device::Cpu)
}

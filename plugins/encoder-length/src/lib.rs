//! The latent of a sample is the number of its response's tokens, so that the distance of two responses is their
//! difference in length.
//!
//! No way to find good latents: an ablation, against which those that should carry more than length are held.

use ldalign_sdk::{Encoder, Error, Host, LatentShape, NoOptions, Sample};

/// Counts tokens.
pub struct Length;

impl Encoder for Length {
    const ID: &'static str = "length";
    const SUMMARY: &'static str = "the number of the response's tokens, an ablation";
    type Options = NoOptions;

    fn new(_: NoOptions, _: Host) -> Result<Self, Error> {
        Ok(Self)
    }

    fn shape(&self) -> LatentShape {
        LatentShape { slots: 1, dim: 1 }
    }

    fn encode(&self, samples: &[Sample<'_>], out: &mut [f32]) -> Result<(), Error> {
        out.iter_mut().zip(samples).for_each(|(out, sample)| *out = sample.response_ids.len() as f32);
        Ok(())
    }
}

ldalign_sdk::export_plugin! { encoders: [Length] }

#[cfg(test)]
ldalign_conformance::conforms!();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latent_is_the_number_of_response_tokens() -> Result<(), Error> {
        let encoder = Length::new(NoOptions {}, Host::stand_in())?;
        let sample = |response_ids| Sample { prompt: "p", response: "r", prompt_ids: &[1, 2, 3], response_ids };
        let mut out = [f32::NAN; 3];
        encoder.encode(&[sample(&[7, 8]), sample(&[]), sample(&[9; 100])], &mut out)?;
        assert_eq!(out, [2.0, 0.0, 100.0]);
        Ok(())
    }
}

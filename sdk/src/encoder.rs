//! The encoder kind: from prompt and response to a latent.

use crate::{Corpus, Error, Host, LatentShape, PluginOptions};

/// One prompt with one response, as text and as the policy's token ids. Valid during the call only.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// The prompt: the contents of the conversation's turns so far, a blank line between them, without template or
    /// roles.
    pub prompt: &'a str,
    /// The response, without end token.
    pub response: &'a str,
    /// The prompt's token ids under the policy's tokenizer.
    pub prompt_ids: &'a [u32],
    /// The response's token ids, with the end token where the response has one.
    pub response_ids: &'a [u32],
}

/// Numbers an encoder reports after [`Encoder::fit`], by name, such as `nll_with_latent` (nats per token).
pub type FitReport = Vec<(String, f64)>;

/// Turns samples into latents of one fixed shape.
pub trait Encoder: Sized + Send + Sync + 'static {
    /// Name by which a config chooses this encoder.
    const ID: &'static str;
    /// One sentence for listings.
    const SUMMARY: &'static str;
    /// Typed options; see [`crate::NoOptions`] for none.
    type Options: PluginOptions;

    // ---- set-up, once
    /// Builds the encoder. Called with the model's facts at hand; must not do long work.
    fn new(options: Self::Options, host: Host) -> Result<Self, Error>;
    /// Shape of every latent, fixed from now on.
    fn shape(&self) -> LatentShape;

    // ---- once a round
    /// Learns from the round's samples, golden and generated, read in batches. Warm start: what earlier rounds learned
    /// is loaded before.
    fn fit(&mut self, _corpus: &Corpus<'_>) -> Result<FitReport, Error> {
        Ok(FitReport::new())
    }

    // ---- hot path
    /// Writes one latent per sample into `out` (`samples.len() * shape().len()` numbers). A sample's latent must not
    /// depend on its neighbours.
    fn encode(&self, samples: &[Sample<'_>], out: &mut [f32]) -> Result<(), Error>;

    // ---- state
    /// Bytes that [`load`](Self::load) turns into the same encoder; empty when `fit` learns nothing.
    fn save(&self) -> Result<Vec<u8>, Error> {
        Ok(Vec::new())
    }
    /// Restores what [`save`](Self::save) wrote.
    fn load(&mut self, _state: &[u8]) -> Result<(), Error> {
        Ok(())
    }
}

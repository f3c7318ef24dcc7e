//! The guiding model of the paper (arXiv 2404.06390): an encoder phi reads prompt and response and writes a latent, a
//! decoder psi reconstructs the response from the prompt and the latent, and both learn on golden and generated
//! responses alike by `-E[log p_psi(y | x, phi(x, y)) + log p_psi(y' | x, phi(x, y'))]`.
//!
//! `vocabulary` turns samples into rows of an embedding table, `network` is phi and psi, `fit` trains and measures
//! them, `state` saves them.

mod fit;
mod network;
mod state;
mod vocabulary;

use ldalign_guiding::{check_options, tensor_fault};
use ldalign_sdk::{Corpus, Encoder, Error, FitReport, Host, LatentShape, PluginOptions, Sample};
use network::{Architecture, Batch, Network};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;
use vocabulary::Vocabulary;

/// Size and training of the guiding model.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Width of the transformers and numbers per latent slot; even, and a multiple of `heads`.
    #[schemars(range(min = 1))]
    pub dim: usize,
    /// Layers of the encoder, and of the decoder.
    #[schemars(range(min = 1))]
    pub layers: usize,
    /// Attention heads.
    #[schemars(range(min = 1))]
    pub heads: usize,
    /// Vectors per latent.
    #[schemars(range(min = 1))]
    pub slots: usize,
    /// Token ids with an embedding of their own: the most frequent of the first fit; the others share one.
    #[schemars(range(min = 1))]
    pub vocabulary: usize,
    /// Tokens kept of a prompt (its end) and of a response (its beginning).
    #[schemars(range(min = 1))]
    pub max_tokens: usize,
    /// Training steps a round; 0 leaves the guiding model untrained.
    pub steps: usize,
    /// Samples in a training step.
    #[schemars(range(min = 1))]
    pub batch_size: usize,
    /// Peak learning rate of AdamW, after a warm-up of a tenth of the steps; then it falls to 0 in a line.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub learning_rate: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dim: 64,
            layers: 2,
            heads: 4,
            slots: 4,
            vocabulary: 4096,
            max_tokens: 256,
            steps: 300,
            batch_size: 16,
            learning_rate: 2e-3,
        }
    }
}

impl PluginOptions for Options {
    fn validate(&self) -> Result<(), Error> {
        let positive = [
            ("dim", self.dim),
            ("layers", self.layers),
            ("heads", self.heads),
            ("slots", self.slots),
            ("vocabulary", self.vocabulary),
            ("max_tokens", self.max_tokens),
            ("batch_size", self.batch_size),
        ];
        check_options(&positive, self.learning_rate)?;
        if !self.dim.is_multiple_of(self.heads) || !self.dim.is_multiple_of(2) {
            return Err(Error::options(format!(
                "dim {} must be even and a multiple of heads {}",
                self.dim, self.heads
            )));
        }
        Ok(())
    }
}

impl Options {
    fn architecture(&self) -> Architecture {
        Architecture { dim: self.dim, layers: self.layers, heads: self.heads, slots: self.slots }
    }
}

/// What messages call it.
const OF: &str = "autoencoder";

/// What fitting learns.
struct Guide {
    vocabulary: Vocabulary,
    network: Network,
}

/// The guiding model; its encoder makes the latents.
pub struct Autoencoder {
    options: Options,
    host: Host,
    threads: rayon::ThreadPool,
    /// None before the first fit.
    guide: Option<Guide>,
}

impl Encoder for Autoencoder {
    const ID: &'static str = "autoencoder";
    const SUMMARY: &'static str =
        "a small transformer auto-encoder trained to reconstruct golden and generated responses";
    type Options = Options;

    fn new(options: Options, host: Host) -> Result<Self, Error> {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(host.threads()).build();
        let threads = threads.map_err(|e| Error::failed(format!("cannot start threads: {e}")))?;
        Ok(Self { options, host, threads, guide: None })
    }

    fn shape(&self) -> LatentShape {
        LatentShape { slots: self.options.slots, dim: self.options.dim }
    }

    fn fit(&mut self, corpus: &Corpus<'_>) -> Result<FitReport, Error> {
        if corpus.is_empty() {
            return Err(Error::input("the autoencoder learns from the round's samples, and there is none"));
        }
        let guide = match self.guide.take() {
            Some(learned_before) => learned_before,
            None => {
                let vocabulary = fit::vocabulary(corpus, self.options.vocabulary)?;
                let network = Network::fresh(self.options.architecture(), vocabulary.rows(), self.host.seed());
                Guide { vocabulary, network: network.map_err(tensor_fault)? }
            }
        };
        let report = self.threads.install(|| fit::fit(&guide, &self.options, &self.host, corpus))?;
        self.guide = Some(guide);
        Ok(report)
    }

    /// Samples go side by side, each alone: none sees padding or a neighbour.
    fn encode(&self, samples: &[Sample<'_>], out: &mut [f32]) -> Result<(), Error> {
        let guide = self.guide.as_ref().ok_or_else(|| {
            Error::input("the autoencoder has learned nothing yet: fit it, or load a fitted state, before encoding")
        })?;
        self.threads.install(|| {
            out.par_chunks_exact_mut(self.shape().len()).zip(samples).try_for_each(|(out, sample)| {
                let sequence = guide.vocabulary.sequence(sample, self.options.max_tokens);
                let latent = Batch::new(&[sequence]).and_then(|batch| guide.network.encode(&batch));
                let latent = latent.and_then(|l| l.flatten_all()?.to_vec1::<f32>()).map_err(tensor_fault)?;
                out.copy_from_slice(&latent);
                Ok(())
            })
        })
    }

    fn save(&self) -> Result<Vec<u8>, Error> {
        self.guide.as_ref().map_or(Ok(Vec::new()), state::to_bytes)
    }

    fn load(&mut self, state: &[u8]) -> Result<(), Error> {
        self.guide = if state.is_empty() { None } else { Some(state::from_bytes(state, self.options.architecture())?) };
        Ok(())
    }
}

ldalign_sdk::export_plugin! { encoders: [Autoencoder] }

#[cfg(test)]
ldalign_conformance::conforms! { "autoencoder": { "steps": 2, "dim": 16, "layers": 1, "max_tokens": 32 } }

#[cfg(test)]
mod tests;

//! The guiding auto-encoder of the paper (arXiv 2404.06390) with the policy as its decoder: an encoder phi reads the
//! policy's states of prompt and response and writes a latent, a projection makes soft-prefix embeddings of it, and the
//! decoder psi is the frozen policy, which reads prompt and prefix and must find the response likely. phi and the
//! projection learn on golden and generated responses alike by
//! `-E[log p_psi(y | x, phi(x, y)) + log p_psi(y' | x, phi(x, y'))]`.
//!
//! The host has the policy: it gives the states, and the likelihoods with their gradients with respect to the prefix.
//! `states` asks for the first, `network` is phi and the projection, `fit` trains and measures them.

mod fit;
mod network;
mod states;

use fit::Fit;
use ldalign_guiding::{
    check_options,
    state::{self, broken},
    tensor_fault,
};
use ldalign_sdk::{Corpus, Encoder, Error, FitReport, Host, LatentShape, Layer, OwnedSample, PluginOptions, Sample};
use network::{Architecture, Network};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;

/// Size and training of the guiding model.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Layer of the policy whose states phi reads.
    pub layer: Layer,
    /// Width of phi and numbers per latent slot; a multiple of `heads`.
    #[schemars(range(min = 1))]
    pub dim: usize,
    /// Layers of phi.
    #[schemars(range(min = 1))]
    pub layers: usize,
    /// Attention heads of phi.
    #[schemars(range(min = 1))]
    pub heads: usize,
    /// Vectors per latent.
    #[schemars(range(min = 1))]
    pub slots: usize,
    /// Embeddings that stand between prompt and response where the policy reads the latent.
    #[schemars(range(min = 1))]
    pub prefix: usize,
    /// Tokens kept of a prompt (its end) and of a response (its beginning).
    #[schemars(range(min = 1))]
    pub max_tokens: usize,
    /// Training steps a round; 0 leaves phi untrained.
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
            layer: Layer::default(),
            dim: 64,
            layers: 1,
            heads: 4,
            slots: 4,
            prefix: 4,
            max_tokens: 256,
            steps: 50,
            batch_size: 8,
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
            ("prefix", self.prefix),
            ("max_tokens", self.max_tokens),
            ("batch_size", self.batch_size),
        ];
        check_options(&positive, self.learning_rate)?;
        if !self.dim.is_multiple_of(self.heads) {
            return Err(Error::options(format!("dim {} must be a multiple of heads {}", self.dim, self.heads)));
        }
        Ok(())
    }
}

impl Options {
    /// The end of the prompt and the beginning of the response.
    fn cut<'a>(&self, sample: &'a OwnedSample) -> Sample<'a> {
        self.cut_view(sample.as_sample())
    }

    fn cut_view<'a>(&self, sample: Sample<'a>) -> Sample<'a> {
        let Sample { prompt_ids, response_ids, .. } = sample;
        Sample {
            prompt_ids: &prompt_ids[prompt_ids.len().saturating_sub(self.max_tokens)..],
            response_ids: &response_ids[..response_ids.len().min(self.max_tokens)],
            ..sample
        }
    }
}

/// What messages call it.
const OF: &str = "guided encoder";
/// Samples whose states are held at a time.
const STATES: usize = 16;

/// phi; its decoder is the policy.
pub struct Guided {
    options: Options,
    host: Host,
    threads: rayon::ThreadPool,
    architecture: Architecture,
    layer: usize,
    /// None before the first fit.
    network: Option<Network>,
}

impl Encoder for Guided {
    const ID: &'static str = "guided";
    const SUMMARY: &'static str =
        "a small transformer over the policy's states, trained so that its latent tells the policy the response";
    type Options = Options;

    fn new(options: Options, host: Host) -> Result<Self, Error> {
        let model = host.model()?;
        let layer = options.layer.resolve(model.num_layers)?;
        let Options { dim, layers, heads, slots, prefix, .. } = options;
        let architecture = Architecture { hidden: model.hidden_size, dim, layers, heads, slots, prefix };
        let threads = rayon::ThreadPoolBuilder::new().num_threads(host.threads()).build();
        let threads = threads.map_err(|e| Error::failed(format!("cannot start threads: {e}")))?;
        Ok(Self { options, host, threads, architecture, layer, network: None })
    }

    fn shape(&self) -> LatentShape {
        LatentShape { slots: self.options.slots, dim: self.options.dim }
    }

    fn fit(&mut self, corpus: &Corpus<'_>) -> Result<FitReport, Error> {
        let learned_before = self.network.take();
        let Self { options, host, threads, layer, .. } = &*self;
        let fit = Fit { options, host, threads, corpus, layer: *layer };
        let network = match learned_before {
            Some(network) => network,
            None => fit.fresh(self.architecture)?,
        };
        let report = fit.train(&network)?;
        self.network = Some(network);
        Ok(report)
    }

    /// Each sample alone: none sees a neighbour.
    fn encode(&self, samples: &[Sample<'_>], out: &mut [f32]) -> Result<(), Error> {
        let network = self.network.as_ref().ok_or_else(|| {
            Error::input("the guided encoder has learned nothing yet: fit it, or load a fitted state, before encoding")
        })?;
        let (each, hidden) = (self.shape().len(), self.architecture.hidden);
        for (samples, out) in samples.chunks(STATES).zip(out.chunks_mut(STATES * each)) {
            let samples: Vec<Sample<'_>> = samples.iter().map(|s| self.options.cut_view(*s)).collect();
            let states = states::response_states(&self.host, &samples, self.layer, hidden)?;
            let encode = |(out, states): (&mut [f32], Vec<f32>)| -> candle_core::Result<()> {
                let latent = network.encode(&states::tensor(states, hidden)?)?;
                out.copy_from_slice(&latent.flatten_all()?.to_vec1::<f32>()?);
                Ok(())
            };
            self.threads
                .install(|| out.par_chunks_exact_mut(each).zip(states).try_for_each(encode))
                .map_err(tensor_fault)?;
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<u8>, Error> {
        self.network.as_ref().map_or(Ok(Vec::new()), |n| state::to_bytes(n.tensors(), &n.architecture()))
    }

    fn load(&mut self, saved: &[u8]) -> Result<(), Error> {
        self.network = None;
        if !saved.is_empty() {
            let tensors = state::from_bytes(saved, &self.architecture, OF)?;
            let network = Network::restored(self.architecture, tensors);
            self.network = Some(network.map_err(|e| broken(OF, &tensor_fault(e)))?);
        }
        Ok(())
    }
}

ldalign_sdk::export_plugin! { encoders: [Guided] }

#[cfg(test)]
ldalign_conformance::conforms! { "guided": { "steps": 2, "dim": 16, "max_tokens": 32 } }

#[cfg(test)]
mod tests;

//! Latents from a BERT-family sentence encoder (such as all-MiniLM-L6-v2) in a local directory: mean of the last
//! hidden states over the tokens, or that of the first token, scaled to length 1, as sentence-transformers does.

mod bert;
mod model;
mod recipe;

use ldalign_sdk::{Encoder, Error, Host, InputPath, LatentShape, PluginOptions, Sample};
use model::SentenceModel;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which model reads what.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Directory with config.json, model.safetensors and tokenizer.json of a BERT or RoBERTa model.
    pub model_dir: InputPath,
    /// Tokens read of a text, its beginning; the special tokens count.
    #[serde(default = "max_tokens")]
    #[schemars(range(min = 4))]
    pub max_tokens: usize,
    /// What is read of a sample.
    #[serde(default)]
    pub input: Input,
}

fn max_tokens() -> usize {
    256
}

impl PluginOptions for Options {
    fn validate(&self) -> Result<(), Error> {
        if self.max_tokens < 4 {
            return Err(Error::options(format!("max_tokens {} leaves no room for text: at least 4", self.max_tokens)));
        }
        Ok(())
    }
}

/// The text or texts of a sample that the model sees.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Input {
    /// The response alone: the two responses of a pair share their prompt.
    #[default]
    Response,
    /// Prompt and response as a pair of sentences; the longer one is cut first.
    Pair,
}

/// A sentence encoder, never trained.
pub struct Sentence {
    model: SentenceModel,
    input: Input,
    /// Samples are encoded side by side, each alone, so that none sees padding or a neighbour.
    threads: rayon::ThreadPool,
}

impl Encoder for Sentence {
    const ID: &'static str = "sentence";
    const SUMMARY: &'static str = "a BERT-family sentence encoder from a local directory: mean pooling, length 1";
    type Options = Options;

    fn new(options: Options, host: Host) -> Result<Self, Error> {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(host.threads()).build();
        Ok(Self {
            model: SentenceModel::load(&options.model_dir, options.max_tokens)?,
            input: options.input,
            threads: threads.map_err(|e| Error::failed(format!("cannot start threads: {e}")))?,
        })
    }

    fn shape(&self) -> LatentShape {
        LatentShape { slots: 1, dim: self.model.dim() }
    }

    /// Nothing is learned; the state says which model made the latents.
    fn save(&self) -> Result<Vec<u8>, Error> {
        Ok(self.model.fingerprint().to_le_bytes().into())
    }

    fn load(&mut self, state: &[u8]) -> Result<(), Error> {
        if state == self.model.fingerprint().to_le_bytes() {
            return Ok(());
        }
        Err(Error::state("model_dir holds other files than in the round before; latents of two models do not compare"))
    }

    fn encode(&self, samples: &[Sample<'_>], out: &mut [f32]) -> Result<(), Error> {
        self.threads.install(|| {
            out.par_chunks_exact_mut(self.model.dim()).zip(samples).try_for_each(|(out, sample)| {
                let latent = match self.input {
                    Input::Response => self.model.embed(sample.response)?,
                    Input::Pair => self.model.embed((sample.prompt, sample.response))?,
                };
                out.copy_from_slice(&latent);
                Ok(())
            })
        })
    }
}

ldalign_sdk::export_plugin! { encoders: [Sentence] }

#[cfg(test)]
ldalign_conformance::conforms! { "sentence": { "model_dir": "fixtures/model", "max_tokens": 16 } }

#[cfg(test)]
mod tests;

//! One text, or a pair, through tokenizer and BERT to a vector of length 1.

use crate::{
    bert::{Bert, Config},
    recipe::{self, Pooling},
};
use candle_core::{DType, Device};
use candle_nn::VarBuilder;
use ldalign_sdk::Error;
use std::{cell::Cell, fs, path::Path};
use tokenizers::{EncodeInput, Tokenizer, TruncationParams};

/// Tokenizer and weights of a sentence encoder.
pub struct SentenceModel {
    tokenizer: Tokenizer,
    model: Bert,
    pooling: Pooling,
    dim: usize,
    fingerprint: u64,
}

impl SentenceModel {
    /// Reads config.json, tokenizer.json and model.safetensors; every fault names the file.
    pub fn load(dir: &Path, max_tokens: usize) -> Result<Self, Error> {
        let fingerprint = Cell::new(0xcbf2_9ce4_8422_2325_u64);
        let read = |name: &str| {
            let path = dir.join(name);
            let bytes = fs::read(&path);
            // FNV-1a over eight bytes at a time: whether a later run finds the same files, no more.
            for word in bytes.iter().flat_map(|b| b.chunks(8)) {
                let mut eight = [0; 8];
                eight[..word.len()].copy_from_slice(word);
                let mixed = (fingerprint.get() ^ u64::from_le_bytes(eight)).wrapping_mul(0x0100_0000_01b3);
                fingerprint.set(mixed.rotate_left(29));
            }
            bytes.map_err(|e| {
                Error::options(format!(
                    "cannot read {}: {e}; model_dir must hold config.json, model.safetensors and tokenizer.json",
                    path.display()
                ))
            })
        };
        let unfit = |name: &str, why: &dyn std::fmt::Display| {
            Error::options(format!("{} is not usable: {why}", dir.join(name).display()))
        };

        let within = |e: Error| Error::options(format!("{}: {}", dir.display(), e.message()));
        let config = Config::read(&read("config.json")?).map_err(within)?;
        let pooling = recipe::read(dir).map_err(within)?;
        let (dim, limit) = (config.hidden_size, config.max_tokens());
        if max_tokens > limit {
            return Err(Error::options(format!("max_tokens {max_tokens} is more than the model's {limit} positions")));
        }

        let mut tokenizer = Tokenizer::from_bytes(read("tokenizer.json")?).map_err(|e| unfit("tokenizer.json", &e))?;
        // The file's own padding and truncation are those of whoever saved it.
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(Some(TruncationParams { max_length: max_tokens, ..Default::default() }))
            .map_err(|e| unfit("tokenizer.json", &e))?;

        let weights = VarBuilder::from_buffered_safetensors(read("model.safetensors")?, DType::F32, &Device::Cpu)
            .map_err(|e| unfit("model.safetensors", &first_line(&e)))?;
        let model = Bert::load(weights, config).map_err(|e| unfit("model.safetensors", &first_line(&e)))?;
        // A mean says nothing of it, so that the states of earlier versions are taken.
        let fingerprint = fingerprint.get() ^ u64::from(pooling == Pooling::Cls);
        Ok(Self { tokenizer, model, pooling, dim, fingerprint })
    }

    /// Tells one set of model files from another.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Numbers of an embedding.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Mean of the last hidden states over all tokens, special ones included, or that of the first token, as the model
    /// asks; scaled to length 1.
    pub fn embed<'t>(&self, text: impl Into<EncodeInput<'t>>) -> Result<Vec<f32>, Error> {
        let tokens = self.tokenizer.encode(text, true).map_err(|e| Error::input(format!("cannot tokenize: {e}")))?;
        if tokens.is_empty() {
            return Err(Error::input("the tokenizer makes no token of a text, and adds no special tokens of its own"));
        }
        let states = self.model.forward(tokens.get_ids(), tokens.get_type_ids());
        let states = states.and_then(|states| states.flatten_all()?.to_vec1::<f32>());
        let states = states.map_err(|e| Error::failed(first_line(&e)))?;
        let pooled = match self.pooling {
            Pooling::Mean => &states,
            Pooling::Cls => &states[..self.dim],
        };
        Ok(mean_of_length_one(pooled, self.dim))
    }
}

/// candle's errors go on with a backtrace where one is enabled.
fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

fn mean_of_length_one(states: &[f32], dim: usize) -> Vec<f32> {
    let mut sum = vec![0.0f64; dim];
    for state in states.chunks_exact(dim) {
        for (sum, &x) in sum.iter_mut().zip(state) {
            *sum += f64::from(x);
        }
    }
    // The mean's divisor cancels against its length.
    let length = sum.iter().map(|x| x * x).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    sum.iter().map(|x| (x / length) as f32).collect()
}

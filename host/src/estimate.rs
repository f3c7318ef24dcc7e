//! How much memory a run will need, in closed form from the model's shape: printed by `check` before anything is loaded.
//!
//! All tensors are f32. With P parameters, of which A are trained, N tokens in the largest training pass (prompts once, their
//! responses after them), S of them in responses, L layers, hidden width h, feed-forward width f, widths a of all query heads
//! and k of all key heads, vocabulary V:
//!
//! - weights: 4 (P + adapters); gradients: 4 A; AdamW's two moments: 8 A;
//! - layer inputs kept for the backward pass: 4 N h (L + 1);
//! - the one layer that is recomputed, its activations and their gradients: 8 N (6 h + 3 a + 3 k + 3 f);
//! - head: rows that predict and their gradients, 24 S h, and one chunk of logits, 4 min(S V, 2^24);
//! - generation, B sequences of up to C tokens: keys and values 8 B C L k, logits 4 B V.
//!
//! Training and generation do not overlap, so the peak is the weights and the larger of the two.

use crate::{
    Result,
    config::{GenerateConfig, TrainConfig},
    model::{ModelConfig, lora_targets},
};
use serde::Serialize;
use std::fmt;

/// Bytes of each part.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// Parameters of the model.
    pub parameters: u64,
    /// Parameters that are trained.
    pub trained: u64,
    /// Weights, adapters included.
    pub weights: u64,
    /// Gradients.
    pub gradients: u64,
    /// Optimizer state.
    pub optimizer: u64,
    /// Kept layer inputs, the layer being recomputed, and the head.
    pub activations: u64,
    /// Keys and values while generating.
    pub generation: u64,
    /// Weights and the larger of training and generation.
    pub peak: u64,
}

/// What the data makes of the largest pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Longest {
    /// Tokens of the longest prompt.
    pub prompt: usize,
    /// Tokens of prompt and responses of the longest row.
    pub row: usize,
    /// Those of its responses.
    pub responses: usize,
}

impl Estimate {
    /// Estimates a run that trains, and generates if it does that. Fails where `train.lora` names modules that the model has not.
    pub fn new(
        model: &ModelConfig,
        train: &TrainConfig,
        generate: Option<&GenerateConfig>,
        longest: Longest,
    ) -> Result<Self> {
        let [h, f, layers, vocab] =
            [model.hidden_size, model.intermediate_size, model.num_layers, model.vocab_size].map(|n| n as u64);
        let (a, k) = ((model.num_heads * model.head_dim) as u64, (model.num_kv_heads * model.head_dim) as u64);
        let linears = model.linears().map(|(name, i, o)| (name.to_owned(), (i, o)));
        let products: u64 = linears.iter().map(|(_, (i, o))| (i * o) as u64).sum();
        let biases = if model.qkv_bias { a + 2 * k } else { 0 };
        let head_norms = if model.qk_norm { 2 * model.head_dim as u64 } else { 0 };
        let tables = if model.tied { 1 } else { 2 } * vocab * h;
        let parameters = tables + layers * (products + biases + head_norms + 2 * h) + h;
        let adapters = match &train.lora {
            Some(lora) => {
                let sizes: usize = lora_targets(lora, &linears)?.iter().map(|(_, (i, o))| i + o).sum();
                layers * (lora.r * sizes) as u64
            }
            None => 0,
        };
        let trained = if adapters > 0 { adapters } else { parameters };
        let batch = train.per_device_train_batch_size as u64;
        let (n, s) = (batch * longest.row as u64, batch * longest.responses as u64);
        let activations = 4 * n * h * (layers + 1)
            + 8 * n * (6 * h + 3 * a + 3 * k + 3 * f)
            + 24 * s * h
            + 4 * (s * vocab).min(1 << 24);
        let generation = generate.map_or(0, |config| {
            let sequences = config.batch_size as u64;
            let length = (longest.prompt + config.max_new_tokens) as u64;
            8 * sequences * length * layers * k + 4 * sequences * vocab
        });
        let (weights, gradients, optimizer) = (4 * (parameters + adapters), 4 * trained, 8 * trained);
        let peak = weights + (gradients + optimizer + activations).max(generation);
        Ok(Self { parameters, trained, weights, gradients, optimizer, activations, generation, peak })
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |bytes: u64| match bytes {
            0..0x10_0000 => format!("{:.0} KiB", bytes as f64 / f64::from(1 << 10)),
            0x10_0000..0x4000_0000 => format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20)),
            _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
        };
        write!(
            f,
            "about {}: weights {}, then the larger of training (gradients {}, optimizer {}, activations {}) and generation ({})",
            size(self.peak),
            size(self.weights),
            size(self.gradients),
            size(self.optimizer),
            size(self.activations),
            size(self.generation)
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{config::LoraConfig, model::Policy};
    use candle_core::Device;
    use std::path::Path;

    #[test]
    fn parameters_are_those_of_the_model() {
        let models = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/models"));
        for name in ["llama", "llama3", "mistral", "qwen2", "qwen3"] {
            let mut policy = Policy::load(&models.join(name), &Device::Cpu).unwrap();
            let model = ModelConfig::of(&models.join(name)).unwrap();
            let estimate = |lora: Option<&LoraConfig>| {
                let train = TrainConfig { lora: lora.cloned(), ..Default::default() };
                Estimate::new(&model, &train, None, Longest::default()).unwrap()
            };
            let full = estimate(None);
            assert_eq!(full.parameters, policy.num_parameters() as u64, "{name}");
            assert_eq!(full.trained, full.parameters);
            let target_modules = vec!["q_proj".into(), "down_proj".into()];
            let lora = LoraConfig { r: 4, target_modules, ..Default::default() };
            policy.add_lora(&lora, 0).unwrap();
            let adapters: usize = policy.trainable().iter().map(|t| t.var.elem_count()).sum();
            assert_eq!(estimate(Some(&lora)).trained, adapters as u64, "{name}");
        }
    }
}

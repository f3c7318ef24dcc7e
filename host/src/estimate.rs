//! How much memory a run will need, in closed form from the model's shape: printed by `check` before anything is
//! loaded.
//!
//! With P parameters, of which A are trained, L layers, hidden width h, feed-forward width f, width k of all key heads,
//! vocabulary V, in bytes (where layers differ, that of the largest counts for all):
//!
//! - weights: 4 each, adapters too; in bf16 frozen matrices have 2, and trained ones a copy that products read, 2 each;
//!   frozen matrices in blocks have the blocks' bytes, such as 0.516 each in NF4;
//! - gradients: 4 A; AdamW's two moments: 8 A;
//! - a pass has N tokens, S of them in responses: as many of a step's as fit the activations' budget, and a whole row
//!   at least. Of every layer it keeps what the backward pass reads or, where that does not fit, the layer's input
//!   (activation checkpointing), `4 N h`;
//! - at the head, it holds logits of up to S tokens and a packed copy of their gradient, and hidden states, 20 S h;
//! - in a layer's backward pass, what that reads and 4 N (2 f + 4 h) of its own;
//! - generation, B sequences of up to C tokens (rounded up to a power of two): keys and values 8 B C L k, logits 4 B V.
//!
//! Gradients come into being as activations go, so the peak of a pass is the largest of three moments: at the head, in
//! the highest layer and in the lowest. Training and generation do not overlap, so the peak of all is the weights and
//! the larger of the two.

use crate::{
    Code, Error, Result,
    config::{GenerateConfig, TrainConfig},
    machine::size,
    model::{EMBEDDING, Footprint, HEAD, ModelConfig, Module, activation_budget, lora_targets},
    ops::{Precision, Wanted, logit_rows},
};
use serde::Serialize;
use std::fmt;

/// Bytes of each part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
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
    /// What a pass needs at its peak beyond all of the above.
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
    /// Estimates a run that trains, and generates if it does that. `brought` is what the model has beyond what its
    /// configuration says. Fails where `train.lora` names modules that the model has not.
    pub fn new(
        model: &ModelConfig,
        brought: &Footprint,
        precision: Precision,
        train: &TrainConfig,
        generate: Option<&GenerateConfig>,
        longest: Longest,
    ) -> Result<Self> {
        let [h, layers, vocab] = [model.hidden_size, model.num_layers, model.vocab_size].map(|n| n as u64);
        let k = (model.num_kv_heads * model.head_dim) as u64;
        let modules = model.modules();
        let products: u64 = modules.iter().map(|m| (m.inputs * m.outputs) as u64).sum();
        let tables = if model.tied { 1 } else { 2 } * vocab * h;
        let parameters: u64 = model.tensors().iter().map(|(_, shape)| shape.iter().product::<usize>() as u64).sum();
        // Of the adapter: trained, and not; whether the head is trained.
        let (adapter, fixed) = match &train.lora {
            Some(lora) => {
                let sizes: usize = lora_targets(lora, &modules)?.iter().map(|m| m.inputs + m.outputs).sum();
                ((lora.r * sizes) as u64, 0)
            }
            None => (brought.trained, brought.fixed),
        };
        let full = adapter + fixed == 0;
        let [own_embedding, own_head] = brought.tables;
        let head = full || own_head || own_embedding && brought.tied;
        let trained = if full { parameters } else { adapter };
        let bf16 = precision == Precision::Bf16;
        let number = if bf16 { 2 } else { 4 };
        let matrix = |name: &str, numbers: u64| brought.blocks.get(name).copied().unwrap_or(number * numbers);
        let linear = |m: &Module| matrix(&format!("{}.weight", m.name), (m.inputs * m.outputs) as u64);
        let frozen = 4 * (parameters - tables - products)
            + modules.iter().map(linear).sum::<u64>()
            + [EMBEDDING, HEAD][..if model.tied { 1 } else { 2 }].iter().map(|t| matrix(t, vocab * h)).sum::<u64>();
        let copies = if bf16 { 2 } else { 0 };
        let weights = match full {
            true => 4 * parameters + copies * (vocab * h + products),
            false => frozen + 4 * (adapter + fixed) + if head { copies * vocab * h } else { 0 },
        };
        let (gradients, optimizer) = (4 * trained, 8 * trained);

        let held = if full { 16 * parameters } else { 16 * adapter + 4 * fixed + frozen };
        let (budget, kept) = (activation_budget(held as usize) as u64, model.kept_bytes() as u64);
        let row = longest.row as u64;
        let step = ((train.per_device_train_batch_size * train.gradient_accumulation_steps) as u64).saturating_mul(row);
        let n = (budget / (kept * layers)).max(row).min(step);
        let s = n * longest.responses as u64 / row.max(1);
        let whole = (budget / (kept * n.max(1))).min(layers);
        let stored = n * (whole * kept + (layers - whole) * 4 * h);
        // Of a pass before, gradients are left.
        let early = match (step > n, head) {
            (true, _) => gradients,
            (false, true) => 4 * vocab * h,
            (false, false) => 0,
        };
        let wanted = if head { Wanted::Both } else { Wanted::Hidden };
        let logits = s.min(logit_rows(vocab as usize, wanted) as u64) * vocab * if bf16 { 6 } else { 8 };
        let transposed = if bf16 && head { 2 * vocab * h } else { 0 };
        let layer = n * model.working_bytes() as u64;
        let moments = [
            early + stored + 4 * n * h + 20 * s * h + logits + transposed,
            early + stored + layer + if whole == 0 { n * kept } else { 0 },
            gradients + n * kept + layer,
        ];
        let activations = moments.into_iter().max().unwrap_or(0).saturating_sub(gradients);

        let generation = generate.map_or(0, |config| {
            let sequences = config.batch_size as u64;
            let length = (longest.prompt + config.max_new_tokens).next_power_of_two().min(model.max_positions) as u64;
            8 * sequences * length * layers * k + 4 * sequences * vocab
        });
        let peak = weights + (gradients + optimizer + activations).max(generation);
        Ok(Self { parameters, trained, weights, gradients, optimizer, activations, generation, peak })
    }

    /// Whether a machine with so many bytes of memory can hold it.
    ///
    /// # Errors
    /// `estimate/memory` where it cannot; nothing where the machine's memory is not known.
    pub fn fits(&self, memory: Option<u64>) -> Result<()> {
        match memory {
            Some(memory) if self.peak > memory => {
                let what = format!("this would hold about {}, and the machine has {}", size(self.peak), size(memory));
                Err(Error::new(Code::EstimateMemory, what).hint(
                    "bf16: true, train.lora, quantize: nf4 with it, a smaller generate.batch_size or data.max_length \
                     take less; for another machine: ldalign check --force",
                ))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
    use crate::{
        config::{LoraConfig, Quantize},
        model::{Kept, ModelDir, Policy},
        ops::Compute,
    };
    use candle_core::Device;
    use std::path::Path;

    #[test]
    fn what_does_not_fit_is_refused() {
        let estimate = Estimate { peak: 3 << 30, ..Estimate::default() };
        assert!(estimate.fits(None).is_ok() && estimate.fits(Some(3 << 30)).is_ok());
        let e = estimate.fits(Some(2 << 30)).unwrap_err();
        assert_eq!(e.message(), "this would hold about 3.0 GiB, and the machine has 2.0 GiB");
    }

    #[test]
    fn frozen_weights_take_what_a_policy_keeps_them_in() {
        let models = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/models"));
        let quantised = ["llama", "qwen2", "gemma3", "biases"].map(|name| (name, Kept::Nf4, Some(Quantize::Nf4)));
        // The first has its matrices in blocks.
        let frozen = ["../import/llama.gguf", "../import/qwen3moe.gguf", "llama", "qwen2", "gemma3", "biases"];
        let frozen = frozen.map(|name| (name, Kept::Frozen, None));
        let all = frozen.into_iter().chain(quantised);
        for ((name, kept, quantize), precision) in
            all.flat_map(|case| [Precision::F32, Precision::Bf16].map(|precision| (case, precision)))
        {
            let mut policy =
                Policy::load_kept(&models.join(name), &Compute::new(&Device::Cpu, precision), kept).unwrap();
            let lora = LoraConfig { r: 4, ..Default::default() };
            policy.add_lora(&lora, 0).unwrap();
            let source = ModelDir::open(&models.join(name)).unwrap();
            let (model, brought) = (source.config().unwrap(), source.footprint(quantize).unwrap());
            let train = TrainConfig { lora: Some(lora), ..Default::default() };
            let estimate = Estimate::new(&model, &brought, precision, &train, None, Longest::default()).unwrap();
            assert_eq!(estimate.weights, policy.weight_bytes() as u64, "{name} {kept:?} {precision:?}");
        }
    }

    #[test]
    fn parameters_are_those_of_the_model() {
        let models = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/models"));
        for name in
            ["llama", "llama3", "mistral", "qwen2", "qwen3", "biases", "qwen3-bias", "smollm3", "gemma3", "qwen3-moe"]
        {
            let mut policy = Policy::load(&models.join(name), &Device::Cpu).unwrap();
            let model = ModelConfig::of(&models.join(name)).unwrap();
            let estimate = |lora: Option<&LoraConfig>| {
                let train = TrainConfig { lora: lora.cloned(), ..Default::default() };
                let brought = Footprint::default();
                Estimate::new(&model, &brought, Precision::F32, &train, None, Longest::default()).unwrap()
            };
            let full = estimate(None);
            assert_eq!(full.parameters, policy.num_parameters() as u64, "{name}");
            assert_eq!(full.trained, full.parameters);
            // With experts adapters go on attention alone.
            let other = if name == "qwen3-moe" { "o_proj" } else { "down_proj" };
            let target_modules = vec!["q_proj".into(), other.into()];
            let lora = LoraConfig { r: 4, target_modules, ..Default::default() };
            policy.add_lora(&lora, 0).unwrap();
            let adapters: usize = policy.trainable().iter().map(|t| t.var.elem_count()).sum();
            assert_eq!(estimate(Some(&lora)).trained, adapters as u64, "{name}");
        }
    }

    /// Adapters as people bring them: with tables of their own, tied or not, and with matrices that are not trained.
    #[test]
    fn adapters_that_are_brought_count_what_they_train() {
        let models = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/models"));
        let longest = Longest { prompt: 8, row: 24, responses: 16 };
        let train = TrainConfig::default();
        for name in ["llama-lora", "tables-lora", "untied-lora", "tied-lora", "mica-lora", "gemma3-lora"] {
            let source = ModelDir::open(&models.join(name)).unwrap();
            let (model, brought) = (source.config().unwrap(), source.footprint(None).unwrap());
            let of = |brought: &Footprint, precision| {
                Estimate::new(&model, brought, precision, &train, None, longest).unwrap()
            };
            let (f32, policy) = (of(&brought, Precision::F32), Policy::load(&models.join(name), &Device::Cpu).unwrap());
            let trained: usize = policy.trainable().iter().map(|t| t.var.elem_count()).sum();
            assert_eq!(f32.trained, trained as u64, "{name}");
            assert_eq!(f32.weights, 4 * policy.num_parameters() as u64, "{name}");
            // A head that is trained has a gradient beside the logits', and in bf16 a copy.
            let head = matches!(name, "tables-lora" | "tied-lora");
            let without = Footprint { tables: [false; 2], ..brought.clone() };
            let more = |precision| {
                let (with, without) = (of(&brought, precision), of(&without, precision));
                (with.activations > without.activations, with.weights > without.weights)
            };
            assert_eq!((more(Precision::F32), more(Precision::Bf16)), ((head, false), (head, head)), "{name}");
        }
    }
}

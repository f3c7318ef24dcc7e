//! The model as the rest of the host sees it.

use super::{Pack, Target};
use crate::{Result, config::LoraConfig};
use candle_core::{Device, Tensor, Var};
use std::{collections::BTreeMap, path::Path};

/// Gradients by parameter name, sorted.
pub type Gradients = BTreeMap<String, Tensor>;

/// A named trainable tensor.
#[derive(Clone)]
pub struct Trainable {
    /// Hugging Face's (or PEFT's) name of the tensor.
    pub name: String,
    /// The tensor, f32.
    pub var: Var,
}

/// Keys and values of sequences being generated, preallocated, one slot a sequence.
pub struct KvCache {}

impl KvCache {
    /// Forgets a slot's sequence so that another can take it.
    pub fn clear(&mut self, _slot: usize) {
        todo!()
    }
    /// Tokens held in a slot.
    pub fn len(&self, _slot: usize) -> usize {
        todo!()
    }
}

/// A decoder-only transformer with its weights, and an adapter if it has one.
pub struct Policy {}

impl Policy {
    /// Loads config.json and safetensors of a Hugging Face directory; an `adapter_config.json` in it loads the base it names plus the adapter.
    pub fn load(_dir: &Path, _device: &Device) -> Result<Self> {
        todo!()
    }
    /// Adds fresh low-rank adapters and freezes everything else. Deterministic in `seed`.
    pub fn add_lora(&mut self, _config: &LoraConfig, _seed: u64) -> Result<()> {
        todo!()
    }
    /// Loads adapter weights saved by [`save`](Self::save) or PEFT.
    pub fn load_adapter(&mut self, _dir: &Path) -> Result<()> {
        todo!()
    }
    /// Adds the adapters into the weights and drops them.
    pub fn merge(&mut self) -> Result<()> {
        todo!()
    }
    /// Writes what was trained: the whole model, or the adapter where there is one (PEFT layout).
    pub fn save(&self, _dir: &Path) -> Result<()> {
        todo!()
    }
    /// The adapter's configuration, if there is one.
    pub fn lora(&self) -> Option<&LoraConfig> {
        todo!()
    }
    /// Trainable tensors, sorted by name.
    pub fn trainable(&self) -> Vec<Trainable> {
        todo!()
    }
    /// Tokens in the vocabulary, rows of the embedding.
    pub fn vocab_size(&self) -> usize {
        todo!()
    }
    /// Width of the hidden states.
    pub fn hidden_size(&self) -> usize {
        todo!()
    }
    /// Number of layers; hidden states exist for 0 (embeddings) ..= this (after the final norm).
    pub fn num_layers(&self) -> usize {
        todo!()
    }
    /// Longest sequence the model was made for.
    pub fn max_positions(&self) -> usize {
        todo!()
    }
    /// The device.
    pub fn device(&self) -> &Device {
        todo!()
    }
    /// Parameters in all.
    pub fn num_parameters(&self) -> usize {
        todo!()
    }

    /// Log-probabilities of the targets, no gradient, no stored activations.
    pub fn logps(&self, _pack: &Pack, _targets: &[Target]) -> Result<Vec<f32>> {
        todo!()
    }
    /// Hidden states [tokens, hidden] after `layer` layers (0 = embeddings, `num_layers()` = after the final norm), no gradient.
    pub fn hidden_states(&self, _pack: &Pack, _layer: usize) -> Result<Tensor> {
        todo!()
    }
    /// Forward, then `loss_gradient` turns the targets' log-probabilities into dLoss/dlogp (same length), then backward:
    /// the gradients of all trainable tensors. Layers are recomputed in the backward pass; only their inputs are kept.
    pub fn backward(
        &self,
        _pack: &Pack,
        _targets: &[Target],
        _loss_gradient: impl FnOnce(&[f32]) -> Result<Vec<f32>>,
    ) -> Result<Gradients> {
        todo!()
    }

    /// A cache for `slots` sequences of up to `capacity` tokens.
    pub fn cache(&self, _slots: usize, _capacity: usize) -> Result<KvCache> {
        todo!()
    }
    /// Runs a prompt (or a further piece) into a slot and returns the logits after its last token, [vocab].
    pub fn prefill(&self, _cache: &mut KvCache, _slot: usize, _ids: &[u32]) -> Result<Vec<f32>> {
        todo!()
    }
    /// Feeds one token to each given slot and returns their next logits, `vocab` numbers each in the same order.
    /// A slot's logits do not depend, to the bit, on the other slots.
    pub fn decode(&self, _cache: &mut KvCache, _tokens: &[(usize, u32)]) -> Result<Vec<f32>> {
        todo!()
    }
}

//! Decoder-only transformers: one definition for every family, device, and use.

mod adapter;
mod base;
mod cache;
mod config;
mod gradients;
mod layer;
mod linear;
mod lora;
mod pack;
mod parameter;
mod passes;
mod policy;
mod source;
mod transformer;
mod weights;

pub use base::Kept;
pub use cache::KvCache;
pub use config::{EMBEDDING, FeedForward, HEAD, LayerConfig, ModelConfig, Module};
pub use gradients::Gradients;
pub use lora::targets as lora_targets;
pub use pack::{PASS_TOKENS, Pack, Segment, Target, cut};
pub use policy::{Policy, Trainable, activation_budget};
pub use source::{Footprint, ModelDir, codec, places};

#[cfg(test)]
mod tests;

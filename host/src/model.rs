//! Decoder-only transformers: one definition for every family, device, and use.

mod pack;
mod policy;

pub use pack::{Pack, Segment, Target};
pub use policy::{Gradients, KvCache, Policy, Trainable};

//! LD-Align: latent-distance guided alignment of language models.
//!
//! Data flows one way: [`data`] rows -> [`generate`] -> latents and distances ([`plugin`]) -> weights -> [`train`] ->
//! next round.

pub mod bench;
pub mod checker;
pub mod collective;
pub mod compare;
pub mod config;
pub mod data;
pub mod diagnose;
pub mod error;
pub mod estimate;
pub mod eval;
pub mod files;
mod foreign;
pub mod generate;
pub mod hub;
pub mod import;
pub mod interrupt;
pub mod latents;
pub mod library;
pub mod machine;
pub mod memory;
pub mod model;
pub mod ops;
pub mod page;
pub mod pairs;
pub mod pipeline;
pub mod plugin;
pub mod progress;
pub mod quickstart;
pub mod report;
pub mod rundir;
pub mod share;
mod stats;
pub mod tensors;
pub mod text;
pub mod train;
pub mod validate;

pub use error::{Code, Error, Result};

//! What a frozen base can be made into while it is loaded.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A format of 4 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Quantize {
    /// NF4 with double quantisation, as in QLoRA (Dettmers et al. 2023, arXiv 2305.14314).
    Nf4,
}

//! Plugin libraries as files: what they provide and whether they can be loaded, read without running any of their code.
//!
//! [`inspect()`] reads the bytes; the metadata they hold are in `metadata`.

mod inspect;
mod metadata;

pub use inspect::{Finding, Inspected, findings, inspect, inspect_bytes, section};
pub use ldalign_abi::VERSION as ABI_VERSION;
pub use metadata::{Metadata, Provides};

use serde::{Deserialize, Serialize};
use std::fmt;

/// The three kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Prompt and response to latent.
    Encoder,
    /// Two latents to a distance.
    Distance,
    /// Distances to weights.
    Schedule,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 3] = [Kind::Encoder, Kind::Distance, Kind::Schedule];
    /// Its name in configs, metadata and file names.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Encoder => ldalign_sdk::metadata::ENCODER,
            Kind::Distance => ldalign_sdk::metadata::DISTANCE,
            Kind::Schedule => ldalign_sdk::metadata::SCHEDULE,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The part of a boundary's version that must be the program's own.
pub fn abi_major(version: &str) -> &str {
    version.split('.').next().unwrap_or_default()
}

/// The target of this program and of the libraries it can load, such as `x86_64-linux-gnu`.
pub fn target() -> String {
    ldalign_sdk::metadata::TARGET.join("")
}

#[cfg(test)]
mod tests;

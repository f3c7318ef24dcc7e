//! Write encoder, distance and schedule plugins for LD-Align in plain Rust.
//!
//! Implement [`Encoder`], [`DistanceMetric`] or [`WeightSchedule`] for a type, and name it in one [`export_plugin!`]. The crate is a
//! `cdylib`; `plugins/distance-euclidean` is a whole plugin in twenty lines. Nothing here needs `unsafe`: a panic in your code, also in
//! `Drop`, reaches the host as an error with its place.

#[cfg(panic = "abort")]
compile_error!(
    "a plugin built with panic = \"abort\" would take the host down with it: remove that setting from the profile"
);

mod boundary;
mod corpus;
mod distance;
mod encoder;
mod error;
#[doc(hidden)]
pub mod export;
mod host;
mod latent;
#[doc(hidden)]
pub mod metadata;
mod options;
mod schedule;

pub use corpus::{Corpus, CorpusSource, OwnedSample, lend};
pub use distance::{DistanceMetric, MetricProperties};
pub use encoder::{Encoder, FitReport, Sample};
pub use error::Error;
pub use host::{Host, Level, ModelFacts, Pooling, Services, serve};
pub use latent::{Latent, LatentShape, Latents};
pub use ldalign_abi as abi;
pub use options::{NoOptions, PluginOptions};
pub use schedule::{StepContext, WeightSchedule};

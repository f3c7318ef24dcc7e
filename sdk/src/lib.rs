//! Write encoder, distance and schedule plugins for LD-Align in plain Rust.
//!
//! Implement [`Encoder`], [`DistanceMetric`] or [`WeightSchedule`] for a type, and name it in one [`export_plugin!`]:
//!
//! ```
//! use ldalign_sdk::{DistanceMetric, Error, Host, Latent, NoOptions};
//!
//! struct Manhattan;
//!
//! impl DistanceMetric for Manhattan {
//!     const ID: &'static str = "manhattan";
//!     const SUMMARY: &'static str = "Sum of absolute differences";
//!     type Options = NoOptions;
//!
//!     fn new(_options: NoOptions, _host: Host) -> Result<Self, Error> {
//!         Ok(Self)
//!     }
//!     fn distance(&self, a: Latent<'_>, b: Latent<'_>) -> Result<f32, Error> {
//!         Ok(a.values().iter().zip(b.values()).map(|(a, b)| (a - b).abs()).sum())
//!     }
//! }
//!
//! ldalign_sdk::export_plugin! { distances: [Manhattan] }
//! ```
//!
//! The crate is of type `cdylib`; `plugins/distance-euclidean` is one with options and tests. No `unsafe` is needed: a
//! panic in your code, also in `Drop`, reaches the host as an error with its place. Options are serde structs: unknown
//! keys are refused, and a value that [`PluginOptions::validate`] refuses is reported before a model is loaded.
//!
//! For unit tests, [`Host::stand_in`] and [`Host::new`] make a host, [`Corpus::new`] a corpus.

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
mod layer;
#[doc(hidden)]
pub mod metadata;
mod options;
mod path;
mod per_round;
mod schedule;

pub use corpus::{Corpus, CorpusSource, OwnedSample, lend};
pub use distance::{DistanceMetric, MetricProperties};
pub use encoder::{Encoder, FitReport, Sample};
pub use error::Error;
pub use host::{Host, Level, ModelFacts, Pooling, Services, serve, serve_shared};
pub use latent::{Latent, LatentShape, Latents};
pub use layer::{Layer, NamedLayer};
pub use ldalign_abi as abi;
pub use options::{NoOptions, PluginOptions};
pub use path::{InputPath, Program};
pub use per_round::{PerRound, RoundSchedule};
pub use schedule::{StepContext, WeightSchedule};

//! Write encoder, distance and schedule plugins for LD-Align in plain Rust.

mod corpus;
mod distance;
mod encoder;
mod error;
mod host;
mod latent;
mod options;
mod schedule;

pub use corpus::{Corpus, OwnedSample};
pub use distance::{DistanceMetric, MetricProperties};
pub use encoder::{Encoder, FitReport, Sample};
pub use error::Error;
pub use host::{Host, Level, ModelFacts, Pooling};
pub use latent::{Latent, LatentShape, Latents};
pub use ldalign_abi as abi;
pub use options::{NoOptions, PluginOptions};
pub use schedule::{StepContext, WeightSchedule};

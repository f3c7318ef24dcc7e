//! Latents of prompts with responses, and the distances between them: what the paper's method measures.
//!
//! [`corpus`] is what an encoder sees, [`services`] and [`prefix`] what it may ask of the policy ([`request`] checks
//! what it asks), [`measure`] the one way from samples to distances, [`disk`] the files in which latents lie. Latents
//! are written and read in pieces: memory does not grow with the samples.

mod corpus;
mod disk;
mod measure;
mod prefix;
mod request;
mod services;

pub use corpus::{FirstOf, Held, Prompts, Stored, chosen, prompt_text, responses};
pub use disk::{Latents, OF_ROUND, write};
pub use measure::{Encoding, Measure, Pairs, Part};
pub use services::{PolicyServices, SharedPolicy};

//! reference.json: log-probabilities of a round's pairs by the policy at the round's start.

use serde::{Deserialize, Serialize};

/// Reference log-probabilities with the hash of what they were computed on: a stale file is recognised, not used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// [`TokenStore::hash`](crate::data::tokens::TokenStore::hash) of the pairs.
    pub pairs_sha256: String,
    /// Of every pair: sums over the tokens of chosen and rejected, nats.
    pub logps: Vec<[f32; 2]>,
}

//! generations.jsonl: the model's own responses of a round.

use crate::generate::StopReason;
use serde::{Deserialize, Serialize};

/// A line of generations.jsonl.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GenerationLine {
    /// Row of the data set, from 0.
    pub index: usize,
    /// Which of the row's samples, from 0.
    #[serde(default, skip_serializing_if = "is_first")]
    pub sample: u32,
    /// Token ids, with the end token where the model made one.
    pub ids: Vec<u32>,
    /// The same as text.
    pub text: String,
    /// Why it ended.
    pub stop: StopReason,
}

fn is_first(sample: &u32) -> bool {
    *sample == 0
}

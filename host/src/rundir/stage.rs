//! The stages of a round.

use std::fmt;

/// The stages of a round, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The model's own responses.
    Generate,
    /// Token ids of prompts, chosen responses and what they are held against.
    Candidates,
    /// Latents and distances.
    Score,
    /// Which responses become pairs, and their first weights.
    Pairs,
    /// Reference log-probabilities and weighted DPO.
    Train,
}

impl Stage {
    /// All stages in order.
    pub const ALL: [Stage; 5] = [Stage::Generate, Stage::Candidates, Stage::Score, Stage::Pairs, Stage::Train];
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Generate => "generate",
            Stage::Candidates => "candidates",
            Stage::Score => "score",
            Stage::Pairs => "pairs",
            Stage::Train => "train",
        })
    }
}

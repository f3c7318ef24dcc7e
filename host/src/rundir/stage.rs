//! The stages of a round.

use std::fmt;

/// The stages of a round, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The model's own responses.
    Generate,
    /// Token ids of prompt, chosen and rejected.
    Pairs,
    /// Latents, distances and first weights.
    Score,
    /// Reference log-probabilities and weighted DPO.
    Train,
}

impl Stage {
    /// All stages in order.
    pub const ALL: [Stage; 4] = [Stage::Generate, Stage::Pairs, Stage::Score, Stage::Train];
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Generate => "generate",
            Stage::Pairs => "pairs",
            Stage::Score => "score",
            Stage::Train => "train",
        })
    }
}

//! Text to tokens and back: the model's tokenizer and chat template, the same for training, generation and reports.

mod codec;
mod guarded;
mod special;
mod template;

pub use codec::{EncodedTurn, TextCodec, TextStream};

use serde::{Deserialize, Serialize};

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, ...
    pub role: String,
    /// The turn's text.
    pub content: String,
}

#[cfg(test)]
mod tests;

//! Text to tokens and back: the model's tokenizer and chat template, the same for training, generation and reports.

use crate::Result;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, ...
    pub role: String,
    /// The turn's text.
    pub content: String,
}

/// Token ids of a prompt and of one response to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedTurn {
    /// Ends with the template's generation prompt.
    pub prompt: Vec<u32>,
    /// Ends with the model's end-of-turn token.
    pub response: Vec<u32>,
}

/// A model's tokenizer with its chat template.
pub struct TextCodec {}

impl TextCodec {
    /// Reads tokenizer.json, tokenizer_config.json, chat_template.jinja, generation_config.json of a model directory.
    pub fn load(_model_dir: &Path) -> Result<Self> {
        todo!()
    }
    /// SHA-256 over tokenizer, template and special tokens.
    pub fn hash(&self) -> &str {
        todo!()
    }
    /// Size of the vocabulary including added tokens.
    pub fn vocab_size(&self) -> usize {
        todo!()
    }
    /// Tokens that end a response.
    pub fn end_ids(&self) -> &[u32] {
        todo!()
    }
    /// The prompt as text, with the generation prompt.
    pub fn render_prompt(&self, _history: &[Message]) -> Result<String> {
        todo!()
    }
    /// Ids of the prompt, ending with the generation prompt.
    pub fn encode_prompt(&self, _history: &[Message]) -> Result<Vec<u32>> {
        todo!()
    }
    /// Ids of prompt and golden response; fails where the template's rendering of the prompt is no prefix of the whole.
    pub fn encode_turn(&self, _history: &[Message], _response: &str) -> Result<EncodedTurn> {
        todo!()
    }
    /// Text of ids, special tokens left out.
    pub fn decode(&self, _ids: &[u32]) -> Result<String> {
        todo!()
    }
    /// One token as it stands in the vocabulary's text, special tokens shown, for `check`.
    pub fn token_text(&self, _id: u32) -> String {
        todo!()
    }
}

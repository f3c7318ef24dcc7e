//! Text to tokens and back: the model's tokenizer and chat template, the same for training, generation and reports.

mod classes;
mod codec;
mod faithful;
mod guarded;
mod jinja;
mod message;
mod oniguruma;
mod source;
mod special;
mod template;

pub use codec::{EncodedTurn, TextCodec, TextStream};
pub use message::{Message, Prompt};
pub use source::TextFiles;

#[cfg(test)]
mod tests;

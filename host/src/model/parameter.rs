//! A tensor of a model as its layers see it.

use crate::ops::Stored;
use candle_core::Tensor;

/// A tensor by itself, so that candle records nothing of what is done with it.
#[derive(Clone)]
pub struct Parameter {
    /// Hugging Face's (or PEFT's) name.
    pub name: String,
    /// The numbers, in the memory of the variable if it is one.
    pub stored: Stored,
    /// Whether its gradient is wanted.
    pub trained: bool,
}

impl Parameter {
    /// A view of a tensor or blocks; variables are trained.
    pub fn new(name: &str, stored: &Stored) -> Self {
        Self { name: name.to_owned(), stored: stored.detach(), trained: stored.is_variable() }
    }
    /// The numbers of a vector, such as a bias.
    ///
    /// # Panics
    /// If they are in blocks, which matrices alone can be.
    pub fn tensor(&self) -> &Tensor {
        self.stored.tensor().expect("a vector is never in blocks")
    }
}

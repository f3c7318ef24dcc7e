//! A tensor of a model as its layers see it.

use candle_core::Tensor;

/// A tensor by itself, so that candle records nothing of what is done with it.
#[derive(Clone)]
pub struct Parameter {
    /// Hugging Face's (or PEFT's) name.
    pub name: String,
    /// The numbers, in the memory of the variable if it is one.
    pub tensor: Tensor,
    /// Whether its gradient is wanted.
    pub trained: bool,
}

impl Parameter {
    /// A view of a tensor; variables are trained.
    pub fn new(name: &str, t: &Tensor) -> Self {
        Self { name: name.to_owned(), tensor: t.detach(), trained: t.is_variable() }
    }
}

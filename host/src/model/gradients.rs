//! Gradients of trainable tensors, and where a backward pass puts them.

use crate::Result;
use candle_core::Tensor;
use std::collections::BTreeMap;

/// Gradients by parameter name, sorted.
pub type Gradients = BTreeMap<String, Tensor>;

/// Where a backward pass adds the gradients of what is trained: nowhere, where the gradient with respect to its input
/// is all that is wanted.
pub struct Sums<'a>(Option<&'a mut Gradients>);

impl<'a> Sums<'a> {
    /// Adds to `grads`.
    pub fn to(grads: &'a mut Gradients) -> Self {
        Self(Some(grads))
    }
    /// Computes none.
    pub fn nowhere() -> Self {
        Self(None)
    }
    /// Whether the gradient of a parameter that is (not) trained is to be computed.
    pub fn want(&self, trained: bool) -> bool {
        trained && self.0.is_some()
    }
    /// Takes what there is of a parameter's gradient.
    pub fn take(&mut self, name: &str) -> Option<Tensor> {
        self.0.as_mut()?.remove(name)
    }
    /// Puts a gradient there.
    pub fn put(&mut self, name: &str, gradient: Tensor) {
        if let Some(grads) = &mut self.0 {
            grads.insert(name.to_owned(), gradient);
        }
    }
    /// Adds a parameter's gradient if it is trained: `f` adds to what is there, in its memory.
    pub fn add(
        &mut self,
        name: &str,
        trained: bool,
        f: impl FnOnce(Option<Tensor>) -> candle_core::Result<Tensor>,
    ) -> Result<()> {
        if self.want(trained) {
            let sum = f(self.take(name))?;
            self.put(name, sum);
        }
        Ok(())
    }
}

//! What the ranks (processes) of one training ask of each other: the seam between backward pass and optimizer.
//!
//! [`Solo`] is the one implementation. One over MPI or NCCL would be a file beside it, behind a feature of the build:
//! MPI starts the ranks and hands NCCL its id, NCCL moves the numbers where they lie on GPUs. Its sums go over a fixed
//! binary tree, by point-to-point messages: the order of `MPI_Allreduce` and `ncclAllReduce` is not ours, and bits
//! would change with the number of ranks. It also takes what is not here, since one rank has no need of it: passes
//! divided among the ranks, and one rank that writes the files.

use crate::{Result, model::Gradients};

/// Loss of an optimizer step and its gradients with respect to what is trained: a rank's part, or the sum of all parts.
pub struct StepGradients {
    /// Already divided by the step's denominators, so that parts add up.
    pub loss: f64,
    /// By parameter name; every rank has the same names and shapes.
    pub gradients: Gradients,
}

/// The ranks of a training. All of them make the same calls in the same order, and each call returns once all have made
/// it.
pub trait Collective {
    /// This rank, from 0.
    fn rank(&self) -> usize;
    /// Ranks in all, at least 1.
    fn size(&self) -> usize;
    /// Sums the ranks' parts of a step, in an order that depends on neither time nor [`size`](Self::size): every rank
    /// gets the same bits.
    ///
    /// # Errors
    /// That of this rank's part; where another's failed, its error: no rank waits for one that has none to give.
    fn sum(&self, part: Result<StepGradients>) -> Result<StepGradients>;
    /// Whether any rank was asked to stop, so that all of them stop after the same step.
    ///
    /// # Errors
    /// A rank that cannot be reached.
    fn agree(&self, stop: bool) -> Result<bool>;
}

/// One process by itself.
pub struct Solo;

impl Collective for Solo {
    fn rank(&self) -> usize {
        0
    }
    fn size(&self) -> usize {
        1
    }
    fn sum(&self, part: Result<StepGradients>) -> Result<StepGradients> {
        part
    }
    fn agree(&self, stop: bool) -> Result<bool> {
        Ok(stop)
    }
}

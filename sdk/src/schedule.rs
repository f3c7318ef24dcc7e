//! The schedule kind: from distances to pair weights.

use crate::{Error, Host, PluginOptions};

/// Where training stands when weights are asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepContext {
    /// Round, from 0.
    pub round: u64,
    /// Rounds in all.
    pub rounds: u64,
    /// Optimizer step within the round, from 0.
    pub step: u64,
    /// Optimizer steps of the round.
    pub total_steps: u64,
}

impl StepContext {
    /// Progress through all rounds in 0..=1; 0 at the very first step, 1 at the last step of the last round.
    pub fn progress(&self) -> f32 {
        let last = (self.rounds * self.total_steps).saturating_sub(1);
        if last == 0 {
            return 0.0;
        }
        ((self.round * self.total_steps + self.step).min(last) as f64 / last as f64) as f32
    }
}

/// Turns distances into the weights of the pairs' losses.
///
/// After [`begin_round`](Self::begin_round), [`weights`](Self::weights) must be a pure function of its arguments:
/// a resumed run asks again, in another order, and expects the same answers.
pub trait WeightSchedule: Sized + Send + Sync + 'static {
    /// Name by which a config chooses this schedule.
    const ID: &'static str;
    /// One sentence for listings.
    const SUMMARY: &'static str;
    /// Whether the weights of all pairs of a round average 1 (so that step sizes compare with plain DPO's).
    const MEAN_ONE: bool = true;
    /// Whether a larger distance never gets a smaller weight.
    const MONOTONE: bool = true;
    /// Whether weights depend on distances. Where they do not, the host encodes and measures nothing, and every
    /// distance it gives is 0.
    const USES_DISTANCES: bool = true;
    /// Typed options; see [`crate::NoOptions`] for none.
    type Options: PluginOptions;

    /// Builds the schedule.
    fn new(options: Self::Options, host: Host) -> Result<Self, Error>;
    /// Sees every distance of the round, in row order, once before the first step (again after a resume).
    fn begin_round(&mut self, _distances: &[f32]) -> Result<(), Error> {
        Ok(())
    }
    /// Weights of the pairs whose distances are given: `out[i]` for `distances[i]`, finite and at least 0.
    fn weights(&self, at: StepContext, distances: &[f32], out: &mut [f32]) -> Result<(), Error>;
}

//! Where a round's weights come from: the data's own, or the schedule plugin over the round's distances.

use super::Run;
use crate::{
    Result,
    pairs::{Asked, Pairing},
    plugin::Schedule,
    rundir::ScoreLine,
};
use ldalign_sdk::StepContext;

/// Turns what a pair has (its weight, or its distance) into its weight at a step.
pub(super) enum Weigher {
    /// Weights that came with the data.
    Given,
    /// A schedule plugin that has seen the round's distances.
    Schedule(Schedule),
}

impl Weigher {
    pub(super) fn weights(&self, at: StepContext, pairs: &[f32]) -> Result<Vec<f32>> {
        match self {
            Weigher::Given => Ok(pairs.to_vec()),
            Weigher::Schedule(schedule) => schedule.weights(at, pairs),
        }
    }

    pub(super) fn close(self) -> Result<()> {
        match self {
            Weigher::Given => Ok(()),
            Weigher::Schedule(schedule) => schedule.close(),
        }
    }
}

impl Run {
    /// Whether weights or the pairs' rule depend on distances, so that something must be encoded.
    pub(super) fn measures(&self) -> bool {
        let Pairing { rule, min_distance, .. } = self.pairing();
        let chooses = self.samples() > 1 && rule.asks() != Asked::Nothing;
        // Weights that come with the data, and those that nothing is trained by, need no distance.
        let given = self.data.has_weights() || self.config.train.is_sft();
        let weighs = !given && self.schedule.property("uses_distances").unwrap_or(true);
        chooses || min_distance > 0.0 || weighs
    }

    /// What the weigher makes a weight of: the pair's own weight, its distance, or 0 where nothing was measured.
    pub(super) fn basis(&self, line: &ScoreLine) -> f32 {
        if self.data.has_weights() { line.weight } else { line.distance.unwrap_or(0.0) }
    }

    /// The weigher of a round, having seen what all its pairs have.
    pub(super) fn weigher(&mut self, pairs: &[f32]) -> Result<Weigher> {
        if self.data.has_weights() {
            return Ok(Weigher::Given);
        }
        let mut schedule = self.schedule.schedule(self.services(None, &self.schedule))?;
        schedule.begin_round(pairs)?;
        Ok(Weigher::Schedule(schedule))
    }
}

//! Training: weighted DPO and SFT by one loop, resumable to the bit.

use crate::{Result, config::TrainConfig, data::tokens::TokenStore, model::Policy, plugin::Schedule};
use std::path::Path;

/// What one round of weighted DPO trains on.
pub struct DpoData<'a> {
    /// Rows of [prompt, chosen, rejected].
    pub pairs: &'a TokenStore,
    /// Reference log-probabilities of every row: sums over chosen and rejected.
    pub reference: &'a [[f32; 2]],
    /// Distance of every row's pair.
    pub distances: &'a [f32],
    /// Turns distances into weights; `begin_round` was called.
    pub schedule: &'a Schedule,
    /// Round, from 0, and rounds in all.
    pub round: (u64, u64),
}

/// Trains the policy in place by weighted DPO. Checkpoints, metrics and state lie in `dir`; called again after a crash with
/// the same arguments (and the round's starting policy) it goes on from the newest checkpoint and ends in the same bits.
pub fn dpo(_policy: &mut Policy, _data: &DpoData<'_>, _config: &TrainConfig, _seed: u64, _dir: &Path) -> Result<()> {
    todo!()
}

/// Trains the policy in place on rows of [prompt, completion] by negative log-likelihood; otherwise as [`dpo`].
pub fn sft(_policy: &mut Policy, _rows: &TokenStore, _config: &TrainConfig, _seed: u64, _dir: &Path) -> Result<()> {
    todo!()
}

/// Summed log-probabilities of chosen and rejected of every row, without gradient, by the policy as it stands at
/// the start of a round (adapter included): the reference of that round.
pub fn reference_logps(
    _policy: &Policy,
    _pairs: &TokenStore,
    _on_rows: impl FnMut(u64) -> Result<()>,
) -> Result<Vec<[f32; 2]>> {
    todo!()
}

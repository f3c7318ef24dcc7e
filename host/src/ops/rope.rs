//! Angles of the rotary position embedding (Su et al. 2021, arXiv 2104.09864).

use candle_core::{Device, Result, Tensor};

/// Cosines and sines of the tokens' positions, [tokens, head_dim / 2] each.
pub struct Angles {
    pub(super) cos: Tensor,
    pub(super) sin: Tensor,
}

impl Angles {
    /// Angles of `positions` for each of `frequencies`, cosines and sines times `factor`: rotated numbers are scaled by
    /// it, 1 but for YaRN.
    pub fn new(positions: &[u32], frequencies: &[f32], factor: f32, device: &Device) -> Result<Self> {
        let table = |f: fn(f32) -> f32| {
            let values = positions.iter().flat_map(|p| frequencies.iter().map(move |w| f(*p as f32 * w) * factor));
            Tensor::from_vec(values.collect(), (positions.len(), frequencies.len()), device)
        };
        Ok(Self { cos: table(f32::cos)?, sin: table(f32::sin)? })
    }
}

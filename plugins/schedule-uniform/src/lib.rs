//! Weight 1 for every pair, whatever its distance: plain DPO with the model's own responses rejected, which is SPIN.

use ldalign_sdk::{Error, Host, NoOptions, StepContext, WeightSchedule};

/// Every weight is exactly 1.
pub struct Uniform;

impl WeightSchedule for Uniform {
    const ID: &'static str = "uniform";
    const SUMMARY: &'static str = "weight 1 for every pair: SPIN";
    const USES_DISTANCES: bool = false;
    type Options = NoOptions;

    fn new(_: NoOptions, _: Host) -> Result<Self, Error> {
        Ok(Self)
    }

    fn weights(&self, _at: StepContext, _distances: &[f32], out: &mut [f32]) -> Result<(), Error> {
        out.fill(1.0);
        Ok(())
    }
}

ldalign_sdk::export_plugin! { schedules: [Uniform] }

#[cfg(test)]
ldalign_conformance::conforms!();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_weight_is_one_to_the_bit() {
        let at = StepContext { round: 1, rounds: 3, step: 7, total_steps: 10 };
        let mut out = [f32::NAN; 4];
        Uniform.weights(at, &[0.0, 1e-30, 3.0, f32::MAX], &mut out).expect("uniform cannot fail");
        assert_eq!(out.map(f32::to_bits), [1f32.to_bits(); 4]);
    }
}

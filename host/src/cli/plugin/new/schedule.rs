//! __NAME__: weights that go by a power of the distance, to be replaced by a schedule of your own.

use ldalign_sdk::{Error, PerRound, PluginOptions, RoundSchedule};

/// What a config may say under `options:`. Doc comments are what `ldalign plugin info --options` shows; unknown keys
/// are refused.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Options {
    /// Exponent, in 0..=4: 1 is proportional to distance, 0 weighs all pairs alike.
    #[schemars(range(min = 0.0, max = 4.0))]
    power: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { power: 1.0 }
    }
}

impl PluginOptions for Options {
    /// Checks what types cannot say; called before any model is loaded.
    fn validate(&self) -> Result<(), Error> {
        if !(0.0..=4.0).contains(&self.power) {
            return Err(Error::options(format!("power {} must lie in 0..=4", self.power)));
        }
        Ok(())
    }
}

struct Schedule {
    power: f64,
}

// `PerRound` scales the shares to mean 1 over the round and gives a distance of exactly 0 no weight. A schedule that
// does otherwise implements `WeightSchedule` itself.
impl RoundSchedule for Schedule {
    const ID: &'static str = "__NAME__";
    const SUMMARY: &'static str = "weights by a power of the distance";
    type Options = Options;

    /// Sees all distances of a round before its first step.
    fn begin(options: &Options, _distances: &[f32]) -> Result<Self, Error> {
        Ok(Self { power: options.power })
    }

    /// Weight of a distance above 0, up to a factor common to the round.
    fn share(&self, distance: f32) -> f64 {
        f64::from(distance).powf(self.power)
    }
}

ldalign_sdk::export_plugin! { schedules: [PerRound<Schedule>] }
__CONFORMS__
#[cfg(test)]
mod tests {
    use super::*;
    use ldalign_sdk::{Host, StepContext, WeightSchedule};

    #[test]
    fn squares_with_mean_one() {
        let mut schedule = PerRound::<Schedule>::new(Options { power: 2.0 }, Host::stand_in()).expect("valid options");
        let (distances, mut out) = ([1.0, 2.0, 0.0, 1.0], [f32::NAN; 4]);
        schedule.begin_round(&distances).expect("finite distances");
        let at = StepContext { round: 0, rounds: 1, step: 0, total_steps: 1 };
        schedule.weights(at, &distances, &mut out).expect("weights");
        assert_eq!(out, [2.0 / 3.0, 8.0 / 3.0, 0.0, 2.0 / 3.0]);
    }

    #[test]
    fn a_power_out_of_bounds_is_refused() {
        for power in [-1.0, 4.5, f64::NAN] {
            assert!(Options { power }.validate().is_err(), "{power}");
        }
    }
}

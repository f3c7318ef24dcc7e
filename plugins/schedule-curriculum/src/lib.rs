//! A curriculum: training begins with equal weights and ends with weights proportional to distance.

use ldalign_sdk::{Error, PerRound, PluginOptions, RoundSchedule, StepContext};

/// When the move from uniform to proportional happens, as shares of the whole run (all rounds).
#[derive(Debug, Clone, Copy, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Weights are uniform up to here; in 0..=1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub start: f32,
    /// Weights are proportional from here on; in 0..=1, above `start`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub end: f32,
}

impl Default for Options {
    fn default() -> Self {
        Self { start: 0.0, end: 1.0 }
    }
}

impl PluginOptions for Options {
    fn validate(&self) -> Result<(), Error> {
        if !(0.0 <= self.start && self.start < self.end && self.end <= 1.0) {
            return Err(Error::options(format!(
                "start {} and end {} do not fit: 0 <= start < end <= 1 are needed",
                self.start, self.end
            )));
        }
        Ok(())
    }
}

impl Options {
    /// Share of the proportional weights at some progress through the run, both in 0..=1.
    fn mix(&self, progress: f32) -> f32 {
        ((progress - self.start) / (self.end - self.start)).clamp(0.0, 1.0)
    }
}

/// `w = (1 - m) + m d / mean(d)`, where m goes from 0 to 1 between `start` and `end`.
pub struct Curriculum(Options);

impl RoundSchedule for Curriculum {
    const ID: &'static str = "curriculum";
    const SUMMARY: &'static str = "weights that move from uniform to proportional to distance over training, mean 1";
    type Options = Options;

    fn begin(options: &Options, _distances: &[f32]) -> Result<Self, Error> {
        Ok(Self(*options))
    }

    fn share(&self, distance: f32) -> f64 {
        distance.into()
    }

    fn mix(&self, at: StepContext) -> f64 {
        self.0.mix(at.progress()).into()
    }
}

ldalign_sdk::export_plugin! { schedules: [PerRound<Curriculum>] }

#[cfg(test)]
ldalign_conformance::conforms!();

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ldalign_sdk::{Host, WeightSchedule};

    const DISTANCES: [f32; 4] = [1.0, 3.0, 0.0, 4.0];

    /// Weights at a share of the way, of a curriculum that begins at once and ends with the run.
    fn weights(mix: f32, distances: &[f32]) -> Vec<f32> {
        let mut schedule = PerRound::<Curriculum>::new(Options::default(), Host::stand_in()).unwrap();
        schedule.begin_round(distances).unwrap();
        let mut out = vec![f32::NAN; distances.len()];
        let at = StepContext { round: 0, rounds: 1, step: (mix * 1000.0) as u64, total_steps: 1001 };
        schedule.weights(at, distances, &mut out).unwrap();
        out
    }

    #[test]
    fn from_uniform_to_proportional() {
        assert_eq!(weights(0.0, &DISTANCES), [1.0; 4]);
        assert_eq!(weights(0.5, &DISTANCES), [0.75, 1.25, 0.5, 1.5]);
        assert_eq!(weights(1.0, &DISTANCES), [0.5, 1.5, 0.0, 2.0]);
    }

    #[test]
    fn the_mean_stays_one_on_the_way() {
        for mix in [0.1, 0.33, 0.9] {
            assert!((weights(mix, &DISTANCES).iter().sum::<f32>() - 4.0).abs() < 1e-6, "mix {mix}");
        }
    }

    #[test]
    fn the_move_happens_between_start_and_end() {
        let options = Options { start: 0.25, end: 0.75 };
        let mixes = [0.0, 0.25, 0.5, 0.75, 1.0].map(|progress| options.mix(progress));
        assert_eq!(mixes, [0.0, 0.0, 0.5, 1.0, 1.0]);
    }

    #[test]
    fn the_run_begins_uniform_and_ends_proportional() {
        let at = |round, step| StepContext { round, rounds: 2, step, total_steps: 10 };
        let mut schedule = PerRound::<Curriculum>::new(Options::default(), Host::stand_in()).unwrap();
        let mut out = [f32::NAN; 4];
        schedule.begin_round(&DISTANCES).unwrap();
        for (at, expected) in [
            (at(0, 0), [1.0; 4]),
            (at(1, 9), [0.5, 1.5, 0.0, 2.0]),
            (at(1, 99), [0.5, 1.5, 0.0, 2.0]), // beyond the last step
        ] {
            schedule.weights(at, &DISTANCES, &mut out).unwrap();
            assert_eq!(out, expected, "{at:?}");
        }
    }

    #[test]
    fn zero_distances() {
        assert_eq!(weights(1.0, &[0.0; 2]), [0.0; 2]);
        assert_eq!(weights(0.0, &[0.0; 2]), [1.0; 2]);
    }

    #[test]
    fn impossible_spans_are_refused() {
        for (start, end) in [(-0.1, 1.0), (0.5, 0.5), (0.8, 0.2), (0.0, 1.1), (f32::NAN, 1.0)] {
            assert!(Options { start, end }.validate().is_err(), "{start} {end}");
        }
    }
}

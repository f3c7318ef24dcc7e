//! Schedules whose weights follow from the distances of one round: the part that all of them share.

use crate::{Error, Host, Level, PluginOptions, StepContext, WeightSchedule};

/// A schedule told by one function of the distance, [`share`](Self::share), whose parameters a round's distances fix.
///
/// [`PerRound`] makes it a [`WeightSchedule`]: it refuses distances that are not finite, scales the shares to mean 1
/// over the round, and gives a distance of exactly 0 (the response is the golden one) no share.
///
/// ```
/// use ldalign_sdk::{Error, NoOptions, PerRound, RoundSchedule};
///
/// struct Squares;
///
/// impl RoundSchedule for Squares {
///     const ID: &'static str = "squares";
///     const SUMMARY: &'static str = "Weights proportional to squared distance";
///     type Options = NoOptions;
///
///     fn begin(_: &NoOptions, _distances: &[f32]) -> Result<Self, Error> {
///         Ok(Self)
///     }
///     fn share(&self, distance: f32) -> f64 {
///         f64::from(distance).powi(2)
///     }
/// }
///
/// ldalign_sdk::export_plugin! { schedules: [PerRound<Squares>] }
/// ```
pub trait RoundSchedule: Sized + Send + Sync + 'static {
    /// See [`WeightSchedule::ID`].
    const ID: &'static str;
    /// See [`WeightSchedule::SUMMARY`].
    const SUMMARY: &'static str;
    /// See [`WeightSchedule::MONOTONE`].
    const MONOTONE: bool = true;
    /// See [`WeightSchedule::Options`].
    type Options: PluginOptions + Sync;

    /// Learns from all distances of a round, each finite, those that are 0 among them.
    fn begin(options: &Self::Options, distances: &[f32]) -> Result<Self, Error>;
    /// Weight of a distance above 0, up to a factor that is common to the round: finite and at least 0.
    fn share(&self, distance: f32) -> f64;
    /// How far weights have moved from uniform (0) to the shares (1).
    fn mix(&self, _at: StepContext) -> f64 {
        1.0
    }
}

/// `w = (1 - m) + m share(d) / mean(share)`, the mean over all pairs of the round, m from [`RoundSchedule::mix`].
///
/// If every distance of the round is 0 there is nothing to scale: weights are 1 - m, and a warning is logged.
pub struct PerRound<S: RoundSchedule> {
    options: S::Options,
    host: Host,
    /// The round's schedule and the mean of its shares.
    round: Option<(S, f64)>,
}

impl<S: RoundSchedule> WeightSchedule for PerRound<S> {
    const ID: &'static str = S::ID;
    const SUMMARY: &'static str = S::SUMMARY;
    const MONOTONE: bool = S::MONOTONE;
    type Options = S::Options;

    fn new(options: S::Options, host: Host) -> Result<Self, Error> {
        Ok(Self { options, host, round: None })
    }

    fn begin_round(&mut self, distances: &[f32]) -> Result<(), Error> {
        if let Some(i) = distances.iter().position(|d| !d.is_finite()) {
            return Err(Error::input(format!("distance {i} of the round is {}", distances[i])));
        }
        if !distances.is_empty() && distances.iter().all(|&d| d == 0.0) {
            self.host.log(Level::Warn, "every distance of the round is 0: no pair gets weight for its distance");
        }
        let round = S::begin(&self.options, distances)?;
        let sum: f64 = distances.iter().map(|&d| share(&round, d)).sum();
        self.round = Some((round, sum / distances.len().max(1) as f64));
        Ok(())
    }

    fn weights(&self, at: StepContext, distances: &[f32], out: &mut [f32]) -> Result<(), Error> {
        let (round, mean) =
            self.round.as_ref().ok_or_else(|| Error::input(format!("{} needs begin_round before weights", S::ID)))?;
        let mix = round.mix(at);
        for (out, &d) in out.iter_mut().zip(distances) {
            let scaled = if *mean > 0.0 { share(round, d) / mean } else { 0.0 };
            *out = ((1.0 - mix) + mix * scaled) as f32;
        }
        Ok(())
    }
}

fn share(round: &impl RoundSchedule, distance: f32) -> f64 {
    if distance == 0.0 { 0.0 } else { round.share(distance) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::NoOptions;

    /// Shares are distances; from the second step on.
    struct Late;

    impl RoundSchedule for Late {
        const ID: &'static str = "late";
        const SUMMARY: &'static str = "Proportional from the second step on";
        type Options = NoOptions;
        fn begin(_: &NoOptions, _: &[f32]) -> Result<Self, Error> {
            Ok(Self)
        }
        fn share(&self, distance: f32) -> f64 {
            assert_ne!(distance, 0.0, "0 is no distance to ask about");
            distance.into()
        }
        fn mix(&self, at: StepContext) -> f64 {
            f64::from(u8::from(at.step > 0))
        }
    }

    fn weights(schedule: &PerRound<Late>, step: u64, distances: &[f32]) -> Result<Vec<f32>, Error> {
        let mut out = vec![f32::NAN; distances.len()];
        schedule.weights(StepContext { round: 0, rounds: 1, step, total_steps: 9 }, distances, &mut out).map(|()| out)
    }

    #[test]
    fn shares_are_scaled_to_mean_one_and_zero_has_none() {
        let mut late = PerRound::<Late>::new(NoOptions {}, Host::stand_in()).unwrap();
        assert_eq!(weights(&late, 0, &[1.0]), Err(Error::input("late needs begin_round before weights")));
        late.begin_round(&[1.0, 3.0, 0.0, 4.0]).unwrap();
        assert_eq!(weights(&late, 1, &[4.0, 0.0, 1.0]).unwrap(), [2.0, 0.0, 0.5]);
        assert_eq!(weights(&late, 0, &[4.0, 0.0, 1.0]).unwrap(), [1.0; 3]);
    }

    #[test]
    fn rounds_without_a_distance_and_broken_ones() {
        let mut late = PerRound::<Late>::new(NoOptions {}, Host::stand_in()).unwrap();
        late.begin_round(&[0.0; 3]).unwrap();
        assert_eq!(weights(&late, 1, &[0.0, 2.0]).unwrap(), [0.0; 2]);
        assert_eq!(weights(&late, 0, &[0.0; 2]).unwrap(), [1.0; 2]);
        late.begin_round(&[]).unwrap();
        assert!(weights(&late, 1, &[]).unwrap().is_empty());
        for bad in [f32::NAN, f32::INFINITY] {
            let e = late.begin_round(&[1.0, bad]).unwrap_err();
            assert_eq!(e.message(), format!("distance 1 of the round is {bad}"));
        }
    }
}

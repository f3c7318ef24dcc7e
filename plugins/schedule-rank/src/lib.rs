//! Weights by the rank of the distance: no outlier can take more than twice the average weight.

use ldalign_sdk::{Error, Host, Level, NoOptions, StepContext, WeightSchedule};

/// `w = 2 (rank - 1/2) / n`, ranks from 1 for the nearest, ties sharing theirs; a distance of exactly 0 takes no part
/// and weighs 0, and the others are scaled up to keep the mean at 1.
pub struct Rank {
    host: Host,
    round: Option<Round>,
}

impl WeightSchedule for Rank {
    const ID: &'static str = "rank";
    const SUMMARY: &'static str = "weights that rise evenly with the rank of the distance, mean 1";
    type Options = NoOptions;

    fn new(_: NoOptions, host: Host) -> Result<Self, Error> {
        Ok(Self { host, round: None })
    }

    fn begin_round(&mut self, distances: &[f32]) -> Result<(), Error> {
        let round = Round::new(distances)?;
        if round.ascending.is_empty() && !distances.is_empty() {
            self.host.log(Level::Warn, "every distance of the round is 0: no pair gets any weight");
        }
        self.round = Some(round);
        Ok(())
    }

    fn weights(&self, _at: StepContext, distances: &[f32], out: &mut [f32]) -> Result<(), Error> {
        let round = self.round.as_ref().ok_or_else(|| Error::input("rank needs begin_round before weights"))?;
        for (out, &d) in out.iter_mut().zip(distances) {
            *out = round.weight(d);
        }
        Ok(())
    }
}

/// What one round's distances fix.
struct Round {
    /// The distances above 0, ascending.
    ascending: Vec<f32>,
    /// All pairs, also those at distance 0.
    pairs: usize,
}

impl Round {
    fn new(distances: &[f32]) -> Result<Self, Error> {
        if !distances.iter().all(|d| d.is_finite()) {
            return Err(Error::input("a distance of the round is not finite"));
        }
        let mut ascending: Vec<f32> = distances.iter().copied().filter(|&d| d != 0.0).collect();
        ascending.sort_unstable_by(f32::total_cmp);
        Ok(Self { ascending, pairs: distances.len() })
    }

    fn weight(&self, d: f32) -> f32 {
        if d == 0.0 || self.ascending.is_empty() {
            return 0.0;
        }
        let nearer = self.ascending.partition_point(|&other| other < d);
        let not_farther = self.ascending.partition_point(|&other| other <= d);
        // The mean rank of a tie, minus one half, is (nearer + not_farther) / 2.
        let n = self.ascending.len() as f64;
        ((nearer + not_farther) as f64 / n * (self.pairs as f64 / n)) as f32
    }
}

ldalign_sdk::export_plugin! { schedules: [Rank] }

#[cfg(test)]
ldalign_conformance::conforms!();

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn weights(distances: &[f32]) -> Vec<f32> {
        let at = StepContext { round: 0, rounds: 1, step: 0, total_steps: 1 };
        let mut schedule = Rank::new(NoOptions {}, Host::stand_in()).unwrap();
        assert!(schedule.weights(at, &[], &mut []).is_err(), "before begin_round");
        schedule.begin_round(distances).unwrap();
        let mut out = vec![f32::NAN; distances.len()];
        schedule.weights(at, distances, &mut out).unwrap();
        out
    }

    #[test]
    fn evenly_spaced_whatever_the_distances() {
        assert_eq!(weights(&[0.1, 1e30, 0.2, 0.3]), [0.25, 1.75, 0.75, 1.25]);
    }

    #[test]
    fn ties_share_their_rank() {
        assert_eq!(weights(&[2.0, 1.0, 2.0, 3.0]), [1.0, 0.25, 1.0, 1.75]);
        assert_eq!(weights(&[7.0; 5]), [1.0; 5]);
    }

    #[test]
    fn zero_distances_weigh_nothing_and_the_mean_stays_one() {
        assert_eq!(weights(&[0.0, 1.0, 0.0, 2.0]), [0.0, 1.0, 0.0, 3.0]);
        assert_eq!(weights(&[0.0, 0.0]), [0.0, 0.0]);
        assert!(weights(&[]).is_empty());
    }

    #[test]
    fn mean_is_one_and_order_is_kept_over_many_distances() {
        let mut distances: Vec<f32> = (0..10_000).map(|i| ((i * 7919) % 1_013) as f32).collect();
        distances.sort_by(f32::total_cmp);
        let w = weights(&distances);
        let mean = w.iter().map(|&w| f64::from(w)).sum::<f64>() / w.len() as f64;
        assert!((mean - 1.0).abs() < 1e-6, "{mean}");
        assert!(w.is_sorted());
    }

    #[test]
    fn broken_distances_are_refused() {
        assert!(Round::new(&[1.0, f32::NAN]).is_err());
    }
}

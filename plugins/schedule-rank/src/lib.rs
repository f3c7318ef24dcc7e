//! Weights by the rank of the distance: no outlier can take more than twice the average weight.

use ldalign_sdk::{Error, NoOptions, PerRound, RoundSchedule};

/// `w = 2 (rank - 1/2) / n`, ranks from 1 for the nearest, ties sharing theirs; a distance of exactly 0 takes no part
/// and weighs 0, and the others are scaled up to keep the mean at 1.
pub struct Rank {
    /// The distances above 0, ascending.
    ascending: Vec<f32>,
}

impl RoundSchedule for Rank {
    const ID: &'static str = "rank";
    const SUMMARY: &'static str = "weights that rise evenly with the rank of the distance, mean 1";
    type Options = NoOptions;

    fn begin(_: &NoOptions, distances: &[f32]) -> Result<Self, Error> {
        let mut ascending: Vec<f32> = distances.iter().copied().filter(|&d| d != 0.0).collect();
        ascending.sort_unstable_by(f32::total_cmp);
        Ok(Self { ascending })
    }

    /// Twice the mean rank of a tie, minus one.
    fn share(&self, distance: f32) -> f64 {
        let nearer = self.ascending.partition_point(|&other| other < distance);
        let not_farther = self.ascending.partition_point(|&other| other <= distance);
        (nearer + not_farther) as f64
    }
}

ldalign_sdk::export_plugin! { schedules: [PerRound<Rank>] }

#[cfg(test)]
ldalign_conformance::conforms!();

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ldalign_sdk::{Host, StepContext, WeightSchedule};

    fn weights(distances: &[f32]) -> Vec<f32> {
        let at = StepContext { round: 0, rounds: 1, step: 0, total_steps: 1 };
        let mut schedule = PerRound::<Rank>::new(NoOptions {}, Host::stand_in()).unwrap();
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
}

//! Figures of arms over their seeds, and of an arm against another, with intervals: paired bootstrap over seeds and
//! held-out rows.
//!
//! Seeds and rows are crossed (every seed is measured on the same rows), so a resample draws both, once for all arms:
//! what is hard for all arms alike cancels in differences. (Owen 2007, "The pigeonhole bootstrap".)

use crate::stats::{
    bootstrap::{DRAWS, Figure, resample},
    mean,
};
use rayon::prelude::*;

/// A run's figure in parts: a numerator and a denominator for each held-out row, whose sums' ratio it is. One part
/// where the figure is of the run as a whole.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parts(pub Vec<[f64; 2]>);

impl Parts {
    /// The figure where each row counts as often as given; None where nothing was measured.
    fn ratio(&self, counts: &[u32]) -> Option<f64> {
        let sum = |of: usize| self.0.iter().zip(counts).map(|(part, n)| part[of] * f64::from(*n)).sum::<f64>();
        let below = sum(1);
        (below > 0.0).then(|| sum(0) / below)
    }

    /// The figure.
    pub fn figure(&self) -> Option<f64> {
        self.ratio(&vec![1; self.0.len()])
    }
}

/// Mean over runs of different seeds. The resamples are a pure function of `seed`.
pub fn figure(runs: &[&Parts], seed: u64) -> Figure {
    bootstrap(runs, seed, |run, counts| run.ratio(counts))
}

/// Mean over seeds of a run's figure less that of the other run with the same seed.
pub fn difference(runs: &[(&Parts, &Parts)], seed: u64) -> Figure {
    bootstrap(runs, seed, |(run, other), counts| Some(run.ratio(counts)? - other.ratio(counts)?))
}

/// `of` is the figure of a run, given how often each row counts.
fn bootstrap<R: Rows + Sync>(runs: &[R], seed: u64, of: impl Fn(&R, &[u32]) -> Option<f64> + Sync) -> Figure {
    let Some(rows) = runs.first().map(Rows::rows) else { return Figure::default() };
    let drawn: Vec<Option<f64>> = (0..DRAWS)
        .into_par_iter()
        .map(|draw| {
            let counts = resample(rows, seed, draw);
            // Beyond the streams of the rows.
            let times = resample(runs.len(), seed, DRAWS + draw);
            let drawn = runs.iter().zip(&times).filter(|(_, times)| **times > 0);
            let sum = drawn.map(|(run, times)| Some(of(run, &counts)? * f64::from(*times))).sum::<Option<f64>>()?;
            Some(sum / runs.len() as f64)
        })
        .collect();
    let once = vec![1; rows];
    // One number has no spread: of its interval nothing is known.
    let drawn = if rows * runs.len() > 1 { drawn } else { vec![] };
    let values = runs.iter().map(|run| of(run, &once)).collect::<Option<Vec<_>>>();
    Figure::new(values.map(|values| mean(&values)), drawn)
}

/// What has held-out rows.
trait Rows {
    fn rows(&self) -> usize;
}
impl Rows for &Parts {
    fn rows(&self) -> usize {
        self.0.len()
    }
}
impl Rows for (&Parts, &Parts) {
    fn rows(&self) -> usize {
        self.0.0.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rand_chacha::{
        ChaCha8Rng,
        rand_core::{Rng, SeedableRng},
    };

    /// Rows that are each worth `of(row)`.
    fn parts(rows: usize, of: impl Fn(usize) -> f64) -> Parts {
        Parts((0..rows).map(|row| [of(row), 1.0]).collect())
    }

    /// Numbers with mean 0 and variance 1: sums of twelve uniform ones.
    fn normal(n: usize, seed: u64) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut uniform = || (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        (0..n).map(|_| (0..12).map(|_| uniform()).sum::<f64>() - 6.0).collect()
    }

    #[test]
    fn equal_arms_differ_by_nothing_and_shifted_ones_by_the_shift() {
        let hard = normal(50, 1);
        let runs: Vec<Parts> = (0..3).map(|seed| parts(50, |row| hard[row] * f64::from(seed))).collect();
        let better: Vec<Parts> = (0..3).map(|seed| parts(50, |row| hard[row] * f64::from(seed) + 0.25)).collect();
        let same = difference(&runs.iter().zip(&runs).collect::<Vec<_>>(), 7);
        assert_eq!(same, Figure { value: Some(0.0), interval: Some([0.0, 0.0]) });
        let Figure { value, interval } = difference(&better.iter().zip(&runs).collect::<Vec<_>>(), 7);
        for found in [value.unwrap(), interval.unwrap()[0], interval.unwrap()[1]] {
            assert!((found - 0.25).abs() < 1e-12, "{found}");
        }
    }

    #[test]
    fn intervals_have_the_width_of_the_closed_form() {
        // One seed: the standard error of a mean over rows.
        let (n, hard) = (400, normal(400, 2));
        let [low, high] = figure(&[&parts(n, |row| 3.0 * hard[row])], 0).interval.unwrap();
        let expected = 2.0 * 1.96 * 3.0 / (n as f64).sqrt();
        assert!(((high - low) / expected - 1.0).abs() < 0.1, "{} {expected}", high - low);
        // Many seeds whose runs are shifted as wholes: the rows' variance, and the seeds' over their number.
        let shifts = normal(100, 3);
        let runs: Vec<Parts> = shifts.iter().map(|shift| parts(n, |row| 3.0 * hard[row] + 2.0 * shift)).collect();
        let [low, high] = figure(&runs.iter().collect::<Vec<_>>(), 0).interval.unwrap();
        let expected = 2.0 * 1.96 * (9.0 / n as f64 + 4.0 / 100.0f64).sqrt();
        assert!(((high - low) / expected - 1.0).abs() < 0.15, "{} {expected}", high - low);
        // Against each other what the arms have in common is gone, and what they have not stays.
        let noise = normal(n, 4);
        let others: Vec<Parts> =
            shifts.iter().map(|shift| parts(n, |row| 3.0 * hard[row] + 2.0 * shift + noise[row])).collect();
        let [low, high] = difference(&others.iter().zip(&runs).collect::<Vec<_>>(), 0).interval.unwrap();
        let expected = 2.0 * 1.96 / (n as f64).sqrt();
        assert!(((high - low) / expected - 1.0).abs() < 0.15, "{} {expected}", high - low);
    }

    #[test]
    fn a_ratio_is_of_sums_and_rows_without_denominator_do_not_count() {
        let run = Parts(vec![[2.0, 1.0], [4.0, 3.0], [0.0, 0.0]]);
        assert_eq!(run.figure(), Some(1.5));
        assert_eq!(run.ratio(&[2, 1, 5]), Some(8.0 / 5.0));
        assert_eq!(Parts(vec![[0.0, 0.0]]).figure(), None);
        assert_eq!(figure(&[], 0), Figure::default());
        assert_eq!(figure(&[&Parts(vec![[3.0, 2.0]])], 0), Figure { value: Some(1.5), interval: None });
    }

    #[test]
    fn resamples_are_a_function_of_the_seed() {
        let hard = normal(30, 5);
        let run = parts(30, |row| hard[row]);
        assert_eq!(figure(&[&run], 1), figure(&[&run], 1));
        assert_ne!(figure(&[&run], 1), figure(&[&run], 2));
    }
}

//! Which samples a step sees, which are measured, and how large the step is: functions of the host's seed.

use ldalign_sdk::Host;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

/// Of this many rows one is kept from training.
const HELD_OUT_EVERY: usize = 10;

/// Indices of the samples to train on and of those to measure on: whole rows, golden and generated (2i and 2i + 1).
///
/// One row in ten is kept from training, at most `measured_rows`; with fewer than twenty rows all are used for both.
pub fn split(samples: usize, measured_rows: usize) -> (Vec<usize>, Vec<usize>) {
    let rows = samples / 2;
    let every = HELD_OUT_EVERY.max(rows.div_ceil(measured_rows));
    if rows < 2 * HELD_OUT_EVERY {
        return ((0..samples).collect(), (0..samples).collect());
    }
    (0..samples).partition(|sample| (sample / 2) % every != every - 1)
}

/// `peak` times: up in a line over the first tenth, then down in a line; never 0.
pub fn learning_rate(peak: f64, step: usize, steps: usize) -> f64 {
    let (step, steps) = (step as f64, steps as f64);
    let warm_up = (steps / 10.0).ceil();
    peak * ((step + 1.0) / warm_up).min((steps - step) / (steps - warm_up).max(1.0)).min(1.0)
}

/// Random numbers of the host's seed, each stream its own; 0 is that of the weights.
pub fn stream(host: &Host, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(host.seed());
    rng.set_stream(stream);
    rng
}

/// In 0..1.
pub fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// The samples in random order, again and again, each pass in a new order.
pub struct Order {
    samples: Vec<usize>,
    rng: ChaCha8Rng,
    position: usize,
}

impl Order {
    /// Nothing is drawn before it is needed.
    pub fn new(samples: Vec<usize>, rng: ChaCha8Rng) -> Self {
        Self { position: samples.len(), samples, rng }
    }

    /// The next `count` samples; fewer where there are no more in all.
    pub fn next(&mut self, count: usize) -> Vec<usize> {
        let count = count.min(self.samples.len());
        if self.position + count > self.samples.len() {
            // Fisher and Yates.
            for last in (1..self.samples.len()).rev() {
                let other = (uniform(&mut self.rng) * (last + 1) as f64) as usize;
                self.samples.swap(last, other);
            }
            self.position = 0;
        }
        self.position += count;
        self.samples[self.position - count..self.position].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_out_rows_are_whole_and_spread() {
        for rows in [20, 200, 5000] {
            let (training, measured) = split(2 * rows, 64);
            assert_eq!(training.len() + measured.len(), 2 * rows);
            assert!(measured.chunks(2).all(|row| row[0].is_multiple_of(2) && row[1] == row[0] + 1), "{rows}");
            assert!((2 * rows / 20..=2 * 64).contains(&measured.len()) || rows == 5000, "{rows}");
            assert!(measured.len() <= 2 * 64 && measured[0] < rows && measured[measured.len() - 1] > rows);
        }
        assert_eq!(split(6, 64), ((0..6).collect(), (0..6).collect()), "too few rows to spare any");
    }

    #[test]
    fn the_learning_rate_rises_and_falls() {
        let rates: Vec<f64> = (0..100).map(|step| learning_rate(1.0, step, 100)).collect();
        assert_eq!((rates[0], rates[9], rates[10]), (0.1, 1.0, 1.0));
        assert!(rates[..10].is_sorted() && rates[10..].iter().rev().is_sorted() && rates[99] > 0.0);
        assert_eq!(learning_rate(1.0, 0, 1), 1.0);
    }

    #[test]
    fn each_pass_visits_every_sample_once_in_a_new_order() {
        let mut order = Order::new((0..12).collect(), ChaCha8Rng::seed_from_u64(3));
        let mut pass = || -> Vec<usize> { (0..3).flat_map(|_| order.next(4)).collect() };
        let (first, second) = (pass(), pass());
        assert_ne!(first, second);
        for mut pass in [first, second] {
            pass.sort_unstable();
            assert_eq!(pass, (0..12).collect::<Vec<_>>());
        }
        assert_eq!(order.next(99).len(), 12);
    }
}

//! Which rows a step sees, and how they become packs.

use crate::{
    Code, Error, Result,
    config::TrainConfig,
    data::tokens::TokenStore,
    model::{Pack, Target},
};
use rand_chacha::{
    ChaCha12Rng,
    rand_core::{Rng, SeedableRng},
};

/// The order of all rows over all steps: a pure function of row count, configuration and seed.
pub struct Plan {
    seed: u64,
    rows: usize,
    rows_per_step: usize,
    /// Optimizer steps of an epoch; the last one has fewer rows where they do not divide.
    pub steps_per_epoch: u64,
    /// Optimizer steps in all.
    pub total_steps: u64,
    /// The newest epoch asked for and its order, so that a step does not shuffle anew.
    epoch: Option<(u64, Vec<u32>)>,
}

impl Plan {
    /// Plans training on `rows` rows. Fails with `config/train` or `data/empty`.
    pub fn new(rows: usize, config: &TrainConfig, seed: u64) -> Result<Self> {
        if rows == 0 {
            return Err(Error::new(Code::DataEmpty, "there is no row to train on"));
        }
        let (batch, accumulated) = (config.per_device_train_batch_size, config.gradient_accumulation_steps);
        for (key, value) in [("per_device_train_batch_size", batch), ("gradient_accumulation_steps", accumulated)] {
            if value == 0 {
                return Err(Error::new(Code::ConfigTrain, format!("{key} is 0; expected 1 or more")));
            }
        }
        let rows_per_step = batch * accumulated;
        let steps_per_epoch = rows.div_ceil(rows_per_step) as u64;
        let total_steps =
            if config.max_steps > 0 { config.max_steps } else { config.num_train_epochs * steps_per_epoch };
        Ok(Self { seed, rows, rows_per_step, steps_per_epoch, total_steps, epoch: None })
    }

    /// Rows of a step (from 0), in order.
    pub fn rows(&mut self, step: u64) -> Vec<usize> {
        let epoch = step / self.steps_per_epoch;
        let start = (step % self.steps_per_epoch) as usize * self.rows_per_step;
        if self.epoch.as_ref().is_none_or(|(e, _)| *e != epoch) {
            self.epoch = Some((epoch, shuffled(self.rows, self.seed, epoch)));
        }
        let (_, order) = self.epoch.as_ref().expect("the epoch was shuffled above");
        order[start..self.rows.min(start + self.rows_per_step)].iter().map(|&row| row as usize).collect()
    }

    /// Epochs done after `steps` steps.
    pub fn epochs(&self, steps: u64) -> f64 {
        steps as f64 / self.steps_per_epoch as f64
    }
}

/// The numbers 0..n in the order of an epoch: Fisher-Yates on a ChaCha12 stream keyed by seed and epoch. It is our own,
/// since libraries change theirs and a run must stay the run it was.
fn shuffled(n: usize, seed: u64, epoch: u64) -> Vec<u32> {
    let mut key = *b"________________ldalign/order/v1";
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&epoch.to_le_bytes());
    let mut rng = ChaCha12Rng::from_seed(key);
    let mut order: Vec<u32> = (0..n as u32).collect();
    for i in (1..n).rev() {
        order.swap(i, below(&mut rng, i as u64 + 1) as usize);
    }
    order
}

/// Uniform in 0..n without bias: the high half of a 128-bit product, values of the uneven rest drawn again (Lemire,
/// arXiv 1805.10941).
fn below(rng: &mut ChaCha12Rng, n: u64) -> u64 {
    loop {
        let product = u128::from(rng.next_u64()) * u128::from(n);
        if product as u64 >= n.wrapping_neg() % n {
            return (product >> 64) as u64;
        }
    }
}

/// Rows laid out for one pass: each prompt once, its completions (all columns but the first) after it.
pub struct Pass {
    /// The tokens.
    pub pack: Pack,
    /// What to score: all tokens of all completions.
    pub targets: Vec<Target>,
    /// Tokens of each completion, in order of row and column.
    lengths: Vec<usize>,
}

impl Pass {
    /// Packs rows of a store.
    pub fn new(store: &TokenStore, rows: impl IntoIterator<Item = usize>) -> Self {
        let (mut pack, mut targets, mut lengths) = (Pack::default(), vec![], vec![]);
        for row in rows {
            let prompt = pack.push_prompt(store.get(row, 0));
            for column in 1..store.columns() {
                let ids = store.get(row, column);
                targets.extend(pack.push_completion(prompt, ids));
                lengths.push(ids.len());
            }
        }
        Self { pack, targets, lengths }
    }

    /// Tokens of the completions.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Sums the targets' log-probabilities to one a completion. Summed in f64 and rounded, here for policy and
    /// reference alike.
    pub fn sums(&self, logps: &[f32]) -> Vec<f32> {
        let mut rest = logps;
        let mut next = |&length: &usize| {
            let sequence;
            (sequence, rest) = rest.split_at(length);
            sequence.iter().map(|&l| f64::from(l)).sum::<f64>() as f32
        };
        self.lengths.iter().map(&mut next).collect()
    }

    /// Gives every target the derivative with respect to its completion's log-probability.
    pub fn spread(&self, derivatives: &[f64]) -> Vec<f32> {
        self.lengths.iter().zip(derivatives).flat_map(|(&n, &d)| std::iter::repeat_n(d as f32, n)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn plan(rows: usize, per_pass: usize, passes: usize, max_steps: u64) -> Plan {
        let config = TrainConfig {
            per_device_train_batch_size: per_pass,
            gradient_accumulation_steps: passes,
            num_train_epochs: 2,
            max_steps,
            ..Default::default()
        };
        Plan::new(rows, &config, 7).unwrap()
    }

    #[test]
    fn an_epoch_sees_every_row_once_and_the_last_step_the_rest() {
        let mut plan = plan(11, 2, 2, 0);
        assert_eq!((plan.steps_per_epoch, plan.total_steps), (3, 6));
        let epochs: Vec<Vec<usize>> = (0..2).map(|e| (0..3).flat_map(|s| plan.rows(3 * e + s)).collect()).collect();
        for epoch in &epochs {
            let mut sorted = epoch.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, Vec::from_iter(0..11));
        }
        assert_ne!(epochs[0], epochs[1]);
        assert_eq!(plan.rows(2).len(), 3);
        // Asked in another order, as a resumed run does, it answers the same.
        assert_eq!(plan.rows(4), self::plan(11, 2, 2, 0).rows(4));
        assert_eq!(plan.epochs(4), 4.0 / 3.0);
    }

    #[test]
    fn max_steps_overrides_epochs() {
        assert_eq!(plan(11, 2, 2, 2).total_steps, 2);
        let mut long = plan(3, 1, 1, 8);
        assert_eq!(long.total_steps, 8);
        assert_eq!(long.rows(7).len(), 1);
    }

    /// The order is a promise: a changed shuffle would change every run. Computed by another program from RFC 8439's
    /// rounds.
    #[test]
    fn the_order_never_changes() {
        assert_eq!(shuffled(10, 0, 0), [2, 9, 8, 5, 4, 0, 6, 1, 7, 3]);
    }

    #[test]
    fn places_are_uniform() {
        let mut counts = [[0u32; 5]; 5];
        for epoch in 0..5000 {
            for (place, n) in shuffled(5, 1, epoch).into_iter().enumerate() {
                counts[n as usize][place] += 1;
            }
        }
        // 1,000 expected, standard deviation 28.
        for count in counts.as_flattened() {
            assert!(count.abs_diff(1000) < 130, "{counts:?}");
        }
    }

    #[test]
    fn a_pass_sums_and_spreads_by_completion() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t");
        let rows = [[vec![9, 8], vec![1], vec![2, 3]], [vec![7], vec![4, 5, 6], vec![1]]];
        TokenStore::write(&path, rows.into_iter().map(Ok)).unwrap();
        let store = TokenStore::open(&path, 3).unwrap();
        let pass = Pass::new(&store, [1, 0]);
        assert_eq!(pass.lengths(), [3, 1, 1, 2]);
        assert_eq!(pass.targets.iter().map(|t| t.token).collect::<Vec<_>>(), [4, 5, 6, 1, 1, 2, 3]);
        assert_eq!(pass.sums(&[1., 2., 3., 4., 5., 6., 7.]), [6., 4., 5., 13.]);
        assert_eq!(pass.spread(&[1., 2., 3., 4.]), [1., 1., 1., 2., 3., 4., 4.]);
    }
}

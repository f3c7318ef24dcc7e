//! How cost and memory grow: by the length of a sequence at equal tokens a step, and by sequences a step at equal
//! length.
//!
//! Supervised steps on made-up rows, half prompt, half response. Per token, products cost the same at any length and
//! attention grows in line with it; its share of the operations is given beside the cost.

use super::{
    Bench, Memory, Rate, SEED, Watch, data,
    train::{estimate, load, steady, steps},
};
use crate::{Result, train};
use serde::Serialize;

/// Lengths compared, as far as the model takes them.
const LENGTHS: [usize; 5] = [128, 256, 512, 1024, 2048];
/// Tokens of a step while lengths are compared.
const TOKENS: usize = 4096;
/// Sequences of a step compared, each of [`LENGTH`] tokens.
const BATCHES: [usize; 5] = [1, 2, 4, 8, 16];
/// Length while batches are compared.
const LENGTH: usize = 512;
/// Steps of each, the first of which does not count.
const STEPS: u64 = 3;

/// Both tables.
#[derive(Debug, Serialize)]
pub struct Lengths {
    /// By tokens of a sequence.
    pub by_length: Vec<Cost>,
    /// By sequences of a step.
    pub by_batch: Vec<Cost>,
}

/// A line of a table.
#[derive(Debug, Serialize)]
pub struct Cost {
    /// Tokens of a sequence.
    pub length: usize,
    /// Sequences of a step.
    pub sequences: usize,
    /// Seconds of the fastest step.
    pub seconds: f64,
    /// Microseconds a token.
    pub us_per_token: f64,
    /// Attention's share of the useful operations.
    pub attention_share: f64,
    /// Useful operations.
    pub rate: Rate,
    /// Memory.
    pub memory: Memory,
}

/// Measures both tables.
pub fn measure(bench: &Bench<'_>) -> Result<Lengths> {
    let room = bench.config.max_positions;
    let mut lengths: Vec<usize> = LENGTHS.into_iter().filter(|&n| n <= room).collect();
    if lengths.is_empty() {
        lengths.push(room);
    }
    let by_length = lengths.iter().map(|&n| cost(bench, n, TOKENS / n)).collect::<Result<_>>()?;
    let by_batch = BATCHES.into_iter().map(|rows| cost(bench, LENGTH.min(room), rows)).collect::<Result<_>>()?;
    Ok(Lengths { by_length, by_batch })
}

fn cost(bench: &Bench<'_>, length: usize, sequences: usize) -> Result<Cost> {
    crate::progress::say(format_args!("lengths: {sequences} x {length} tokens"));
    let dir = bench.scratch.path().join(format!("{sequences}x{length}"));
    crate::files::make_dir(&dir)?;
    let rows = [length / 2, length.div_ceil(2)];
    let store = data::made_up(&dir.join("rows.bin"), sequences, rows, &bench.config)?;
    let config = bench.training(sequences, STEPS);
    let mut policy = bench.policy()?;
    let watch = Watch::start();
    train::sft(&mut policy, &train::SftData { rows: &store, weights: None }, &config, SEED, &dir)?;
    let memory = watch.stop(Some(estimate(bench, &store, &config)?.peak));

    let steps = steps(bench, &store, &config, &dir)?;
    let seconds = steady(&steps).iter().map(|s| s.seconds).fold(f64::INFINITY, f64::min);
    let all = (0..sequences).map(|row| load(&bench.config, &store, row)).sum();
    Ok(Cost {
        length,
        sequences,
        seconds,
        us_per_token: seconds * 1e6 / (length * sequences) as f64,
        attention_share: bench.work().attention_share(all),
        rate: bench.rate(bench.work().step(all), seconds),
        memory,
    })
}

//! Log-probabilities without gradient: the reference of a round, and the pattern of every pass that only reads.

use super::{
    Bench, Memory, Rate, Watch,
    train::load,
    work::{Load, Work},
};
use crate::{Result, interrupt, progress::Progress, train};
use serde::Serialize;
use std::time::Instant;

/// Rates of passes without gradient.
#[derive(Debug, Serialize)]
pub struct Reference {
    /// Pairs scored.
    pub pairs: usize,
    /// Wall-clock time.
    pub seconds: f64,
    /// Tokens of all sequences a second, a prompt counted with each of its responses.
    pub tokens_per_s: f64,
    /// Tokens that went through the model a second.
    pub packed_tokens_per_s: f64,
    /// Useful operations.
    pub rate: Rate,
    /// Memory.
    pub memory: Memory,
}

/// Scores all pairs.
pub fn measure(bench: &Bench<'_>) -> Result<Reference> {
    let (policy, pairs) = (bench.policy()?, &bench.pairs);
    let watch = Watch::start();
    let mut progress = Progress::new("reference", 0, pairs.len() as u64);
    let start = Instant::now();
    train::reference_logps(&policy, pairs, |rows| {
        progress.advance(rows, "");
        interrupt::check()
    })?;
    let seconds = start.elapsed().as_secs_f64();
    progress.finish("");

    let all: Load = (0..pairs.len()).map(|row| load(&bench.config, pairs, row)).sum();
    let sequences = |row| 2 * pairs.get(row, 0).len() + pairs.get(row, 1).len() + pairs.get(row, 2).len();
    let tokens: usize = (0..pairs.len()).map(sequences).sum();
    Ok(Reference {
        pairs: pairs.len(),
        seconds,
        tokens_per_s: tokens as f64 / seconds,
        packed_tokens_per_s: all.tokens / seconds,
        // An adapter that is new changes nothing yet, but is computed.
        rate: bench.rate(Work::new(&bench.config, bench.options.lora).forward(all), seconds),
        memory: watch.stop(None),
    })
}

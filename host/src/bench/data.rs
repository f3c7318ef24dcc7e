//! Pairs to measure with: a user's, or made-up ones.

use super::Options;
use crate::{
    Code, Error, Result,
    config::DataConfig,
    data::{Budget, Dataset, tokens::TokenStore},
    interrupt,
    model::{self, ModelConfig},
};
use std::path::Path;

/// Prompts that the stages without training need at least.
pub const PROMPTS: usize = 32;

/// Rows of [prompt, chosen, rejected], written to `path`: as many as the steps take, and at least [`PROMPTS`] if there
/// are.
///
/// The file's first rows are taken, fitted into `max_length` as for training. Made-up rows fill `max_length`, a prompt
/// and its responses half each.
pub fn pairs(options: &Options, model: &ModelConfig, path: &Path) -> Result<TokenStore> {
    if options.max_length < 2 || options.max_length > model.max_positions {
        let what = format!("max_length is {}; the model takes 2 to {} tokens", options.max_length, model.max_positions);
        return Err(Error::new(Code::BenchOptions, what));
    }
    let rows = (options.batch * options.steps as usize).max(PROMPTS);
    match &options.data {
        None => {
            let lengths = [options.max_length / 2, options.max_length.div_ceil(2), options.max_length.div_ceil(2)];
            made_up(path, rows, lengths, model)
        }
        Some(file) => read(options, file, rows, path),
    }
}

/// Rows of made-up tokens, sequences of these lengths in each.
pub fn made_up<const N: usize>(
    path: &Path,
    rows: usize,
    lengths: [usize; N],
    model: &ModelConfig,
) -> Result<TokenStore> {
    // Neighbours that differ and rows that differ are all that matters: no operation's time depends on a value.
    let mut next = 0u32;
    let mut sequence = |length| -> Vec<u32> {
        let mut id = || {
            next = next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (next >> 8) % model.vocab_size as u32
        };
        (0..length).map(|_| id()).collect()
    };
    TokenStore::write(path, (0..rows).map(|_| Ok(lengths.map(&mut sequence))))?;
    TokenStore::open(path, N)
}

fn read(options: &Options, file: &Path, rows: usize, path: &Path) -> Result<TokenStore> {
    let config = DataConfig { max_rows: rows, max_length: options.max_length, ..DataConfig::of(file) };
    let data = Dataset::open(&[config])?;
    if !data.has_rejected() {
        return Err(Error::new(Code::BenchData, format!("{} has no rejected responses", file.display()))
            .hint("rows need prompt, chosen and rejected; without --data, tokens are made up"));
    }
    let codec = model::codec(&options.model)?;
    let mut budget = Budget::default();
    let triples = (0..data.len()).filter_map(|index| {
        let mut triple = || {
            interrupt::check()?;
            let row = data.row(index)?;
            let chosen = codec.encode_turn(&row.prompt, &row.chosen).map_err(|e| e.at(data.place(&row)))?;
            let rejected = row.rejected.as_ref().expect("`has_rejected` was asked above");
            let rejected = codec.encode_turn(&row.prompt, rejected).map_err(|e| e.at(data.place(&row)))?;
            let fitted = budget.fit(row.limits, chosen.prompt, [chosen.response, rejected.response]);
            Ok(fitted.map(|(prompt, [chosen, rejected])| [prompt, chosen, rejected]))
        };
        triple().transpose()
    });
    TokenStore::write(path, triples)?;
    budget.report().check()?;
    TokenStore::open(path, 3)
}

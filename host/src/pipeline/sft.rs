//! `ldalign sft`: supervised fine-tuning on golden responses by the same engine.

use super::{Manifest, RunDir, device};
use crate::{
    Result,
    config::RunConfig,
    data::{Dataset, tokens::TokenStore},
    model::Policy,
    text::TextCodec,
    train,
};
use std::path::PathBuf;

/// Trains `config.model` on the rows and writes `output_dir/model`; returns that directory.
///
/// The output directory holds manifest.json, rows.bin, train/ (metrics and checkpoints) and model/; started again, it goes on.
pub fn sft(config: &RunConfig) -> Result<PathBuf> {
    let data = Dataset::open(&config.data)?;
    let codec = TextCodec::load(&config.model)?;
    let dir = RunDir::open(&config.output_dir, &Manifest::new(config, &data, vec![])?)?;
    let dir = dir.path();
    let mut budget = config.data.budget();
    let path = dir.join("rows.bin");
    TokenStore::write(
        &path,
        (0..data.len()).filter_map(|index| {
            let row = (|| -> Result<_> {
                crate::interrupt::check()?;
                let row = data.row(index)?;
                let turn = codec.encode_turn(&row.history, &row.chosen).map_err(|e| e.at(data.place(&row)))?;
                Ok(budget.fit(turn.prompt, [turn.response]).map(|(prompt, [completion])| [prompt, completion]))
            })();
            row.transpose()
        }),
    )?;
    budget.report().check()?;
    let rows = TokenStore::open(&path, 2)?;
    let mut policy = Policy::load_as(&config.model, &device(&config.device)?, config.precision())?;
    if let Some(lora) = &config.train.lora {
        policy.add_lora(lora, config.seed)?;
    }
    train::sft(&mut policy, &rows, &config.train, config.seed, &dir.join("train"))?;
    let out = dir.join("model");
    policy.save(&out)?;
    Ok(out)
}

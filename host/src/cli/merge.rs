//! `merge`: an adapter and its base model as one plain model directory.

use super::print;
use candle_core::Device;
use ldalign::{Code, Error, Result, files, model::Policy};
use std::path::PathBuf;

/// Arguments of `merge`.
#[derive(clap::Args)]
pub struct Merge {
    /// Adapter directory (adapter_config.json names the base model)
    adapter: PathBuf,
    /// Directory to write, which must not exist
    output: PathBuf,
}

impl Merge {
    /// Merges and prints the directory.
    pub fn run(&self) -> Result<()> {
        let out = &self.output;
        if out.exists() {
            let message = format!("{} is there already", out.display());
            return Err(Error::new(Code::MergeOutput, message).hint("name a new directory, or remove this one"));
        }
        let mut policy = Policy::load(&self.adapter, &Device::Cpu)?;
        if policy.lora().is_none() {
            let message = format!("{} holds no adapter", self.adapter.display());
            return Err(Error::new(Code::MergeAdapter, message).hint("give the directory with adapter_config.json"));
        }
        policy.merge()?;
        files::write_dir(out, |dir| policy.save(dir))?;
        print(&out.display().to_string())
    }
}

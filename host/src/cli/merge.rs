//! `merge`: an adapter and its base model as one plain model directory.

use super::print;
use candle_core::Device;
use ldalign::{
    Code, Error, Result, files,
    model::{Kept, ModelDir, Policy},
    ops::{Compute, Precision},
    progress,
};
use std::path::PathBuf;

/// Arguments of `merge`.
#[derive(clap::Args)]
pub struct Merge {
    /// Adapter directory (adapter_config.json names the base model)
    adapter: PathBuf,
    /// Directory to write, which must not exist
    output: PathBuf,
    /// Merges into this model as it is, in place of the base the adapter names; of an adapter that was trained on a
    /// base in 4 bits, the original: else it is merged into the numbers that the 4 bits mean
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
}

impl Merge {
    /// Merges and prints the directory.
    pub fn run(&self) -> Result<()> {
        let out = &self.output;
        if out.exists() {
            let message = format!("{} is there already", out.display());
            return Err(Error::new(Code::MergeOutput, message).hint("name a new directory, or remove this one"));
        }
        let source = ModelDir::open_on(&self.adapter, self.base.as_deref())?;
        if !source.is_adapter() {
            let message = format!("{} holds no adapter", self.adapter.display());
            return Err(Error::new(Code::MergeAdapter, message).hint("give the directory with adapter_config.json"));
        }
        let place = source.base().display();
        match source.quantize() {
            Some(quantize) => progress::say(format_args!(
                "merging into {place} as the adapter was trained on it, made into {quantize:?} and unpacked; --base DIR \
                 merges into a model as it is"
            )),
            None if source.is_gguf() => {
                progress::say(format_args!("merging into the numbers of {place}, unpacked to f32"))
            }
            None => {}
        }
        let compute = Compute::new(&Device::Cpu, Precision::F32);
        let mut policy = Policy::load_source(&source, &compute, Kept::Frozen)?;
        policy.merge()?;
        files::write_dir(out, |dir| policy.save(dir))?;
        print(&out.display().to_string())
    }
}

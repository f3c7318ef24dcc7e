//! `schema`: what a config may say, for editors that complete and check YAML by a JSON schema.

use super::print_json;
use ldalign::{Result, compare::CompareConfig, config::RunConfig};

/// Arguments of `schema`.
#[derive(clap::Args)]
pub struct Schema {
    /// Of which kind of file
    #[arg(value_enum, default_value_t = File::Run)]
    file: File,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum File {
    /// The config of a run, of `sft`, of `validate`
    Run,
    /// The file of `compare`
    Compare,
}

impl Schema {
    /// Prints it.
    pub fn run(&self) -> Result<()> {
        print_json(&match self.file {
            File::Run => RunConfig::schema(),
            File::Compare => CompareConfig::schema(),
        })
    }
}

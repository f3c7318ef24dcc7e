//! `init`: a config to begin with, every line of it explained.

use super::print;
use ldalign::{Code, Error, Result, files};
use std::path::PathBuf;

/// Arguments of `init`.
#[derive(clap::Args)]
pub struct Init {
    /// What for
    #[arg(value_enum)]
    preset: Preset,
    /// File to write; one that is there stays
    #[arg(default_value = "run.yaml")]
    file: PathBuf,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Preset {
    /// A model of up to a billion parameters on a processor, by low-rank adapters
    Laptop,
    /// A model of seven billion parameters on one GPU
    #[value(name = "gpu-7b")]
    Gpu7b,
    /// SPIN: one sample a prompt, every pair counting the same
    Spin,
    /// Ready-made pairs of chosen and rejected responses: DPO
    DpoPairs,
}

impl Preset {
    fn text(self) -> &'static str {
        match self {
            Self::Laptop => include_str!("init/laptop.yaml"),
            Self::Gpu7b => include_str!("init/gpu-7b.yaml"),
            Self::Spin => include_str!("init/spin.yaml"),
            Self::DpoPairs => include_str!("init/dpo-pairs.yaml"),
        }
    }
}

impl Init {
    /// Writes the file; prints its name.
    pub fn run(&self) -> Result<()> {
        let file = self.file.display();
        if self.file.symlink_metadata().is_ok() {
            return Err(Error::new(Code::FileTaken, format!("{file} is there already; nothing was written"))
                .hint("give another name: ldalign init PRESET FILE"));
        }
        files::write(&self.file, self.preset.text().as_bytes())?;
        tracing::info!("put your model and data into it, then: ldalign check {file}");
        print(&file.to_string())
    }
}

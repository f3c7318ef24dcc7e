//! `completions`: what a shell completes the program's commands and options by.

use super::{Cli, write};
use clap::CommandFactory;
use clap_complete::{Shell, generate};
use ldalign::Result;

/// Arguments of `completions`.
#[derive(clap::Args)]
pub struct Completions {
    /// Of which shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// Prints the script.
    pub fn run(&self) -> Result<()> {
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::command(), "ldalign", &mut script);
        write(&String::from_utf8_lossy(&script))
    }
}

//! `plugin`: what authors and teams do with plugin libraries, one file per verb.

mod info;

use clap::Subcommand;
use ldalign::Result;

/// Verbs of `plugin`.
#[derive(Subcommand)]
pub enum Plugin {
    /// Prints what a library says about itself, without running any of it
    Info(info::Info),
}

impl Plugin {
    /// Does what the verb says.
    pub fn run(&self) -> Result<()> {
        match self {
            Plugin::Info(args) => args.run(),
        }
    }
}

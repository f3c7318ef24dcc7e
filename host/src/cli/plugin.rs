//! `plugin`: what authors and teams do with plugin libraries, one file per verb.

mod info;
mod new;
mod why_not;

use clap::Subcommand;
use ldalign::Result;

/// Verbs of `plugin`.
#[derive(Subcommand)]
pub enum Plugin {
    /// Makes a crate to begin a plugin with
    New(new::New),
    /// Prints what a library says about itself, without running any of it
    Info(info::Info),
    /// Says step by step whether a plugin would be refused and why, without running any of it
    WhyNot(why_not::WhyNot),
}

impl Plugin {
    /// Does what the verb says.
    pub fn run(&self) -> Result<()> {
        match self {
            Plugin::New(args) => args.run(),
            Plugin::Info(args) => args.run(),
            Plugin::WhyNot(args) => args.run(),
        }
    }
}

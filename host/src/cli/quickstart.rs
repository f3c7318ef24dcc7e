//! `quickstart`: the whole method on an embedded model, in a minute or two.

use super::print;
use ldalign::{Result, quickstart};
use std::path::PathBuf;

/// Arguments of `quickstart`.
#[derive(clap::Args)]
pub struct Quickstart {
    /// Directory to write
    #[arg(long, default_value = "quickstart-run")]
    output: PathBuf,
}

impl Quickstart {
    /// Runs it and prints its table.
    pub fn run(&self) -> Result<()> {
        let (table, report) = quickstart::run(&self.output)?;
        print(&format!("{table}\nreport: {}", report.display()))
    }
}

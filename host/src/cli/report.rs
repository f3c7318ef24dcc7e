//! `report`: the HTML report of a run directory, finished or not.

use super::print;
use ldalign::{Result, report};
use std::path::PathBuf;

/// Arguments of `report`.
#[derive(clap::Args)]
pub struct Report {
    /// Run directory
    run: PathBuf,
}

impl Report {
    /// Writes the report and prints its path.
    pub fn run(&self) -> Result<()> {
        print(&report::write(&self.run)?.display().to_string())
    }
}

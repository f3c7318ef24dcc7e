//! `run`, and `generate`, `score` and `train`, which stop after their stage.

use super::{ConfigArgs, print};
use ldalign::{Result, pipeline};

pub use ldalign::pipeline::Stage;

/// Runs the config's rounds; prints the run directory.
pub fn run(args: &ConfigArgs, until: Option<Stage>) -> Result<()> {
    let dir = pipeline::run(args.load()?, until)?;
    print(&dir.display().to_string())
}

//! `run`, and `generate`, `score` and `train`, which stop after their stage.

use super::{ConfigArgs, on_pool, print};
use ldalign::{Result, pipeline, report};

pub use ldalign::rundir::Stage;

/// Runs the config's rounds; prints the run directory.
pub fn run(args: &ConfigArgs, until: Option<Stage>) -> Result<()> {
    let config = args.load()?;
    let dir = on_pool(|| pipeline::run(config, until, &report::refresh))?;
    print(&dir.display().to_string())
}

//! `run`, and `generate`, `score` and `train`, which stop after their stage.

use super::{ConfigArgs, on_pool, print};
use ldalign::{Result, pipeline};

pub use ldalign::pipeline::Stage;

/// Runs the config's rounds; prints the run directory.
pub fn run(args: &ConfigArgs, until: Option<Stage>) -> Result<()> {
    let config = args.load()?;
    let dir = on_pool(|| pipeline::run(config, until))?;
    print(&dir.display().to_string())
}

//! `sft`: supervised fine-tuning with the config's model, data and train sections.

use super::{ConfigArgs, on_pool, print};
use ldalign::{Result, pipeline};

/// Trains; prints the directory of the trained model.
pub fn run(args: &ConfigArgs) -> Result<()> {
    let config = args.load()?;
    let model = on_pool(|| pipeline::sft(&config))?;
    print(&model.display().to_string())
}

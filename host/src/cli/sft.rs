//! `sft`: supervised fine-tuning with the config's model, data and train sections.

use super::{ConfigArgs, print};
use ldalign::{Result, pipeline};

/// Trains; prints the directory of the trained model.
pub fn run(args: &ConfigArgs) -> Result<()> {
    let model = pipeline::sft(&args.load()?)?;
    print(&model.display().to_string())
}

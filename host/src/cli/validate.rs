//! `validate`: whether nearer to the golden response means better, on judged rows or by a checker on a run's samples.

use super::{ConfigArgs, on_pool, print, print_json};
use ldalign::{Result, rundir::Layout, validate};
use std::path::PathBuf;

/// Arguments of `validate`.
#[derive(clap::Args)]
pub struct Validate {
    #[command(flatten)]
    config: ConfigArgs,
    /// Directory for validate.json, validate.html and the latents; `validate` in the config's output_dir by default
    #[arg(long)]
    output: Option<PathBuf>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

impl Validate {
    /// Measures, writes and prints.
    pub fn run(&self) -> Result<()> {
        let config = self.config.load()?;
        let output = self.output.clone().unwrap_or_else(|| Layout::new(&config.output_dir).validation());
        let validation = on_pool(|| validate::validate(&config, &output))?;
        if self.json {
            return print_json(&validation);
        }
        print(&format!("{}\n\n{}", validation.text(), output.join("validate.html").display()))
    }
}

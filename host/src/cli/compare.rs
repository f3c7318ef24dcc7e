//! `compare`: ways of training held against each other, over seeds.

use super::{on_pool, print, print_json, use_threads};
use ldalign::{
    Result,
    compare::{self, Plan},
    config::gpu,
};
use std::path::PathBuf;

/// Arguments of `compare`.
#[derive(clap::Args)]
pub struct Compare {
    /// YAML file of the comparison; relative paths in it start at its directory
    config: PathBuf,
    /// Sets a key of the file, as in set.rounds=2 or seeds=[1,2]; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// cpu or cuda:N for every run, whatever the configs say
    #[arg(long)]
    device: Option<String>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

impl Compare {
    /// Runs what is not there yet, measures, writes and prints.
    pub fn run(&self) -> Result<()> {
        let mut set = self.set.clone();
        if let Some(name) = &self.device {
            gpu(name).map_err(|e| e.at("--device"))?;
            set.push(format!("set.device={name}"));
        }
        let mut plan = Plan::load(&self.config, &set)?;
        use_threads(plan.base.threads)?;
        plan.fetch()?;
        let comparison = on_pool(|| compare::compare(&plan, "LD-Align comparison", ""))?;
        if self.json {
            print_json(&comparison)?;
        } else {
            print(&format!("{}\n\n{}", comparison.text(), compare::page_path(&plan).display()))?;
        }
        compare::failed(&comparison).map_or(Ok(()), Err)
    }
}

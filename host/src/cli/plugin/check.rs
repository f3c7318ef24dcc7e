//! `plugin check`: the conformance suite on a library.

use crate::cli::{print, print_json};
use ldalign::{
    Code, Error, Result,
    library::{Inspected, Kind},
    plugin::{
        Finder,
        conformance::{self, Choice, Plan},
    },
};
use serde_json::{Map, Value};
use std::{path::PathBuf, time::Duration};

/// Arguments of `plugin check`.
#[derive(clap::Args)]
pub struct Check {
    /// The plugin library (.so)
    library: PathBuf,
    /// Only plugins of this kind: encoder, distance or schedule
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Only plugins of this id
    #[arg(long)]
    id: Option<String>,
    /// Options of the plugin, a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = super::options)]
    options: Map<String, Value>,
    /// Latents that distances are tried with, for those that take one shape only: slots x numbers per slot, such as
    /// 1x384
    #[arg(long, value_name = "SHAPE", value_parser = shape)]
    shape: Option<[u64; 2]>,
    /// Only checks whose ids match, as in 'distance/*'
    #[arg(long, value_name = "GLOB")]
    filter: Option<String>,
    /// Seed of all inputs
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Seconds for each check
    #[arg(long, value_name = "S", default_value_t = 60)]
    time_limit: u64,
    /// Runs the checks in this process, for a debugger; nothing is contained then
    #[arg(long)]
    in_process: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

fn shape(text: &str) -> std::result::Result<[u64; 2], String> {
    let parsed = text.split_once('x').and_then(|(slots, dim)| Some([slots.parse().ok()?, dim.parse().ok()?]));
    // Some checks take 33 pairs of each at once.
    let usable = |[slots, dim]: &[u64; 2]| matches!(slots.checked_mul(*dim), Some(1..=0x10_0000));
    parsed.filter(usable).ok_or_else(|| "expected SLOTSxNUMBERS such as 1x384, of at most 1048576 numbers".into())
}

impl Check {
    /// Checks and prints; an error where a check failed.
    pub fn run(&self) -> Result<()> {
        let choice = Choice { kind: self.kind, id: self.id.clone(), options: self.options.clone(), shape: self.shape };
        let plan = Plan {
            filter: self.filter.clone(),
            seed: self.seed,
            limit: Duration::from_secs(self.time_limit.max(1)),
            in_process: self.in_process,
        };
        let (Inspected { sha256, metadata }, report) =
            conformance::check(&Finder::new(&[]), &self.library, &choice, &plan)?;
        if report.checks.is_empty() {
            let filter = self.filter.as_deref().unwrap_or_default();
            return Err(Error::new(Code::PluginCheck, format!("no check of these plugins matches `{filter}`"))
                .hint("ids are such as distance/symmetric; without --filter all are shown"));
        }
        match self.json {
            true => print_json(&report)?,
            false => print(&format!("{} {} (sha256 {sha256:.12})\n{report}", metadata.name, metadata.version))?,
        }
        match report.failed() {
            0 => Ok(()),
            failed => Err(Error::new(Code::PluginCheck, format!("{failed} of {} checks failed", report.checks.len()))
                .at(self.library.display())
                .hint("--filter ID runs one again, with --in-process under a debugger; what is merely slow needs a larger --time-limit or options that make it quick")),
        }
    }
}

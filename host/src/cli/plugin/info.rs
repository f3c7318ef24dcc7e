//! `plugin info`: a library's metadata, read from the file's bytes.

use crate::cli::{print, print_json};
use ldalign::{Result, plugin};
use std::path::PathBuf;

/// Arguments of `plugin info`.
#[derive(clap::Args)]
pub struct Info {
    /// The plugin library (.so)
    library: PathBuf,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

impl Info {
    /// Reads and prints.
    pub fn run(&self) -> Result<()> {
        let plugin::Inspected { sha256, metadata } = plugin::inspect(&self.library)?;
        if self.json {
            return print_json(&metadata);
        }
        let plugin::Metadata { name, version, abi, sdk, license, target, .. } = &metadata;
        print(&format!("{name} {version} ({license})\nsha256  {sha256}\nabi     {abi}, SDK {sdk}\ntarget  {target}"))?;
        metadata.provides.iter().try_for_each(|p| print(&format!("{} {}: {}", p.kind, p.id, p.summary)))
    }
}

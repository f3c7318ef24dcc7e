//! `plugin info`: what a library says about itself.

mod options;

use crate::cli::{print, print_json};
use ldalign::{
    Result,
    library::{self, Inspected, Metadata},
    plugin::{self, Finder},
};
use serde::Serialize;
use serde_json::Value;
use std::path::PathBuf;

/// Arguments of `plugin info`.
#[derive(clap::Args)]
pub struct Info {
    /// The plugin library (.so)
    library: PathBuf,
    /// Shows the options too, for which the library is loaded, in a child process
    #[arg(long)]
    options: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// The metadata and what is not in it.
#[derive(Serialize)]
struct All<'a> {
    sha256: &'a str,
    #[serde(flatten)]
    metadata: &'a Metadata,
    /// JSON schemas in the order of `provides`.
    #[serde(skip_serializing_if = "Option::is_none")]
    options: Option<&'a [Value]>,
}

impl Info {
    /// Reads and prints.
    pub fn run(&self) -> Result<()> {
        let Inspected { sha256, metadata } = library::inspect(&self.library)?;
        let finder = Finder::new(&[]);
        let schema = |p: &library::Provides| plugin::options_schema(&finder, &self.library, &p.kind, &p.id);
        let schemas: Option<Vec<Value>> =
            self.options.then(|| metadata.provides.iter().map(schema).collect::<Result<_>>()).transpose()?;
        if self.json {
            return print_json(&All { sha256: &sha256, metadata: &metadata, options: schemas.as_deref() });
        }
        let Metadata { name, version, abi, sdk, license, target, cpu_features, provides, .. } = &metadata;
        let with = if cpu_features.is_empty() { String::new() } else { format!(" with {}", cpu_features.join(", ")) };
        print(&format!(
            "{name} {version} ({license})\nsha256  {sha256}\nabi     {abi}, SDK {sdk}\ntarget  {target}{with}"
        ))?;
        for (i, p) in provides.iter().enumerate() {
            print(&format!("\n{} {}: {}", p.kind, p.id, p.summary))?;
            if !p.properties.is_empty() {
                print(&format!("  properties: {}", p.promises()))?;
            }
            if let Some(schemas) = &schemas {
                print(&options::table(&schemas[i]))?;
            }
        }
        Ok(())
    }
}

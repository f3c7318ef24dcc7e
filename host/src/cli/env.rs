//! `env`: version, build, machine and plugins, as a bug report needs them.

use super::{print, print_json};
use ldalign::{Result, machine::Machine, plugin::Finder};
use serde::Serialize;
use std::{fs, path::PathBuf};

/// Arguments of `env`.
#[derive(clap::Args)]
pub struct Env {
    /// Further directories to look for plugins in
    #[arg(long, value_name = "DIR")]
    plugin_path: Vec<PathBuf>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Facts {
    version: &'static str,
    rustc: &'static str,
    target: &'static str,
    features: Vec<&'static str>,
    #[serde(flatten)]
    machine: Machine,
    plugins: Vec<PluginDir>,
}

#[derive(Serialize)]
struct PluginDir {
    directory: PathBuf,
    libraries: Vec<String>,
}

impl Env {
    /// Collects and prints.
    pub fn run(&self) -> Result<()> {
        let facts = facts(&self.plugin_path);
        if self.json {
            return print_json(&facts);
        }
        let gib = |x: Option<f64>| x.map_or("unknown".into(), |x| format!("{x:.1} GiB"));
        let list = |items: &[&str]| if items.is_empty() { "none".into() } else { items.join(" ") };
        let mut text = format!(
            "ldalign   {} ({}, {})\nfeatures  {}\ncpu       {}, {} cores, {}\nmemory    {}, {} available\nplugins",
            facts.version,
            facts.target,
            facts.rustc,
            list(&facts.features),
            facts.machine.cpu,
            facts.machine.cores,
            list(&facts.machine.cpu_features),
            gib(facts.machine.memory_gib),
            gib(facts.machine.memory_available_gib),
        );
        for dir in &facts.plugins {
            text += &format!("\n  {}", dir.directory.display());
            for library in &dir.libraries {
                text += &format!("\n    {library}");
            }
        }
        print(&text)
    }
}

fn facts(plugin_path: &[PathBuf]) -> Facts {
    let features = [
        ("parquet", cfg!(feature = "parquet")),
        ("hub", cfg!(feature = "hub")),
        ("judge", cfg!(feature = "judge")),
        ("cuda", cfg!(feature = "cuda")),
        ("flash-attn", cfg!(feature = "flash-attn")),
    ];
    Facts {
        version: env!("CARGO_PKG_VERSION"),
        rustc: env!("LDALIGN_RUSTC"),
        target: env!("LDALIGN_TARGET"),
        features: features.into_iter().filter_map(|(name, on)| on.then_some(name)).collect(),
        machine: Machine::here(),
        plugins: Finder::new(plugin_path).directories().into_iter().map(PluginDir::read).collect(),
    }
}

impl PluginDir {
    fn read(directory: PathBuf) -> Self {
        let names =
            fs::read_dir(&directory).into_iter().flatten().flatten().filter_map(|e| e.file_name().into_string().ok());
        let mut libraries: Vec<String> = names.filter(|n| n.starts_with("lib") && n.ends_with(".so")).collect();
        libraries.sort();
        Self { directory, libraries }
    }
}

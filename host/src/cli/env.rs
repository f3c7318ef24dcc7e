//! `env`: version, build, machine and plugins, as a bug report needs them.

use super::{print, print_json};
use ldalign::{Result, plugin::Finder};
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
    cpu: String,
    cpu_features: Vec<&'static str>,
    cores: usize,
    memory_gib: Option<f64>,
    memory_available_gib: Option<f64>,
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
            facts.cpu,
            facts.cores,
            list(&facts.cpu_features),
            gib(facts.memory_gib),
            gib(facts.memory_available_gib),
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
    let features =
        [("parquet", cfg!(feature = "parquet")), ("hub", cfg!(feature = "hub")), ("cuda", cfg!(feature = "cuda"))];
    let memory =
        |key| field("/proc/meminfo", key)?.split(' ').next()?.parse::<f64>().ok().map(|kib| kib / (1 << 20) as f64);
    Facts {
        version: env!("CARGO_PKG_VERSION"),
        rustc: env!("LDALIGN_RUSTC"),
        target: env!("LDALIGN_TARGET"),
        features: features.into_iter().filter_map(|(name, on)| on.then_some(name)).collect(),
        cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into()),
        cpu_features: cpu_features(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_gib: memory("MemTotal"),
        memory_available_gib: memory("MemAvailable"),
        plugins: Finder::new(plugin_path).directories().into_iter().map(PluginDir::read).collect(),
    }
}

/// The first `key: value` of a file under /proc.
fn field(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(key)?.trim_start().strip_prefix(':'))?;
    Some(line.trim().to_owned())
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

/// Those that decide which kernels run.
#[cfg(target_arch = "x86_64")]
fn cpu_features() -> Vec<&'static str> {
    let all = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
    ];
    all.into_iter().filter_map(|(name, on)| on.then_some(name)).collect()
}

/// Those that decide which kernels run.
#[cfg(not(target_arch = "x86_64"))]
fn cpu_features() -> Vec<&'static str> {
    Vec::new()
}

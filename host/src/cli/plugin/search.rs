//! `plugin search`: what the trusted registries have.

use crate::cli::{print, print_json};
use ldalign::{
    Result,
    share::{
        registry::{Index, Registry},
        trust::Trust,
    },
};

/// Arguments of `plugin search`.
#[derive(clap::Args)]
pub struct Search {
    /// Words that must all be in a plugin's name, ids or summaries; without any, everything is listed
    words: Vec<String>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// A plugin found.
#[derive(serde::Serialize)]
struct Hit {
    registry: String,
    #[serde(flatten)]
    index: Index,
}

impl Search {
    /// Searches and prints.
    pub fn run(&self) -> Result<()> {
        let mut hits = Vec::new();
        for trusted in Trust::load()?.all() {
            let registry = match Registry::open(&trusted.registry) {
                Ok(registry) => registry,
                // A share that is not mounted today is no reason to hide the others.
                Err(e) => {
                    tracing::warn!("{e:#}");
                    continue;
                }
            };
            for name in registry.names() {
                let index = registry.index(&name)?;
                if self.matches(&index) {
                    hits.push(Hit { registry: trusted.name(), index });
                }
            }
        }
        if self.json {
            return print_json(&hits);
        }
        hits.iter().try_for_each(Hit::print)
    }

    fn matches(&self, index: &Index) -> bool {
        let offers = index.releases.iter().flat_map(|r| &r.provides);
        let text = offers.fold(index.name.clone(), |text, o| format!("{text} {} {} {}", o.kind, o.id, o.summary));
        self.words.iter().all(|word| text.to_lowercase().contains(&word.to_lowercase()))
    }
}

impl Hit {
    fn print(&self) -> Result<()> {
        let Self { registry, index } = self;
        let mut versions: Vec<String> = index.releases.iter().map(|r| r.version.to_string()).collect();
        versions.dedup();
        print(&format!("{} {}  {registry}", index.name, versions.join(", ")))?;
        let latest = index.releases.last().map(|r| r.provides.as_slice()).unwrap_or_default();
        latest.iter().try_for_each(|o| print(&format!("  {} {}: {}", o.kind, o.id, o.summary)))
    }
}

//! What a library says about itself in its metadata section.

use super::Kind;
use crate::{Code, Error, Result, config::PluginChoice};
use serde::{Deserialize, Serialize};

/// The metadata section of a library; see [`ldalign_abi`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// Version of this layout.
    pub schema: u32,
    /// Package name.
    pub name: String,
    /// Package version.
    pub version: String,
    /// Version of the boundary it was built against.
    pub abi: String,
    /// Version of the SDK it was built with.
    pub sdk: String,
    /// License of the package.
    pub license: String,
    /// Where it runs, such as `x86_64-linux-gnu`.
    pub target: String,
    /// Instructions it uses without asking the processor.
    pub cpu_features: Vec<String>,
    /// What it provides.
    pub provides: Vec<Provides>,
}

/// One thing a library provides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provides {
    /// `encoder`, `distance`, `schedule`, or what a later host may know.
    pub kind: String,
    /// The name by which configs choose it.
    pub id: String,
    /// One sentence.
    pub summary: String,
    /// What it promises.
    pub properties: serde_json::Map<String, serde_json::Value>,
}

impl Provides {
    /// Its properties in words: `symmetric, not triangle`.
    pub fn promises(&self) -> String {
        let one = |(name, value): (&String, &serde_json::Value)| match value.as_bool() {
            Some(true) => name.clone(),
            Some(false) => format!("not {name}"),
            None => format!("{name} = {value}"),
        };
        self.properties.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

impl Metadata {
    /// What (kind, id) promises.
    pub fn properties(&self, kind: Kind, id: &str) -> serde_json::Map<String, serde_json::Value> {
        let one = self.provides.iter().find(|p| p.kind == kind.name() && p.id == id);
        one.map(|p| p.properties.clone()).unwrap_or_default()
    }
    /// The id of a choice: the one given, else the plugin's name where the library has it, else the only one of the
    /// kind.
    pub fn choose(&self, kind: Kind, choice: &PluginChoice) -> Result<String> {
        let ids: Vec<&str> = self.provides.iter().filter(|p| p.kind == kind.name()).map(|p| p.id.as_str()).collect();
        let wanted = choice.id.as_deref();
        let id = match (wanted, ids.as_slice()) {
            (Some(id), _) => ids.iter().find(|i| **i == id),
            (None, [only]) => Some(only),
            (None, _) => ids.iter().find(|i| **i == choice.plugin),
        };
        if let Some(id) = id {
            return Ok((*id).to_owned());
        }
        let (name, list) = (&self.name, ids.join(", "));
        Err(match (wanted, ids.is_empty()) {
            (_, true) => {
                let others: Vec<String> = self.provides.iter().map(|p| format!("{} {}", p.kind, p.id)).collect();
                Error::new(Code::PluginFind, format!("{name} provides no {kind}, but: {}", others.join(", ")))
                    .hint(format!("name a library that provides a {kind}"))
            }
            (Some(id), _) => {
                Error::new(Code::PluginFind, format!("{name} provides no {kind} called `{id}`, but: {list}"))
                    .hint("give one of them as `id`")
            }
            (None, _) => Error::new(Code::PluginFind, format!("{name} provides several {kind}s: {list}"))
                .hint("choose one with `id`"),
        })
    }
}

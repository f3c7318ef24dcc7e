//! Why a plugin would be refused: each step from a name to a library that may be tried out, without running any of it.

use super::Finder;
use crate::{
    Code, Error, Result,
    config::PluginChoice,
    files,
    library::{self, Finding, Kind, Metadata, Provides},
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Takes a name or path through all steps; those after one that failed too, where they can be taken. A name without a
/// kind may stand for several libraries, whose steps come one after the other.
pub fn why_not(finder: &Finder, plugin: &str, kind: Option<Kind>) -> Vec<Finding> {
    let paths = match find(finder, plugin, kind) {
        Ok(paths) => paths,
        Err(e) => return vec![Finding { name: "found", outcome: Err(e) }],
    };
    paths.iter().flat_map(|path| library(path, plugin, kind)).collect()
}

fn find(finder: &Finder, plugin: &str, kind: Option<Kind>) -> Result<BTreeSet<PathBuf>> {
    if let Some(kind) = kind {
        return finder.find(kind, plugin).map(|found| [found.path].into());
    }
    let (mut found, mut hints) = (BTreeSet::new(), Vec::new());
    for kind in Kind::ALL {
        match finder.find(kind, plugin) {
            Ok(one) => drop(found.insert(one.path)),
            Err(e) if e.code() != Code::PluginFind => return Err(e),
            Err(e) => hints.push(format!("{kind}: {}", e.hint_text().unwrap_or_default())),
        }
    }
    if found.is_empty() {
        let message = format!("no encoder, distance or schedule called `{plugin}`, and no library of that path");
        return Err(Error::new(Code::PluginFind, message).hint(hints.join("\n")));
    }
    Ok(found)
}

fn library(path: &Path, plugin: &str, kind: Option<Kind>) -> Vec<Finding> {
    let mut findings = vec![Finding { name: "found", outcome: Ok(path.display().to_string()) }];
    let bytes = match files::read(path) {
        Ok(bytes) => bytes,
        Err(e) => {
            findings.push(Finding { name: "file", outcome: Err(e) });
            return findings;
        }
    };
    let (inspected, metadata) = library::findings(&bytes);
    findings.extend(inspected);
    if let Some(metadata) = metadata {
        findings.push(Finding { name: "kind", outcome: kinds(&metadata, plugin, kind) });
        let of = |p: &Provides| Finding { name: "properties", outcome: Ok(properties(p)) };
        findings.extend(metadata.provides.iter().filter(|p| known(p)).map(of));
    }
    findings
}

fn known(provides: &Provides) -> bool {
    Kind::ALL.iter().any(|k| k.name() == provides.kind)
}

/// What a config of this kind would get, or of all kinds.
fn kinds(metadata: &Metadata, plugin: &str, kind: Option<Kind>) -> Result<String> {
    if let Some(kind) = kind {
        let choice = PluginChoice { plugin: plugin.into(), id: None, options: Default::default() };
        return metadata.choose(kind, &choice).map(|id| format!("{kind} `{id}`"));
    }
    let all = |wanted: bool| {
        let some = metadata.provides.iter().filter(|p| known(p) == wanted).map(|p| format!("{} `{}`", p.kind, p.id));
        some.collect::<Vec<_>>().join(", ")
    };
    match (all(true), all(false)) {
        (ours, others) if ours.is_empty() => {
            Err(Error::new(Code::PluginFind, format!("provides nothing that this program knows, but: {others}")))
        }
        (ours, others) if others.is_empty() => Ok(ours),
        (ours, others) => Ok(format!("{ours}; and, unknown to this program, {others}")),
    }
}

/// What a plugin promises and what it does not.
fn properties(provides: &Provides) -> String {
    let said = provides.promises();
    let said = if said.is_empty() { "none declared" } else { &said };
    format!("{} `{}`: {said}", provides.kind, provides.id)
}

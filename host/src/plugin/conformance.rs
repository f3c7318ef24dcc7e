//! The conformance suite on a library file: what `plugin check` does.
//!
//! The file is inspected first, as before any load; a file that fails there is refused, and none of its code runs. Then
//! each check runs in a child process by the protocol of the probe.

use super::{
    Finder, load,
    question::{Question, command},
};
use crate::{
    Code, Error, Result,
    library::{self, Inspected, Kind},
};
use ldalign_abi::PluginModule_Ref;
use ldalign_conformance::{Case, Job, Library, child};
pub use ldalign_conformance::{Checked, Plan, Report, Verdict};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// Which plugins of a library are checked, and with which options.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Only those of this kind.
    pub kind: Option<Kind>,
    /// Only those of this id.
    pub id: Option<String>,
    /// Options; more than none only where one plugin is chosen.
    pub options: Map<String, Value>,
    /// Slots and numbers per slot of the latents that distances are tried with; None for many shapes.
    pub shape: Option<[u64; 2]>,
}

/// Checks a library file, which is not loaded into this process unless the plan says so.
///
/// # Errors
/// The file is refused by inspection, or the choice fits no plugin, or several where options are given.
pub fn check(finder: &Finder, path: &Path, choice: &Choice, plan: &Plan) -> Result<(Inspected, Report)> {
    // Also for dlopen, which searches system directories for a bare name.
    let path = path.canonicalize().map_err(|e| crate::files::io_error(path, "open", e))?;
    let inspected = library::inspect(&path)?;
    let cases = cases(&inspected, choice).map_err(|e| e.at(path.display()))?;
    let ask = |job: &Job| {
        let question = Question::Check { path: path.clone(), sha256: inspected.sha256.clone(), job: job.clone() };
        child::ask(&question, plan.limit, |text| command(finder, text))
    };
    let report = ldalign_conformance::run(&File(path.clone(), inspected.sha256.clone()), &cases, plan, &ask);
    Ok((inspected, report))
}

/// The child's side: does a job and says how it goes.
pub(super) fn answer(path: PathBuf, sha256: String, job: &Job, voice: &child::Voice) {
    ldalign_conformance::answer(&File(path, sha256), job, voice);
}

/// A library file at a canonical path, and the SHA-256 of the bytes that were inspected.
struct File(PathBuf, String);

impl Library for File {
    fn open(&self) -> std::result::Result<PluginModule_Ref, String> {
        load::open(&self.0, &self.1).map_err(|e| format!("{e:#}"))
    }
    fn section(&self) -> Option<Vec<u8>> {
        library::section(&self.0).ok()
    }
}

fn cases(inspected: &Inspected, choice: &Choice) -> Result<Vec<Case>> {
    let fits = |kind: &str, id: &str| {
        choice.kind.is_none_or(|k| k.name() == kind) && choice.id.as_deref().is_none_or(|wanted| wanted == id)
    };
    let all = &inspected.metadata.provides;
    let chosen: Vec<Case> = all
        .iter()
        .filter(|p| fits(&p.kind, &p.id))
        .map(|p| Case {
            kind: p.kind.clone(),
            id: p.id.clone(),
            properties: p.properties.clone(),
            options: choice.options.clone().into(),
            shape: choice.shape,
        })
        .collect();
    let names = || all.iter().map(|p| format!("{} {}", p.kind, p.id)).collect::<Vec<_>>().join(", ");
    match chosen.len() {
        0 => Err(Error::new(Code::PluginFind, "the library provides nothing of that kind and id")
            .hint(format!("it provides: {}", names()))),
        2.. if !choice.options.is_empty() => {
            Err(Error::new(Code::PluginFind, "options are for one plugin, not for several")
                .hint(format!("choose one with --kind and --id: {}", names())))
        }
        _ => Ok(chosen),
    }
}

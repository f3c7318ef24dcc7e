//! What a library owes: it loads without a trace, and is what its metadata says.

use super::fail;
use crate::{
    process::{self, Process},
    subject::{Context, Stop},
    suite::{About, Check},
};
use ldalign_abi::abi_stable::std_types::RResult;
use ldalign_sdk::metadata::DISTANCE;
use serde_json::Value;
use std::collections::BTreeSet;

const fn check(id: &'static str, sentence: &'static str, run: fn(&Context<'_>) -> Result<(), Stop>) -> Check {
    Check { id, sentence, about: About::Library, run }
}

/// The checks of this file.
pub const CHECKS: &[Check] = &[
    check("load/again", "The library loads, and loading it again gives the same descriptor", |c| {
        let (first, second) = (c.open()?, c.open()?);
        match first.descriptor_json()() == second.descriptor_json()() {
            true => Ok(()),
            false => fail("the second descriptor differs from the first"),
        }
    }),
    check(
        "load/leaves-process-alone",
        "Loading changes no signal, directory or floating-point mode and starts no thread",
        |c| {
            section(c)?;
            let (before, threads) = (Process::now(), process::threads());
            c.open()?;
            if let Some(changes) = Process::now().changed_since(&before) {
                return fail(format!("loading changed {changes}"));
            }
            match process::threads_settled(threads) {
                now if now > threads => fail(format!("loading started {} threads", now - threads)),
                _ => Ok(()),
            }
        },
    ),
    check("load/prints-nothing", "Loading writes nothing to stdout, which carries the host's data", |c| {
        section(c)?;
        silent(|| c.open().map(drop))
    }),
    check("metadata/descriptor", "The library returns the bytes of its metadata section", |c| {
        let (section, module) = (section(c)?, c.module()?);
        let descriptor = module.descriptor_json()();
        if descriptor.as_bytes() != section {
            let (have, said) = (section.len(), descriptor.len());
            return fail(format!("the section's {have} bytes differ from the {said} that it returns"));
        }
        Ok(())
    }),
    check("metadata/well-formed", "The metadata names the library and what it provides, each with a summary", |c| {
        let module = c.module()?;
        let metadata: Value = serde_json::from_str(&module.descriptor_json()())
            .map_err(|e| Stop::Fail(format!("the descriptor is not JSON: {e}")))?;
        for key in ["name", "version", "abi", "sdk", "target"] {
            if metadata[key].as_str().is_none_or(str::is_empty) {
                return fail(format!("`{key}` is missing or empty"));
            }
        }
        let provided = metadata["provides"].as_array().cloned().unwrap_or_default();
        if provided.is_empty() {
            return fail("it provides nothing: name types in `export_plugin!`");
        }
        let mut seen = BTreeSet::new();
        for one in &provided {
            let text = |key: &str| one[key].as_str().unwrap_or_default();
            let (kind, id, summary) = (text("kind"), text("id"), text("summary"));
            if !seen.insert((kind, id)) {
                return fail(format!("it provides two {kind}s called `{id}`"));
            }
            if summary.trim().is_empty() || summary.chars().count() > 200 {
                return fail(format!("the summary of {kind} `{id}` is not one sentence of at most 200 characters"));
            }
        }
        Ok(())
    }),
    check("metadata/unknown-id", "What the library does not provide is refused, not built and not a panic", |c| {
        let module = c.module()?;
        for (kind, id) in [(DISTANCE, "no-such-id"), ("no-such-kind", "any"), ("", "")] {
            match module.options_schema()(kind.into(), id.into()) {
                RResult::ROk(_) => return fail(format!("it gives an options schema for {kind:?} {id:?}")),
                RResult::RErr(e) if e.code == ldalign_abi::ErrorCode::PANIC => {
                    return fail(format!("it panics when asked for {kind:?} {id:?}: {}", e.message));
                }
                RResult::RErr(_) => (),
            }
        }
        Ok(())
    }),
];

/// The section of a library that is a file of its own.
fn section(c: &Context<'_>) -> Result<Vec<u8>, Stop> {
    c.library
        .section()
        .ok_or_else(|| Stop::Skip("the plugin is part of this program: `ldalign plugin check` does".into()))
}

/// Runs what must not print.
pub fn silent(run: impl FnOnce() -> Result<(), Stop>) -> Result<(), Stop> {
    let (done, printed) =
        process::printed(run).map_err(|e| Stop::Skip(format!("stdout cannot be watched here: {e}")))?;
    done?;
    match printed.trim() {
        "" => Ok(()),
        text => fail(format!("it printed {:?}: use the host's log", text.chars().take(80).collect::<String>())),
    }
}

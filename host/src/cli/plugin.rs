//! `plugin`: what authors and teams do with plugin libraries, one file per verb.

mod bench;
mod check;
mod info;
mod new;
mod why_not;

use clap::Subcommand;
use ldalign::{Result, plugin::Kind};
use serde_json::{Map, Value};

/// Verbs of `plugin`.
#[derive(Subcommand)]
pub enum Plugin {
    /// Makes a crate to begin a plugin with
    New(new::New),
    /// Measures how fast a plugin works, beside the bundled baseline of its kind
    Bench(bench::Bench),
    /// Runs the conformance suite on a library, each check in a process of its own
    Check(check::Check),
    /// Prints what a library says about itself, without running any of it
    Info(info::Info),
    /// Says step by step whether a plugin would be refused and why, without running any of it
    WhyNot(why_not::WhyNot),
}

impl Plugin {
    /// Does what the verb says.
    pub fn run(&self) -> Result<()> {
        match self {
            Plugin::New(args) => args.run(),
            Plugin::Bench(args) => args.run(),
            Plugin::Check(args) => args.run(),
            Plugin::Info(args) => args.run(),
            Plugin::WhyNot(args) => args.run(),
        }
    }
}

/// A kind by name.
fn kind(name: &str) -> std::result::Result<Kind, String> {
    let kinds = [Kind::Encoder, Kind::Distance, Kind::Schedule];
    kinds.into_iter().find(|k| k.name() == name).ok_or_else(|| "expected encoder, distance or schedule".into())
}

/// A plugin's options as a JSON object.
fn options(json: &str) -> std::result::Result<Map<String, Value>, String> {
    serde_json::from_str(json).map_err(|e| format!("expected a JSON object such as {{\"p\": 2}}: {e}"))
}

//! `plugin`: what authors and teams do with plugin libraries, one file per verb.

mod bench;
mod check;
mod info;
mod install;
mod keygen;
mod list;
mod new;
mod pack;
mod publish;
mod remove;
mod search;
mod sign;
mod trust;
mod verify;
mod why_not;

use clap::Subcommand;
use ldalign::Result;
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
    /// Lists every plugin that a config can name, and who vouches for it
    List(list::List),
    /// Searches the trusted registries
    Search(search::Search),
    /// Installs plugins from trusted registries and pins them in the lock file
    Install(install::Install),
    /// Installs the highest versions that the lock file's requirements allow
    Update(install::Update),
    /// Takes a plugin out of the lock file and of what is installed
    Remove(remove::Remove),
    /// Checks that installed plugins and package files are what was signed
    Verify(verify::Verify),
    /// Trusts a registry with its key, and lists what is trusted
    Trust(trust::TrustArgs),
    /// Makes a package of a library
    Pack(pack::Pack),
    /// Makes a key pair for signing
    Keygen(keygen::Keygen),
    /// Signs a package
    Sign(sign::Sign),
    /// Adds a signed package to a registry
    Publish(publish::Publish),
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
            Plugin::List(args) => args.run(),
            Plugin::Search(args) => args.run(),
            Plugin::Install(args) => args.run(),
            Plugin::Update(args) => args.run(),
            Plugin::Remove(args) => args.run(),
            Plugin::Verify(args) => args.run(),
            Plugin::Trust(args) => args.run(),
            Plugin::Pack(args) => args.run(),
            Plugin::Keygen(args) => args.run(),
            Plugin::Sign(args) => args.run(),
            Plugin::Publish(args) => args.run(),
        }
    }
}

/// A plugin's options as a JSON object.
fn options(json: &str) -> std::result::Result<Map<String, Value>, String> {
    serde_json::from_str(json).map_err(|e| format!("expected a JSON object such as {{\"p\": 2}}: {e}"))
}

//! `plugin verify`: whether packages and installed plugins are what was signed.

use crate::cli::{print, print_json};
use ldalign::{
    Code, Error, Result,
    share::{
        State,
        archive::Package,
        keys::{self, PublicKey},
        store::Store,
        trust::Trust,
    },
};
use std::path::Path;

/// Arguments of `plugin verify`.
#[derive(clap::Args)]
pub struct Verify {
    /// Names of installed plugins, or package files with their signatures beside them; without any, all that is
    /// installed
    plugins: Vec<String>,
    /// The public key, or its file, that must have signed package files
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// One answer.
#[derive(serde::Serialize)]
struct Answer {
    plugin: String,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl Verify {
    /// Checks and prints; fails unless all is signed.
    pub fn run(&self) -> Result<()> {
        let (packages, names): (Vec<&String>, Vec<&String>) =
            self.plugins.iter().partition(|p| p.ends_with(".ldp") || p.contains('/'));
        if self.key.is_some() && (packages.is_empty() || !names.is_empty()) {
            return Err(Error::new(
                Code::ShareVerify,
                "--key is for package files, and installed plugins are asked for",
            )
            .hint("installed plugins are verified with the keys that are trusted for their registries"));
        }
        let mut answers = packages.iter().map(|p| self.package(Path::new(p))).collect::<Result<Vec<_>>>()?;
        let (store, trust) = (Store::open()?.entries(), Trust::load()?);
        if let Some(missing) = names.iter().find(|n| !store.iter().any(|e| e.id().name == ***n)) {
            return Err(Error::new(Code::ShareStore, format!("{missing} is not installed"))
                .hint("`ldalign plugin list` shows what is"));
        }
        let asked = |name: &String| self.plugins.is_empty() || names.contains(&name);
        for entry in store.iter().filter(|e| asked(&e.id().name)) {
            let checked = entry.check(&trust);
            answers.push(Answer { plugin: entry.id().to_string(), state: checked.origin.state, why: checked.why });
        }
        if self.json {
            print_json(&answers)?;
        } else {
            for Answer { plugin, state, why } in &answers {
                let why = why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                print(&format!("{plugin} is {state}{why}"))?;
            }
        }
        match answers.iter().filter(|a| a.state != State::Signed).count() {
            0 => Ok(()),
            bad => Err(Error::new(Code::ShareVerify, format!("{bad} of {} cannot be vouched for", answers.len()))
                .hint("`ldalign plugin install` puts back what was published; `ldalign plugin remove` takes it away")),
        }
    }

    fn package(&self, path: &Path) -> Result<Answer> {
        let key = self.key.as_deref().ok_or_else(|| {
            Error::new(Code::ShareVerify, format!("no key to verify {} with", path.display()))
                .hint("--key KEY: a key is trusted for its registry, not for files from elsewhere")
        })?;
        let package = Package::open(path)?;
        PublicKey::given(key)?.verify(&package.id, &package.bytes, &keys::signature_of(path)?)?;
        Ok(Answer { plugin: package.id.to_string(), state: State::Signed, why: None })
    }
}

//! `plugin trust`: which registries plugins may come from, and the one key of each.

use crate::cli::{print, print_json};
use ldalign::{
    Code, Error, Result,
    share::{keys::PublicKey, trust::Trust},
};
use std::path::PathBuf;

/// Arguments of `plugin trust`; without any it lists.
#[derive(clap::Args)]
pub struct TrustArgs {
    /// The registry's directory
    registry: Option<PathBuf>,
    /// Its public key or the key's file, got from its owners
    #[arg(long, value_name = "KEY", requires = "registry")]
    key: Option<String>,
    /// Trusts it no more
    #[arg(long, requires = "registry", conflicts_with = "key")]
    forget: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

impl TrustArgs {
    /// Trusts, forgets or lists.
    pub fn run(&self) -> Result<()> {
        let mut trust = Trust::load()?;
        match (&self.registry, &self.key) {
            (None, _) if self.json => print_json(&trust.all()),
            (None, _) => trust.all().iter().try_for_each(|t| print(&format!("{}  {}", t.name(), t.key))),
            (Some(registry), _) if self.forget => {
                trust.forget(registry)?;
                print(&format!("{} is trusted no more", registry.display()))
            }
            (Some(registry), Some(key)) => {
                let key = PublicKey::given(key)?;
                let said = if trust.add(registry, key.clone())? { "is trusted" } else { "was trusted already" };
                print(&format!("{} {said} with {key}", registry.display()))
            }
            (Some(registry), None) => {
                Err(Error::new(Code::ShareTrust, format!("no key given for {}", registry.display()))
                    .hint("--key KEY, with a key from its owners and not from the registry itself"))
            }
        }
    }
}

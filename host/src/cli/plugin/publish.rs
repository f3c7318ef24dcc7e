//! `plugin publish`: a signed package into a registry.

use crate::cli::print;
use ldalign::{
    Result,
    share::{
        archive::Package,
        keys::{self, PublicKey},
        registry::Registry,
    },
};
use std::path::PathBuf;

/// Arguments of `plugin publish`.
#[derive(clap::Args)]
pub struct Publish {
    /// The package (.ldp), with its signature (.ldp.minisig) beside it
    package: PathBuf,
    /// The registry's directory
    #[arg(long, value_name = "DIR")]
    registry: PathBuf,
    /// The registry's public key or its file; needed once, to begin a registry
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

impl Publish {
    /// Publishes, or says that it was.
    pub fn run(&self) -> Result<()> {
        let package = Package::open(&self.package)?;
        let signature = keys::signature_of(&self.package)?;
        let key = self.key.as_deref().map(PublicKey::given).transpose()?;
        if let Some(key) = &key {
            // A registry is not begun for a package that it would refuse.
            key.verify(&package.id, &package.bytes, &signature)?;
        }
        let registry = Registry::open_or_create(&self.registry, key)?;
        let done = match registry.publish(&package, &signature)? {
            true => "published",
            false => "published already, with the same bytes: nothing to do;",
        };
        print(&format!("{} {done} in {}", package.id, registry.path().display()))
    }
}

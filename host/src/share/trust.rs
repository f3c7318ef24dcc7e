//! Which registries this user trusts, each with its one key: `registries.json` in the user's settings.
//!
//! A key is trusted for its registry and for no other.

use super::{home, keys::PublicKey, registry::Registry};
use crate::{Code, Error, Result, files, foreign};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
};

const LIMIT: u64 = 1 << 20;

/// A registry and the key that must have signed whatever comes from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trusted {
    /// Its directory, absolute.
    pub registry: PathBuf,
    /// Its key.
    pub key: PublicKey,
}

impl Trusted {
    /// How messages and lock files name it.
    pub fn name(&self) -> String {
        self.registry.display().to_string()
    }
}

/// The trusted registries of this user.
#[derive(Debug)]
pub struct Trust {
    file: PathBuf,
    all: Vec<Trusted>,
}

impl Trust {
    /// Reads the user's.
    pub fn load() -> Result<Self> {
        Self::at(&home()?.0)
    }

    fn at(directory: &Path) -> Result<Self> {
        let file = directory.join("registries.json");
        let all = if file.exists() { foreign::read_json(&file, LIMIT, Code::ShareTrust)? } else { Vec::new() };
        Ok(Self { file, all })
    }

    /// All of them, in the order they were trusted.
    pub fn all(&self) -> &[Trusted] {
        &self.all
    }

    /// Trusts a registry with a key from now on. False where that is so already.
    ///
    /// # Errors
    /// There is no registry, it is signed with another key, or it is trusted with another key.
    pub fn add(&mut self, registry: &Path, key: PublicKey) -> Result<bool> {
        let opened = Registry::open(registry)?;
        let _held = self.again()?;
        if let Some(old) = self.all.iter().find(|t| t.registry == opened.path()) {
            if old.key == key {
                return Ok(false);
            }
            return Err(Error::new(
                Code::ShareTrust,
                format!("{} is trusted with {:#}, not with {key:#}", old.name(), old.key),
            )
            .hint("keys do not change by themselves: ask its owners; then `ldalign plugin trust --forget` it first"));
        }
        if *opened.key() != key {
            return Err(Error::new(
                Code::ShareTrust,
                format!("{} is signed with {:#}, not with the given {key:#}", opened.path().display(), opened.key()),
            )
            .hint("ask the registry's owners for their key, by a way that you trust"));
        }
        self.all.push(Trusted { registry: opened.path().to_owned(), key });
        self.write().map(|()| true)
    }

    /// Trusts a registry no more.
    pub fn forget(&mut self, registry: &Path) -> Result<()> {
        let _held = self.again()?;
        let at = self.find(registry).and_then(|t| self.all.iter().position(|o| o == t));
        self.all.remove(at.ok_or_else(|| unknown(registry))?);
        self.write()
    }

    /// The one at a place.
    pub fn get(&self, registry: &Path) -> Result<&Trusted> {
        self.find(registry).ok_or_else(|| unknown(registry))
    }

    /// The one a lock file means: of this key, and at this place where several have it.
    pub fn by_key(&self, key: &PublicKey, registry: &str) -> Result<&Trusted> {
        let of_key = || self.all.iter().filter(|t| t.key == *key);
        of_key().find(|t| t.name() == registry).or(of_key().next()).ok_or_else(|| {
            Error::new(Code::ShareTrust, format!("{key} of the registry {registry} is not trusted here"))
                .hint(format!("if you trust it: ldalign plugin trust {registry} --key KEY"))
        })
    }

    /// By the path as it is, for a registry that is gone, or by where it leads.
    fn find(&self, registry: &Path) -> Option<&Trusted> {
        let leads = registry.canonicalize().unwrap_or_else(|_| registry.to_owned());
        self.all.iter().find(|t| t.registry == leads)
    }

    /// Reads once more what another process may have written, and keeps others from writing.
    fn again(&mut self) -> Result<fs::File> {
        let directory = files::parent(&self.file).to_owned();
        let held = super::hold(&directory.join(".lock"))?;
        files::sweep(&directory, &[])?;
        self.all = Self::at(&directory)?.all;
        Ok(held)
    }

    fn write(&self) -> Result<()> {
        files::make_dir(files::parent(&self.file))?;
        files::write_json(&self.file, &self.all)
    }
}

fn unknown(registry: &Path) -> Error {
    Error::new(Code::ShareTrust, format!("the registry {} is not trusted", registry.display()))
        .hint("`ldalign plugin trust` lists those that are; with REGISTRY --key KEY it adds one")
}

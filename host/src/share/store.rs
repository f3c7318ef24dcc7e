//! The store of installed plugins: one directory per package in the user's data, named by the SHA-256 of the package.
//!
//! ```text
//! plugins/SHA256/package.ldp, package.ldp.minisig     as they came
//!                record.json                          what was installed, and from where
//!                plugin.so                            the library, unpacked
//! ```
//!
//! The state of an installed plugin is not written down: every use hashes the package, checks the signature against the
//! keys trusted by then, and compares the library with the one in the package.

use super::{
    Origin, PackageId, State,
    archive::{PACKED_LIMIT, Package},
    home, keys,
    trust::Trust,
};
use crate::{Code, Error, Result, files, foreign};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    path::{Path, PathBuf},
};

const PACKAGE: &str = "package.ldp";
const RECORD_LIMIT: u64 = 64 << 10;

/// The user's store.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
}

/// An installed package.
#[derive(Debug, Clone)]
pub struct Entry {
    directory: PathBuf,
    /// SHA-256 of its package, by its place.
    pub sha256: String,
    record: Record,
}

/// `record.json`
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    id: PackageId,
    /// None for a package installed from a file.
    registry: Option<PathBuf>,
}

/// What an installed package was found to be.
#[derive(Debug)]
pub struct Checked {
    /// State, and where it came from.
    pub origin: Origin,
    /// The whole package; none where it cannot be read any more.
    pub package: Option<Package>,
    /// SHA-256 of the library that is in the package.
    pub library_sha256: Option<String>,
    /// Why it is not as good as signed, for people.
    pub why: Option<String>,
}

impl Store {
    /// The user's.
    pub fn open() -> Result<Self> {
        Ok(Self { directory: home()?.1.join("plugins") })
    }

    /// Installs a package that was checked. What is there of it already is kept if it is whole and vouched for as well:
    /// a run may be using it.
    pub fn add(&self, package: &Package, signature: Option<&str>, registry: Option<&Path>) -> Result<Entry> {
        let _held = self.hold()?;
        let directory = self.directory.join(&package.sha256);
        if let Some(old) = self.get(&package.sha256).ok().flatten().filter(|old| old.serves(signature, registry)) {
            return Ok(old);
        }
        let record = Record { id: package.id.clone(), registry: registry.map(Path::to_owned) };
        files::write_dir(&directory, |dir| {
            let path = dir.join(PACKAGE);
            files::write(&path, &package.bytes)?;
            if let Some(signature) = signature {
                files::write(&keys::signature_path(&path), signature.as_bytes())?;
            }
            files::write(&dir.join("plugin.so"), package.library())?;
            files::write_json(&dir.join("record.json"), &record)
        })?;
        Ok(Entry { directory, sha256: package.sha256.clone(), record })
    }

    /// Everything installed, by name, version and target. Directories that hold no record of ours are passed over.
    pub fn entries(&self) -> Vec<Entry> {
        let found = self.directory.read_dir().into_iter().flatten().flatten();
        let mut entries: Vec<Entry> = found.filter_map(|e| self.get(e.file_name().to_str()?).ok().flatten()).collect();
        entries.sort_by(|a, b| a.record.id.cmp(&b.record.id));
        entries
    }

    /// The package of a hash, if it is installed.
    pub fn get(&self, sha256: &str) -> Result<Option<Entry>> {
        let hash = sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_hexdigit());
        let directory = self.directory.join(sha256);
        if !hash || !directory.is_dir() {
            return Ok(None);
        }
        let record = foreign::read_json(&directory.join("record.json"), RECORD_LIMIT, Code::ShareStore)
            .map_err(|e| e.hint("`ldalign plugin install` puts it back"))?;
        Ok(Some(Entry { directory, sha256: sha256.to_owned(), record }))
    }

    /// Holds it, without what processes that were killed have left.
    fn hold(&self) -> Result<File> {
        let held = super::hold(&self.directory.join(".lock"))?;
        files::sweep(&self.directory, &[])?;
        Ok(held)
    }

    /// Removes an installed package.
    pub fn remove(&self, entry: &Entry) -> Result<()> {
        let _held = self.hold()?;
        files::remove_dir(&entry.directory)
    }
}

impl Entry {
    /// Which package it was installed as.
    pub fn id(&self) -> &PackageId {
        &self.record.id
    }

    /// The library file.
    pub fn library(&self) -> PathBuf {
        self.directory.join("plugin.so")
    }

    /// Works out what it is now.
    pub fn check(&self, trust: &Trust) -> Checked {
        let modified = |e: Error| Checked {
            origin: State::Modified.into(),
            package: None,
            library_sha256: None,
            why: Some(format!("{e:#}")),
        };
        let package = match self.intact() {
            Ok(package) => package,
            Err(e) => return modified(e),
        };
        let library_sha256 = Some(files::sha256(package.library()));
        let origin = Origin { package: Some(self.sha256.clone()), ..State::Unsigned.into() };
        let (origin, why) = match self.signer(trust, &package) {
            Ok((registry, key_id)) => {
                (Origin { state: State::Signed, registry: Some(registry), key_id: Some(key_id), ..origin }, None)
            }
            Err(e) if e.code() == Code::ShareSignature => return modified(e),
            Err(e) => (origin, Some(format!("{e:#}"))),
        };
        match files::sha256_file(&self.library()) {
            Ok(now) if Some(&now) == library_sha256.as_ref() => {
                Checked { origin, package: Some(package), library_sha256, why }
            }
            Ok(now) => {
                let was = library_sha256.as_deref().unwrap_or_default();
                let what = format!("{} has sha256 {now:.12}, not {was:.12}", self.library().display());
                Checked { library_sha256, package: Some(package), ..modified(Error::new(Code::ShareStore, what)) }
            }
            Err(e) => modified(e),
        }
    }

    /// Whether it is whole, and has at least this signature and registry.
    fn serves(&self, signature: Option<&str>, registry: Option<&Path>) -> bool {
        let library = || files::sha256_file(&self.library()).ok();
        let whole = self.intact().is_ok_and(|package| library() == Some(files::sha256(package.library())));
        let signed = || keys::signature_of(&self.directory.join(PACKAGE)).ok();
        whole && (registry.is_none() || self.record.registry.as_deref() == registry && signed().as_deref() == signature)
    }

    /// The package as it was installed.
    fn intact(&self) -> Result<Package> {
        let path = self.directory.join(PACKAGE);
        let bytes = foreign::read_up_to(&path, PACKED_LIMIT)?;
        let now = files::sha256(&bytes);
        if now != self.sha256 {
            return Err(Error::new(Code::ShareStore, format!("{} has sha256 {now:.12}", path.display())));
        }
        let package = Package::read(bytes).map_err(|e| e.at(path.display()))?;
        if package.id != self.record.id {
            return Err(Error::new(Code::ShareStore, format!("{} holds {}", path.display(), package.id)));
        }
        Ok(package)
    }

    /// Registry and key that vouch for it now.
    fn signer(&self, trust: &Trust, package: &Package) -> Result<(String, String)> {
        let Some(registry) = &self.record.registry else {
            return Err(Error::new(Code::ShareTrust, "installed from a file, for which no trusted key vouches"));
        };
        let trusted = trust.get(registry)?;
        let signature = keys::signature_of(&self.directory.join(PACKAGE))?;
        trusted.key.verify(&package.id, &package.bytes, &signature)?;
        Ok((trusted.name(), trusted.key.id().to_owned()))
    }
}

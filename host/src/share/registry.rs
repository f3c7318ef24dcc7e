//! A registry: a directory of signed packages, on a share, in a git checkout or on any static host's disk.
//!
//! ```text
//! registry.json               the one key that signs everything here
//! index/NAME.json             what is published of a plugin
//! packages/NAME/*.ldp         packages, each with its .minisig
//! ```
//!
//! It only grows: what is published under a version and target never changes. A file is whole or absent, and the index
//! is written last, so that a reader never meets half a publication. The index is a table of contents and proves
//! nothing; signatures do.

use super::{
    PackageId,
    archive::{PACKED_LIMIT, Package},
    is_plain,
    keys::{self, PublicKey},
};
use crate::{
    Code, Error, Result,
    config::suggest,
    files, foreign,
    library::{ABI_VERSION, abi_major},
};
use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const HEAD: &str = "registry.json";
const LIMIT: u64 = 4 << 20;

/// An opened registry.
pub struct Registry {
    path: PathBuf,
    key: PublicKey,
}

/// `registry.json`
#[derive(Serialize, Deserialize)]
struct Head {
    schema: u32,
    key: PublicKey,
}

/// What is published of one plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// The plugin's name.
    pub name: String,
    /// By version, then target.
    pub releases: Vec<Release>,
}

/// One published package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Release {
    /// Version of the plugin.
    pub version: Version,
    /// Where it runs.
    pub target: String,
    /// Version of the boundary it was built against.
    pub abi: String,
    /// SHA-256 of the package.
    pub sha256: String,
    /// The key that signed it.
    pub key_id: String,
    /// License of the plugin.
    pub license: String,
    /// What it provides, for `search`.
    pub provides: Vec<Offer>,
}

/// One thing a plugin provides.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Offer {
    /// encoder, distance or schedule.
    pub kind: String,
    /// Its name in configs.
    pub id: String,
    /// One sentence.
    pub summary: String,
}

/// A package whose signature was checked, with it.
#[derive(Debug)]
pub struct Signed {
    /// The package.
    pub package: Package,
    /// The text of its signature file.
    pub signature: String,
}

fn error(what: impl Into<String>) -> Error {
    Error::new(Code::ShareRegistry, what)
}

impl Registry {
    /// Opens a registry.
    pub fn open(path: &Path) -> Result<Self> {
        let head = path.join(HEAD);
        if !head.is_file() {
            return Err(error(format!("{} is not a plugin registry: it has no {HEAD}", path.display())).hint(
                "check the path; the first `ldalign plugin publish` into a directory, with --key, makes it one",
            ));
        }
        let Head { schema, key } = foreign::read_json(&head, LIMIT, Code::ShareRegistry)?;
        if schema != 1 {
            return Err(error(format!("{} has layout {schema}, this program knows 1", path.display()))
                .hint("use a newer release"));
        }
        let path = path.canonicalize().map_err(|e| files::io_error(path, "open", e))?;
        Ok(Self { path, key })
    }

    /// Opens a registry, or makes one for a key where there is none yet.
    pub fn open_or_create(path: &Path, key: Option<PublicKey>) -> Result<Self> {
        let head = path.join(HEAD);
        match key {
            Some(key) if !head.exists() => {
                files::make_dir(path)?;
                files::write_json(&head, &Head { schema: 1, key })?;
            }
            Some(key) => {
                let registry = Self::open(path)?;
                if registry.key != key {
                    return Err(error(format!("{} belongs to {}, not to {key}", path.display(), registry.key))
                        .hint("one key signs all of a registry: publish with that key, or into another directory"));
                }
            }
            None => {}
        }
        Self::open(path)
    }

    /// Its directory, canonical.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key it says is its own. Trust comes from elsewhere.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The names of all plugins in it.
    pub fn names(&self) -> Vec<String> {
        let entries = self.path.join("index").read_dir().into_iter().flatten().flatten();
        let names = entries.filter_map(|e| Some(e.file_name().to_str()?.strip_suffix(".json")?.to_owned()));
        let mut names: Vec<String> = names.filter(|n| is_plain(n)).collect();
        names.sort();
        names
    }

    /// What is published of a plugin; nothing where its name is unknown.
    pub fn index(&self, name: &str) -> Result<Index> {
        let path = self.index_path(name)?;
        if !path.exists() {
            return Ok(Index { name: name.to_owned(), releases: Vec::new() });
        }
        let index: Index = foreign::read_json(&path, LIMIT, Code::ShareRegistry)?;
        if index.name != name || !index.releases.iter().all(|r| r.id(name).is_plain()) {
            return Err(error(format!("{} is damaged", path.display())).hint("tell the registry's owners"));
        }
        Ok(index)
    }

    fn index_path(&self, name: &str) -> Result<PathBuf> {
        if !is_plain(name) {
            return Err(error(format!("{name:?} cannot be the name of a plugin"))
                .hint("names have letters, digits, `-` and `_`"));
        }
        Ok(self.path.join("index").join(format!("{name}.json")))
    }

    fn package_path(&self, id: &PackageId) -> PathBuf {
        self.path.join("packages").join(&id.name).join(id.file_name())
    }

    /// Publishes a signed package. False where exactly it is published already.
    ///
    /// # Errors
    /// Not signed with the registry's key, or the version is published for its target with other bytes.
    pub fn publish(&self, package: &Package, signature: &str) -> Result<bool> {
        self.key.verify(&package.id, &package.bytes, signature)?;
        // Its head, which never changes: a lock file of its own would end up in a repository.
        let id = &package.id;
        let _held = super::hold(&self.path.join(HEAD))?;
        files::sweep(&self.path, &["index", &format!("packages/{}", id.name)])?;
        let mut index = self.index(&id.name)?;
        if let Some(old) = index.releases.iter().find(|r| r.id(&id.name) == *id) {
            if old.sha256 == package.sha256 {
                return Ok(false);
            }
            return Err(error(format!(
                "{id} is published already, with other bytes: sha256 {:.12} there, {:.12} here",
                old.sha256, package.sha256
            ))
            .hint("what is published never changes: raise the version in Cargo.toml, build, pack and sign again"));
        }
        let path = self.package_path(id);
        files::make_dir(files::parent(&path))?;
        files::write(&path, &package.bytes)?;
        files::write(&keys::signature_path(&path), signature.as_bytes())?;
        index.releases.push(Release::of(package, &self.key));
        index.releases.sort();
        let path = self.index_path(&id.name)?;
        files::make_dir(files::parent(&path))?;
        files::write_json(&path, &index)?;
        Ok(true)
    }

    /// The package of a release, checked against the key that is trusted for this registry, then against the index.
    ///
    /// # Errors
    /// It is missing, not signed with this key as what the index says it is, or not a package that can be used.
    pub fn fetch(&self, name: &str, release: &Release, key: &PublicKey) -> Result<Signed> {
        let id = release.id(name);
        let path = self.package_path(&id);
        let bytes = foreign::read_up_to(&path, PACKED_LIMIT)?;
        let signature = keys::signature_of(&path)?;
        // Before a single byte is unpacked.
        key.verify(&id, &bytes, &signature)?;
        let package = Package::read(bytes).map_err(|e| e.at(path.display()))?;
        if package.id != id || package.sha256 != release.sha256 {
            return Err(error(format!("{} is not what the index says: it holds {}", path.display(), package.id))
                .hint("do not use it, and tell the registry's owners"));
        }
        Ok(Signed { package, signature })
    }
}

impl Release {
    fn of(package: &Package, key: &PublicKey) -> Self {
        let plugin = &package.manifest.plugin;
        let offer =
            |p: &crate::library::Provides| Offer { kind: p.kind.clone(), id: p.id.clone(), summary: p.summary.clone() };
        Self {
            version: package.id.version.clone(),
            target: package.id.target.clone(),
            abi: plugin.abi.clone(),
            sha256: package.sha256.clone(),
            key_id: key.id().to_owned(),
            license: plugin.license.clone(),
            provides: plugin.provides.iter().map(offer).collect(),
        }
    }

    /// Which package it is, of the plugin of this name.
    pub fn id(&self, name: &str) -> PackageId {
        PackageId { name: name.to_owned(), version: self.version.clone(), target: self.target.clone() }
    }
}

/// The highest published version that meets the requirement, runs on the target and was built for this program's
/// boundary.
///
/// `known` are the registry's names, for a name that is not among them.
///
/// # Errors
/// `share/resolve`, with the reason why nothing fits.
pub fn resolve<'a>(index: &'a Index, wanted: &VersionReq, target: &str, known: &[String]) -> Result<&'a Release> {
    let name = &index.name;
    let none = |what: String| Error::new(Code::ShareResolve, what);
    let list = |items: Vec<String>| {
        let mut items = items;
        items.dedup();
        items.join(", ")
    };
    if index.releases.is_empty() {
        let near = suggest(name, known.iter().map(String::as_str)).map(|n| format!("did you mean `{n}`? "));
        return Err(none(format!("no trusted registry has a plugin called `{name}`"))
            .hint(near.unwrap_or_default() + "`ldalign plugin search` lists what there is"));
    }
    let of_version: Vec<&Release> = index.releases.iter().filter(|r| wanted.matches(&r.version)).collect();
    if of_version.is_empty() {
        let there = list(index.releases.iter().map(|r| r.version.to_string()).collect());
        return Err(none(format!("no version of {name} meets {wanted}: there are {there}"))
            .hint("ask for another version; pre-releases must be asked for by name"));
    }
    let of_target: Vec<&Release> = of_version.iter().copied().filter(|r| r.target == target).collect();
    if of_target.is_empty() {
        let there = list(of_version.iter().map(|r| format!("{} for {}", r.version, r.target)).collect());
        return Err(none(format!("{name} is not published for {target}: there are {there}"))
            .hint("ask its authors for a package of this target"));
    }
    let of_abi = of_target.iter().copied().filter(|r| abi_major(&r.abi) == abi_major(ABI_VERSION));
    of_abi.max_by(|a, b| a.version.cmp(&b.version)).ok_or_else(|| {
        let there = list(of_target.iter().map(|r| format!("{} for ABI {}", r.version, r.abi)).collect());
        none(format!("no version of {name} was built for this program's plugin ABI {ABI_VERSION}: there are {there}"))
            .hint("ask its authors to build it with this release's SDK, or use another release of ldalign")
    })
}

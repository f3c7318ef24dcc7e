//! Sharing plugins: packages, signatures, registries, the store of what is installed, and the lock file that a team
//! commits.
//!
//! A library becomes a package ([`archive`]), the package is signed ([`keys`]) and published in a registry
//! ([`registry`]). Another team trusts the registry with its key ([`trust`]); [`install`] resolves a name, checks
//! signature and contents in memory, and only then writes the [`store`] and the lock file ([`lock`]). A run finds an
//! installed plugin through the lock, else in the store, and what it is then ([`State`]) is worked out anew from bytes,
//! signature and trust. Nothing here runs any of a plugin's code.

pub mod archive;
pub mod install;
pub mod keys;
pub mod lock;
pub mod registry;
pub mod store;
pub mod trust;

use crate::{Code, Error, Result, files, library::Metadata};
use etcetera::BaseStrategy;
use semver::Version;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    fs::File,
    path::{Path, PathBuf},
};

/// Which package: a published (name, version, target) never changes its bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackageId {
    /// Name of the library, its crate's.
    pub name: String,
    /// Version of the library, its crate's.
    pub version: Version,
    /// Where it runs, such as `x86_64-linux-gnu`.
    pub target: String,
}

impl PackageId {
    /// The id of a library, whose name, version and target become parts of file names.
    ///
    /// # Errors
    /// `share/package` where one of them is unfit for that.
    pub fn of(metadata: &Metadata) -> Result<Self> {
        let Metadata { name, version, target, .. } = metadata;
        let refuse = |what: String| Error::new(Code::SharePackage, what);
        let version = Version::parse(version)
            .map_err(|e| refuse(format!("{name}: the version {version:?} is not MAJOR.MINOR.PATCH")).caused_by(e))?;
        if !version.build.is_empty() {
            // Requirements cannot tell two builds of one version apart.
            return Err(refuse(format!("{name} {version}: a version with build metadata cannot be shared"))
                .hint("raise the version instead"));
        }
        let id = Self { name: name.clone(), version, target: target.clone() };
        if !id.is_plain() {
            return Err(refuse(format!("{name:?} for {target:?} cannot be a package"))
                .hint("names and targets have letters, digits, `-` and `_`, and at most 64 of them"));
        }
        Ok(id)
    }
    /// Whether its parts are fit for file names.
    pub fn is_plain(&self) -> bool {
        is_plain(&self.name) && is_plain(&self.target) && self.version.to_string().len() <= 64
    }
    /// `NAME-VERSION-TARGET.ldp`
    pub fn file_name(&self) -> String {
        format!("{}-{}-{}.ldp", self.name, self.version, self.target)
    }
}

impl fmt::Display for PackageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} for {}", self.name, self.version, self.target)
    }
}

/// Whether a name can be part of a file name and of a line of text.
pub fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=64).contains(&name.len()) && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(plain)
}

/// Who vouches for a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Came with the program.
    Bundled,
    /// Installed from a registry, with a signature by the key that is trusted for it.
    Signed,
    /// Named by the config itself, by its path or through `plugin_path`.
    Local,
    /// Installed, but no trusted key has signed it.
    Unsigned,
    /// Installed, but not what was installed any more.
    Modified,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Bundled => "bundled",
            State::Signed => "signed",
            State::Local => "local",
            State::Unsigned => "unsigned",
            State::Modified => "modified",
        })
    }
}

/// Where a plugin of a run came from, for its manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Who vouches for it.
    pub state: State,
    /// Registry it was installed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// Key that signed its package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// SHA-256 of its package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
}

impl From<State> for Origin {
    fn from(state: State) -> Self {
        Self { state, registry: None, key_id: None, package: None }
    }
}

/// `signed by 0123456789ABCDEF, /srv/plugins`, or the state alone.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.state, &self.key_id, &self.registry) {
            (State::Signed, Some(key), Some(registry)) => write!(f, "signed by {key}, {registry}"),
            (state, ..) => state.fmt(f),
        }
    }
}

/// The user's directories for settings and for data, `ldalign` in those of XDG.
fn home() -> Result<(PathBuf, PathBuf)> {
    let strategy = etcetera::choose_base_strategy().map_err(|e| {
        Error::new(Code::ShareHome, "there is no home directory to keep plugins in").hint("set HOME").caused_by(e)
    })?;
    Ok((strategy.config_dir().join("ldalign"), strategy.data_dir().join("ldalign")))
}

/// Holds a lock file while several files change; waits for another process that does.
fn hold(path: &Path) -> Result<File> {
    files::make_dir(files::parent(path))?;
    files::hold(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn what_cannot_be_a_file_name_or_told_apart_is_no_package() {
        let of = |name: &str, version: &str| {
            let metadata = json!({"schema": 1, "name": name, "version": version, "abi": "1.0.0", "sdk": "0.1.0", "license": "MIT",
                "target": "x86_64-linux-gnu", "cpu_features": [], "provides": []});
            PackageId::of(&serde_json::from_value(metadata).unwrap())
                .map(|id| id.file_name())
                .map_err(|e| e.to_string())
        };
        assert_eq!(of("chord", "1.0.0-rc.1").as_deref(), Ok("chord-1.0.0-rc.1-x86_64-linux-gnu.ldp"));
        assert!(of("../chord", "1.0.0").unwrap_err().contains("cannot be a package"));
        assert!(of("chord", "1.0").unwrap_err().contains("is not MAJOR.MINOR.PATCH"));
        assert!(of("chord", "1.0.0+a").unwrap_err().contains("build metadata"));
    }
}

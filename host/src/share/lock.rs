//! `ldalign.lock`, beside a run's config: which plugins a team uses, to the byte. Committed with the config.
//!
//! Where an earlier version of a file is put back, every check in it passes; so each user's data also remembers the
//! highest version each lock file has had here (`locks.json`).

use super::{home, is_plain, keys::PublicKey};
use crate::{Code, Error, Result, files, foreign};
use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

const LIMIT: u64 = 4 << 20;

/// A lock file, read or not yet there.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    /// What it pins, by name.
    pub plugins: BTreeMap<String, Locked>,
}

/// What a lock file pins of one plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locked {
    /// The version.
    pub version: Version,
    /// What `update` stays within.
    pub requirement: VersionReq,
    /// Where it came from. Elsewhere the registry may lie at another place: the key says which it is.
    pub registry: String,
    /// The registry's key.
    pub key: PublicKey,
    /// Version of the plugin boundary.
    pub abi: String,
    /// SHA-256 of the package, by target.
    pub sha256: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct File {
    schema: u32,
    plugins: BTreeMap<String, Locked>,
}

/// Highest versions seen, by lock file and name.
type Seen = BTreeMap<PathBuf, BTreeMap<String, Version>>;

impl Lock {
    /// Reads a lock file; one that is not there pins nothing.
    pub fn read(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self { path: path.to_owned(), plugins: BTreeMap::new() });
        }
        let File { schema, plugins } = foreign::read_json(path, LIMIT, Code::ShareLock)?;
        let damaged = |what: String| Error::new(Code::ShareLock, format!("{}: {what}", path.display()));
        if schema != 1 {
            return Err(damaged(format!("layout {schema}, this program knows 1")).hint("use a newer release"));
        }
        if let Some(name) = plugins.keys().find(|n| !is_plain(n)) {
            return Err(damaged(format!("{name:?} cannot be the name of a plugin")).hint("restore the file"));
        }
        Ok(Self { path: path.to_owned(), plugins })
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses a version below one that this lock file has had here.
    pub fn check_not_downgraded(&self) -> Result<()> {
        let seen = seen()?.remove(&self.key()?).unwrap_or_default();
        for (name, Locked { version, .. }) in &self.plugins {
            if let Some(before) = seen.get(name).filter(|before| *before > version) {
                return Err(Error::new(
                    Code::ShareLock,
                    format!("{} has {name} {version}, and had {before} before: a downgrade", self.path.display()),
                )
                .hint("if it is meant: ldalign plugin install --locked --allow-downgrade; else restore the file"));
            }
        }
        Ok(())
    }

    /// Remembers its versions as the ones below which it must not fall.
    pub fn remember(&self) -> Result<()> {
        let data = home()?.1;
        let _held = super::hold(&data.join("plugins/.lock"))?;
        files::sweep(&data, &[])?;
        let mut all = seen()?;
        let before = all.clone();
        // What is not in it now is remembered too: it may come back.
        let versions = all.entry(self.key()?).or_default();
        versions.extend(self.plugins.iter().map(|(name, locked)| (name.clone(), locked.version.clone())));
        all.retain(|path, _| files::parent(path).is_dir());
        if all != before {
            files::write_json(&data.join("locks.json"), &all)?;
        }
        Ok(())
    }

    /// Writes it, sorted by name.
    pub fn write(&self) -> Result<()> {
        files::write_json(&self.path, &File { schema: 1, plugins: self.plugins.clone() })
    }

    /// Its place, as it is remembered.
    fn key(&self) -> Result<PathBuf> {
        let directory = files::parent(&self.path).canonicalize().map_err(|e| files::io_error(&self.path, "find", e))?;
        Ok(directory.join(self.path.file_name().unwrap_or_default()))
    }
}

fn seen() -> Result<Seen> {
    let path = home()?.1.join("locks.json");
    if path.exists() { foreign::read_json(&path, LIMIT, Code::ShareLock) } else { Ok(Seen::new()) }
}

impl Locked {
    /// Refuses a replacement that no honest registry could give: other bytes under the same version, or another key.
    pub fn check_same_bytes(&self, name: &str, new: &Self) -> Result<()> {
        let refuse = |what: String| {
            Error::new(Code::ShareLock, format!("{name} {}: {what}", self.version))
                .hint("do not go on before the registry's owners have explained it")
        };
        if self.key != new.key {
            let what = format!("locked as signed by {:#}, the registry's is {:#}", self.key, new.key);
            return Err(refuse(what).hint("if the plugin moved: `ldalign plugin remove` it, then install it again"));
        }
        if self.version != new.version {
            return Ok(());
        }
        for (target, sha) in &self.sha256 {
            match new.sha256.get(target) {
                Some(found) if found == sha => {}
                Some(found) => {
                    let what = format!("for {target} the lock has sha256 {sha:.12}, the registry {found:.12}");
                    return Err(refuse(what));
                }
                None => return Err(refuse(format!("locked for {target}, which the registry has no more"))),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn key(base64: &str) -> PublicKey {
        base64.parse().unwrap()
    }

    fn locked(version: &str, sha: &str) -> Locked {
        Locked {
            version: version.parse().unwrap(),
            requirement: VersionReq::STAR,
            registry: "/srv/plugins".into(),
            key: key("RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"),
            abi: "1.0.0".into(),
            sha256: BTreeMap::from([("x86_64-linux-gnu".into(), sha.repeat(32))]),
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_nonsense_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut lock = Lock::read(&dir.path().join(crate::config::LOCK_FILE)).unwrap();
        assert!(lock.plugins.is_empty());
        lock.plugins.insert("chord".into(), locked("0.1.0", "ab"));
        lock.write().unwrap();
        assert_eq!(Lock::read(lock.path()).unwrap().plugins, lock.plugins);
        for text in ["", "{}", "[]", r#"{"schema":2,"plugins":{}}"#, r#"{"schema":1,"plugins":{"../x":{}}}"#] {
            std::fs::write(lock.path(), text).unwrap();
            assert_eq!(Lock::read(lock.path()).unwrap_err().code(), Code::ShareLock, "{text}");
        }
    }

    #[test]
    fn a_version_keeps_its_bytes_and_its_key() {
        let old = locked("0.1.0", "ab");
        let check = |new: Locked| old.check_same_bytes("chord", &new).map_err(|e| e.message().to_owned());
        assert_eq!(check(old.clone()), Ok(()));
        assert_eq!(check(locked("0.2.0", "cd")), Ok(()));
        let mut more = old.clone();
        more.sha256.insert("aarch64-linux-gnu".into(), "ef".repeat(32));
        assert_eq!(check(more.clone()), Ok(()));
        assert!(more.check_same_bytes("chord", &old).unwrap_err().message().contains("the registry has no more"));
        let e = check(locked("0.1.0", "cd")).unwrap_err();
        assert_eq!(e, "chord 0.1.0: for x86_64-linux-gnu the lock has sha256 abababababab, the registry cdcdcdcdcdcd");
        let other =
            Locked { key: key("RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO4"), ..locked("0.2.0", "ab") };
        let e = check(other).unwrap_err();
        // Another key of the same number is another key.
        assert!(e.contains("locked as signed by key ") && e.contains("GFO3), the registry's is key "), "{e}");
        assert!(e.ends_with("GFO4)"), "{e}");
    }
}

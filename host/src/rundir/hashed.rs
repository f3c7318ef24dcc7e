//! Files, directories and models by their contents.

use crate::{Result, files, model::ModelDir};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// A model or adapter directory, and the files that are read of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashedModel {
    /// Where it lay.
    pub path: PathBuf,
    /// Of all of `files`.
    pub sha256: String,
    /// SHA-256 of each file by name; those of an adapter's base as `base/NAME`.
    pub files: BTreeMap<String, String>,
}

impl HashedModel {
    /// Hashes what is read of the model at `path`: what else lies there changes nothing.
    pub fn of(path: &Path) -> Result<Self> {
        let hashed = |(name, path): (String, PathBuf)| Ok((name, files::sha256_file(&path)?));
        let files = ModelDir::open(path)?.files()?.into_iter().map(hashed).collect::<Result<BTreeMap<_, _>>>()?;
        let list: String = files.iter().map(|(name, hash)| format!("{hash} {name}\n")).collect();
        Ok(Self { path: path.to_owned(), sha256: files::sha256(list.as_bytes()), files })
    }
}

/// A file or directory and its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashedPath {
    /// Where it lay.
    pub path: PathBuf,
    /// SHA-256 in hex: of the file, or of the names and hashes of a directory's files.
    pub sha256: String,
}

impl HashedPath {
    /// Hashes what lies at `path`.
    pub fn of(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_owned(), sha256: hash_path(path)? })
    }
}

/// SHA-256 of a file, or of the sorted names and hashes of the files in a directory, hidden ones such as `.DS_Store`
/// aside.
pub fn hash_path(path: &Path) -> Result<String> {
    if !path.is_dir() {
        return files::sha256_file(path);
    }
    let fail = |e| files::io_error(path, "list", e);
    let mut names = Vec::new();
    for entry in path.read_dir().map_err(fail)? {
        let entry = entry.map_err(fail)?;
        if entry.path().is_file() && !entry.file_name().as_encoded_bytes().starts_with(b".") {
            names.push(entry.file_name());
        }
    }
    names.sort();
    let mut list = String::new();
    for name in names {
        list += &format!("{} {}\n", files::sha256_file(&path.join(&name))?, name.to_string_lossy());
    }
    Ok(files::sha256(list.as_bytes()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_directory_hash_sees_names_and_bytes() {
        let d = tempfile::tempdir().unwrap();
        std::fs::write(d.path().join("a"), "1").unwrap();
        let one = hash_path(d.path()).unwrap();
        std::fs::rename(d.path().join("a"), d.path().join("b")).unwrap();
        let two = hash_path(d.path()).unwrap();
        std::fs::write(d.path().join("b"), "2").unwrap();
        let three = hash_path(d.path()).unwrap();
        assert!(one != two && two != three);
        std::fs::write(d.path().join(".DS_Store"), "x").unwrap();
        assert_eq!(hash_path(d.path()).unwrap(), three);
    }
}

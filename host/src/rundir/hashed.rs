//! Models by their contents.

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

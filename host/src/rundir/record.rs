//! Records of finished work: what it made, by path and hash. A record is written last, and says later whether all of it
//! is still what was written.

use super::{SealedFile, hash_path};
use crate::{Result, files};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// SHA-256 of what some work wrote, by path in the directory that it belongs to.
pub type Hashes = BTreeMap<PathBuf, String>;

/// The record of some work, there or not.
pub struct Record {
    root: PathBuf,
    file: SealedFile<Hashes>,
}

/// How finished work stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// There is no record: it was not finished.
    No,
    /// All that it wrote is what was written.
    Whole,
    /// This is missing, or is not what was written: a file of the work, or the record.
    Damaged(PathBuf),
}

impl Record {
    /// The record NAME of work in the directory `root`: `done/NAME.json` there.
    pub fn new(root: &Path, name: &str) -> Self {
        Self::of(root, root, name)
    }

    /// The same for work that keeps its records in a directory below `root`.
    pub(super) fn of(root: &Path, directory: &Path, name: &str) -> Self {
        let file = SealedFile::new(directory.join("done").join(format!("{name}.json")));
        Self { root: root.to_owned(), file }
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// How the work stands. Fails where the disk does.
    pub fn made(&self) -> Result<Made> {
        if !self.file.exists() {
            return Ok(Made::No);
        }
        let Ok(hashes) = self.file.read() else { return Ok(Made::Damaged(self.path().to_owned())) };
        for (name, hash) in &hashes {
            let path = self.root.join(name);
            if !path.exists() || hash_path(&path)? != *hash {
                return Ok(Made::Damaged(path));
            }
        }
        Ok(Made::Whole)
    }

    /// Whether the work is done. Where something of it is damaged, which is said, it counts as not done: for work that
    /// is done again without harm.
    pub fn is_whole(&self) -> Result<bool> {
        let made = self.made()?;
        if let Made::Damaged(path) = &made {
            tracing::warn!("{} is missing or not what was written there; it is made again", path.display());
        }
        Ok(made == Made::Whole)
    }

    /// Records what the work wrote. Nothing of it may be written after this.
    pub fn write(&self, outputs: &[PathBuf]) -> Result<()> {
        let mut hashes = Hashes::new();
        for path in outputs {
            let name = path.strip_prefix(&self.root).expect("work writes inside the directory it belongs to");
            hashes.insert(name.to_owned(), hash_path(path)?);
        }
        files::make_dir(files::parent(self.path()))?;
        self.file.write(&hashes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn every_change_of_what_was_made_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let record = Record::new(root, "work");
        assert_eq!(record.made().unwrap(), Made::No);
        let (a, b) = (root.join("a.json"), root.join("model"));
        fs::create_dir(&b).unwrap();
        for path in [&a, &b.join("weights")] {
            fs::write(path, "as written").unwrap();
        }
        record.write(&[a.clone(), b.clone()]).unwrap();
        assert_eq!(record.made().unwrap(), Made::Whole);
        for path in [&a, &b.join("weights"), &record.path().to_owned()] {
            let bytes = fs::read(path).unwrap();
            let mut damaged = bytes.clone();
            damaged[4] ^= 1;
            fs::write(path, damaged).unwrap();
            let seen = if path == &a || path == record.path() { path } else { &b };
            assert_eq!(record.made().unwrap(), Made::Damaged(seen.clone()));
            assert!(!record.is_whole().unwrap());
            fs::write(path, bytes).unwrap();
            assert!(record.is_whole().unwrap());
        }
        fs::remove_file(&a).unwrap();
        assert_eq!(record.made().unwrap(), Made::Damaged(a));
    }
}

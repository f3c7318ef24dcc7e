//! Files and directories by their contents.

use crate::Result;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

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

/// SHA-256 of a file, or of the sorted names and hashes of the files in a directory and those below it, hidden ones
/// such as `.DS_Store` aside.
pub fn hash_path(path: &Path) -> Result<String> {
    if !path.is_dir() {
        return super::sha256_file(path);
    }
    let mut names = Vec::new();
    list(path, "", DEEPEST, &mut names)?;
    names.sort();
    let mut text = String::new();
    for name in names {
        text += &format!("{} {name}\n", super::sha256_file(&path.join(&name))?);
    }
    Ok(super::sha256(text.as_bytes()))
}

/// Directories in each other that are looked into: a link may lead back to where it lies.
const DEEPEST: usize = 16;

/// Adds the files of a directory, each with `before` in front of its name.
fn list(directory: &Path, before: &str, depth: usize, names: &mut Vec<String>) -> Result<()> {
    let fail = |e| super::io_error(directory, "list", e);
    if depth == 0 {
        return Err(fail(std::io::Error::other(format!("directories in it are more than {DEEPEST} deep"))));
    }
    for entry in directory.read_dir().map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let name = format!(
            "{before}{}",
            name.to_str()
                .ok_or_else(|| { fail(std::io::Error::other(format!("{} is no UTF-8", name.to_string_lossy()))) })?
        );
        match entry.path() {
            path if path.is_dir() => list(&path, &format!("{name}/"), depth - 1, names)?,
            path if path.is_file() => names.push(name),
            _ => {}
        }
    }
    Ok(())
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
        std::fs::create_dir(d.path().join("c")).unwrap();
        assert_eq!(hash_path(d.path()).unwrap(), three);
        std::fs::write(d.path().join("c/b"), "2").unwrap();
        let four = hash_path(d.path()).unwrap();
        std::fs::rename(d.path().join("c/b"), d.path().join("c/a")).unwrap();
        assert!(three != four && four != hash_path(d.path()).unwrap());
        std::os::unix::fs::symlink(d.path(), d.path().join("c/round")).unwrap();
        let e = format!("{:#}", hash_path(d.path()).unwrap_err());
        assert!(e.contains("more than 16 deep"), "{e}");
    }
}

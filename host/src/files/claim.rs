//! What a command may write on: nothing that it reads, and nothing that it did not make.

use super::{io_error, read};
use crate::{Code, Error, Result};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A directory that a command is about to write in.
pub struct Claim<'a> {
    /// The directory, there or not.
    pub directory: &'a Path,
    /// The file in it that says that the command was here before.
    pub mark: &'a str,
    /// Whether the command writes a file or directory of this name in it, or `done/NAME` in that folder, which work of
    /// several kinds may share.
    pub writes: &'a dyn Fn(&str) -> bool,
    /// Files and directories that the command reads.
    pub reads: &'a [PathBuf],
}

impl Claim<'_> {
    /// Whether the command may write there: to be asked before anything is loaded.
    ///
    /// # Errors
    /// `file/taken` where the directory is one that is read as a whole, such as a model's, and where it holds, without
    /// the mark, what the command would write.
    pub fn check(&self) -> Result<()> {
        let Self { directory, mark, .. } = self;
        let Some(mut names) = list(directory)? else { return Ok(()) };
        let path = directory.join(mark);
        if is_mark(&path)? {
            return Ok(());
        }
        let taken = |what: String| {
            Err(Error::new(Code::FileTaken, what).hint("choose another directory for the output: nothing was written"))
        };
        let here = fs::canonicalize(directory).map_err(|e| io_error(directory, "find", e))?;
        if let Some(read) = self.reads.iter().find(|path| fs::canonicalize(path).is_ok_and(|path| path == here)) {
            return taken(format!("{} is to be read, and would be written in", read.display()));
        }
        if names.iter().any(|name| name == DONE) {
            let records = list(&directory.join(DONE))?.unwrap_or_default();
            names.extend(records.into_iter().map(|name| format!("{DONE}/{name}")));
        }
        let mut theirs: Vec<&String> = names.iter().filter(|name| (self.writes)(name)).collect();
        theirs.sort();
        let Some(name) = theirs.first() else { return Ok(()) };
        let what = if path.exists() { "is not ours, or damaged" } else { "is not there" };
        let more = if theirs.len() > 1 { format!(" and {} more", theirs.len() - 1) } else { String::new() };
        let name = directory.join(name);
        taken(format!("{}{more} would be written over: {mark}, which says that it is ours, {what}", name.display()))
    }
}

/// The folder of the records of finished work.
const DONE: &str = "done";

/// The names in a directory; None where there is no such thing.
fn list(directory: &Path) -> Result<Option<Vec<String>>> {
    let fail = |e| io_error(directory, "write in", e);
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(fail)?,
    };
    let mut names = vec![];
    for entry in entries {
        names.extend(entry.map_err(fail)?.file_name().into_string());
    }
    Ok(Some(names))
}

/// Whether a file is one by which we know our own: JSON that names the program.
fn is_mark(path: &Path) -> Result<bool> {
    if !path.exists() {
        return Ok(false);
    }
    let value: serde_json::Value = serde_json::from_slice(&read(path)?).unwrap_or_default();
    Ok(value.get("ldalign").is_some())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_there_is_written_over_where_it_is_ours_alone() {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path().join("here");
        let check = |reads: &[PathBuf]| {
            let writes = |name: &str| ["a.json", "b", "done/a.json"].contains(&name);
            Claim { directory: &here, mark: "a.json", writes: &writes, reads }.check().map_err(|e| e.to_string())
        };
        check(&[]).unwrap();
        fs::create_dir(&here).unwrap();
        fs::write(here.join("notes"), "theirs").unwrap();
        check(&[dir.path().to_owned()]).unwrap();
        // Read as a whole, by whatever name.
        std::os::unix::fs::symlink(&here, dir.path().join("link")).unwrap();
        assert!(check(&[dir.path().join("link")]).unwrap_err().ends_with("would be written in"));
        fs::create_dir(here.join("done")).unwrap();
        fs::write(here.join("done/b.json"), "another's").unwrap();
        check(&[]).unwrap();
        fs::write(here.join("done/a.json"), "theirs").unwrap();
        assert!(check(&[]).unwrap_err().contains("here/done/a.json would be written over"));
        fs::remove_dir_all(here.join("done")).unwrap();
        fs::create_dir(here.join("b")).unwrap();
        assert!(
            check(&[])
                .unwrap_err()
                .ends_with("here/b would be written over: a.json, which says that it is ours, is not there")
        );
        fs::write(here.join("a.json"), "{}").unwrap();
        assert!(check(&[]).unwrap_err().ends_with(
            "a.json and 1 more would be written over: a.json, which says that it is ours, is not ours, or damaged"
        ));
        fs::write(here.join("a.json"), r#"{"ldalign": "0.1.0"}"#).unwrap();
        check(&[]).unwrap();
        assert_eq!(fs::read_dir(&here).unwrap().count(), 3);
    }
}

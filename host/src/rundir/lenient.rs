//! The lenient reader, for reports: a run may be unfinished, damaged or of another version, so what can be read is
//! read, and what cannot is listed in words.

use super::{JsonFile, LinesFile};
use crate::{Result, files};
use serde::de::DeserializeOwned;
use std::{
    error::Error,
    io::{BufRead, BufReader},
    path::Path,
};

/// Reads files of a run, and keeps what could not be read.
#[derive(Default)]
pub struct LenientReader {
    /// What could not be read, a sentence for each file.
    pub problems: Vec<String>,
}

impl LenientReader {
    /// What a JSON file holds; None where it is not there or (said in `problems`) holds something else. Fails where the
    /// disk does.
    pub fn json<T: DeserializeOwned>(&mut self, file: &JsonFile<T>) -> Result<Option<T>> {
        if !file.exists() {
            return Ok(None);
        }
        let value = serde_json::from_slice(&files::read(file.path())?);
        Ok(value.map_err(|e| self.unreadable(file.path(), &e)).ok())
    }

    /// Hands every line of a file to `each` without holding the file; false where there is none. Lines that cannot be
    /// read are left out and counted in `problems`; a last one without its end is still being written, and no fault.
    /// Fails where the disk does.
    pub fn lines<T: DeserializeOwned>(&mut self, file: &LinesFile<T>, mut each: impl FnMut(T)) -> Result<bool> {
        if !file.exists() {
            return Ok(false);
        }
        let path = file.path();
        let fail = |e| files::io_error(path, "read", e);
        let mut reader = BufReader::with_capacity(1 << 18, files::open(path).map_err(fail)?);
        let (mut line, mut bad) = (Vec::new(), 0);
        while reader.read_until(b'\n', &mut line).map_err(fail)? > 0 {
            if line.ends_with(b"\n") && !line.trim_ascii().is_empty() {
                match serde_json::from_slice(&line) {
                    Ok(value) => each(value),
                    Err(_) => bad += 1,
                }
            }
            line.clear();
        }
        if bad > 0 {
            self.problems.push(format!("{bad} lines of {} cannot be read and are left out", place(path)));
        }
        Ok(true)
    }

    /// Notes that a file cannot be read, and why.
    pub fn unreadable(&mut self, path: &Path, e: &dyn Error) {
        self.problems.push(format!("{} cannot be read: {e:#}", place(path)));
    }
}

/// The last parts of a path within a run directory.
fn place(path: &Path) -> String {
    let parts: Vec<_> = path.iter().rev().take(2).map(|p| p.to_string_lossy()).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_can_be_read_is_and_the_rest_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("round-1/n.jsonl");
        std::fs::create_dir(dir.path().join("round-1")).unwrap();
        let file = LinesFile::<u32>::new(path.clone());
        let (mut reader, mut seen) = (LenientReader::default(), vec![]);
        assert!(!reader.lines(&file, |n| seen.push(n)).unwrap());
        std::fs::write(&path, b"1\n\n\"two\"\n\xff\n3\n4").unwrap();
        assert!(reader.lines(&file, |n| seen.push(n)).unwrap());
        assert_eq!(seen, [1, 3]);
        let json = JsonFile::<u32>::new(dir.path().join("n.json"));
        assert_eq!(reader.json(&json).unwrap(), None);
        std::fs::write(json.path(), "{").unwrap();
        assert_eq!(reader.json(&json).unwrap(), None);
        std::fs::write(json.path(), "7").unwrap();
        assert_eq!(reader.json(&json).unwrap(), Some(7));
        assert_eq!(reader.problems[0], "2 lines of round-1/n.jsonl cannot be read and are left out");
        assert!(reader.problems[1].contains("n.json cannot be read: "), "{:?}", reader.problems);
        assert_eq!(reader.problems.len(), 2);
    }
}

//! Files of JSON lines that grow.

use super::{io_error, read};
use crate::{Code, Error, Result};
use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

/// An append-only JSON-lines file whose last line may be torn by a crash; opening it cuts a torn line off.
pub struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Opens or creates the file, keeps its whole lines, and hands each to `seen`.
    pub fn open(path: &Path, mut seen: impl FnMut(&str) -> Result<()>) -> Result<Self> {
        let fail = |e| io_error(path, "open", e);
        let file = File::options().read(true).append(true).create(true).open(path).map_err(fail)?;
        let (mut reader, mut line, mut whole) = (BufReader::new(&file), Vec::new(), 0);
        while reader.read_until(b'\n', &mut line).map_err(fail)? > 0 && line.last() == Some(&b'\n') {
            whole += line.len() as u64;
            let text = std::str::from_utf8(&line)
                .map_err(|e| Error::new(Code::FileJournal, format!("{} is not UTF-8", path.display())).caused_by(e))?;
            seen(text.trim_end())?;
            line.clear();
        }
        file.set_len(whole).map_err(fail)?;
        Ok(Self { path: path.to_owned(), file })
    }
    /// Cuts the file back to its first `lines` lines, as a resumed run does with what came after its checkpoint.
    pub fn truncate(&mut self, lines: usize) -> Result<()> {
        let text = read(&self.path)?;
        let keep: usize = text.split_inclusive(|b| *b == b'\n').take(lines).map(<[u8]>::len).sum();
        self.file.set_len(keep as u64).map_err(|e| io_error(&self.path, "truncate", e))
    }
    /// Appends one value as a line and returns the line's length without its end.
    pub fn push<T: serde::Serialize>(&mut self, value: &T) -> Result<usize> {
        let mut line = serde_json::to_vec(value).map_err(|e| {
            Error::new(Code::FileJournal, format!("cannot write a line to {}", self.path.display())).caused_by(e)
        })?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(|e| io_error(&self.path, "append to", e))?;
        Ok(line.len() - 1)
    }
    /// Makes all lines durable.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| io_error(&self.path, "sync", e))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn a_torn_line_is_cut_and_truncate_keeps_whole_lines() {
        let dir = tempfile::tempdir().unwrap();
        let p = dir.path().join("j.jsonl");
        fs::write(&p, "1\n2\n3\n4").unwrap();
        let mut seen = vec![];
        let mut j = Journal::open(&p, |l| {
            seen.push(l.to_owned());
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, ["1", "2", "3"]);
        j.truncate(2).unwrap();
        j.push(&7).unwrap();
        assert_eq!(fs::read_to_string(&p).unwrap(), "1\n2\n7\n");
        j.truncate(9).unwrap();
        assert_eq!(fs::read_to_string(&p).unwrap(), "1\n2\n7\n");
        j.truncate(0).unwrap();
        assert_eq!(fs::read_to_string(&p).unwrap(), "");
    }
}

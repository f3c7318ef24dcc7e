//! Files of JSON lines that grow: a [`Journal`], and a [`Sealed`] one, whose lines say whether they were damaged.

use super::{io_error, lock::open_own, map, open, read, remove_file, seal, unseal, write_with};
use crate::{Code, Error, Result};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

/// An append-only JSON-lines file whose last line may be torn by a crash; opening it cuts a torn line off. Nothing goes
/// on by what its lines say.
pub struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Opens or makes the file, and keeps its whole lines.
    pub fn open(path: &Path) -> Result<Self> {
        let fail = |e| io_error(path, "open", e);
        let file = open_own(path).map_err(fail)?;
        let (mut reader, mut line, mut whole) = (BufReader::new(&file), Vec::new(), 0);
        while reader.read_until(b'\n', &mut line).map_err(fail)? > 0 && line.last() == Some(&b'\n') {
            whole += line.len() as u64;
            line.clear();
        }
        file.set_len(whole).map_err(fail)?;
        Ok(Self { path: path.to_owned(), file })
    }
    /// Makes the file anew.
    pub fn create(path: &Path) -> Result<Self> {
        remove_file(path)?;
        Self::open(path)
    }
    /// Cuts the file back to its first `lines` lines, as a resumed run does with what came after its checkpoint.
    pub fn truncate(&mut self, lines: usize) -> Result<()> {
        let text = read(&self.path)?;
        let kept: usize = text.split_inclusive(|b| *b == b'\n').take(lines).map(<[u8]>::len).sum();
        self.file.set_len(kept as u64).map_err(|e| io_error(&self.path, "truncate", e))
    }
    /// Appends one value as a line and returns the line.
    pub fn push<T: serde::Serialize>(&mut self, value: &T) -> Result<String> {
        let line = self.line(value)? + "\n";
        self.append(&line)?;
        Ok(line)
    }
    /// Makes all lines durable.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| io_error(&self.path, "sync", e))
    }

    fn line<T: serde::Serialize>(&self, value: &T) -> Result<String> {
        serde_json::to_string(value).map_err(|e| {
            Error::new(Code::FileJournal, format!("cannot write a line to {}", self.path.display())).caused_by(e)
        })
    }
    fn append(&mut self, line: &str) -> Result<()> {
        self.file.write_all(line.as_bytes()).map_err(|e| io_error(&self.path, "append to", e))
    }
}

/// A journal by which interrupted work goes on: every line is [sealed](seal()), and one that is not what was written
/// counts as if it had never been.
pub struct Sealed {
    journal: Journal,
    /// Where the next line begins.
    end: u64,
}

impl Sealed {
    /// Opens or makes the file and hands every line to `seen`, with the place by which [`reader`](Self::reader) finds
    /// it. Damaged lines are removed, which is said.
    pub fn open(path: &Path, mut seen: impl FnMut(u64, &str) -> Result<()>) -> Result<Self> {
        let journal = Journal::open(path)?;
        let (mut end, mut damaged) = (0, 0usize);
        whole_lines(path, |line| {
            let Some(json) = unsealed(line) else {
                damaged += 1;
                return Ok(());
            };
            seen(end, &json)?;
            end += line.len() as u64 + 1;
            Ok(())
        })?;
        if damaged == 0 {
            return Ok(Self { journal, end });
        }
        tracing::warn!("{}: {damaged} lines are not what was written there; their work is done again", path.display());
        write_with(path, |out| {
            let mut lines = BufReader::new(open(path)?).split(b'\n');
            lines.try_for_each(|line| {
                let line = line?;
                if unsealed(&line).is_none() { Ok(()) } else { out.write_all(&[&line[..], b"\n"].concat()) }
            })
        })?;
        Ok(Self { journal: Journal::open(path)?, end })
    }
    /// Appends one value, a map, as a line; returns its place.
    pub fn push<T: serde::Serialize>(&mut self, value: &T) -> Result<u64> {
        let line = seal(&self.journal.line(value)?) + "\n";
        self.journal.append(&line)?;
        let place = self.end;
        self.end += line.len() as u64;
        Ok(place)
    }
    /// Makes all lines durable.
    pub fn sync(&self) -> Result<()> {
        self.journal.sync()
    }
    /// What gives a line's JSON by its place.
    pub fn reader(&self) -> Result<impl Fn(u64) -> io::Result<String> + use<>> {
        let text = map(&self.journal.path)?;
        Ok(move |place: u64| {
            let line = text.get(place as usize..).and_then(|rest| rest.split(|b| *b == b'\n').next());
            line.and_then(unsealed).ok_or_else(|| io::Error::other("a line is not what was written a moment ago"))
        })
    }
}

fn whole_lines(path: &Path, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let fail = |e| io_error(path, "read", e);
    BufReader::new(open(path).map_err(fail)?).split(b'\n').try_for_each(|line| each(&line.map_err(fail)?))
}

fn unsealed(line: &[u8]) -> Option<String> {
    unseal(std::str::from_utf8(line).ok()?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;
    use std::fs;

    #[test]
    fn a_torn_line_is_cut_and_truncate_keeps_whole_lines() {
        let dir = tempfile::tempdir().unwrap();
        let p = dir.path().join("j.jsonl");
        fs::write(&p, "1\n2\n3\n4").unwrap();
        let mut j = Journal::open(&p).unwrap();
        assert_eq!(fs::read_to_string(&p).unwrap(), "1\n2\n3\n");
        j.truncate(2).unwrap();
        assert_eq!(j.push(&7).unwrap(), "7\n");
        assert_eq!(fs::read_to_string(&p).unwrap(), "1\n2\n7\n");
        j.truncate(9).unwrap();
        assert_eq!(fs::read_to_string(&p).unwrap(), "1\n2\n7\n");
        j.truncate(0).unwrap();
        assert_eq!(fs::read_to_string(&p).unwrap(), "");
    }

    #[test]
    fn damaged_lines_of_a_sealed_one_are_as_if_never_written() {
        let dir = tempfile::tempdir().unwrap();
        let p = dir.path().join("j.jsonl");
        let lines = |journal: &mut Vec<(u64, String)>| {
            journal.clear();
            Sealed::open(&p, |at, line| {
                journal.push((at, line.to_owned()));
                Ok(())
            })
            .unwrap()
        };
        let mut seen = vec![];
        let mut sealed = lines(&mut seen);
        let values: Vec<_> = (0..5).map(|i| json!({"i": i, "text": format!("row {i}")})).collect();
        let places: Vec<u64> = values.iter().map(|value| sealed.push(value).unwrap()).collect();
        let read = sealed.reader().unwrap();
        let got: Vec<String> = places.iter().map(|place| read(*place).unwrap()).collect();
        assert_eq!(got, values.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert!(read(places[1] + 1).is_err() && read(1 << 40).is_err());

        // A flipped digit, no UTF-8, and a torn end.
        let mut text = fs::read(&p).unwrap();
        text[places[1] as usize + 5] ^= 1;
        text[places[3] as usize + 8] = 0xff;
        text.extend_from_slice(b"{\"i\":");
        fs::write(&p, text).unwrap();
        let mut sealed = lines(&mut seen);
        let good = [0, 2, 4].map(|i| values[i].to_string());
        assert_eq!(seen.iter().map(|(_, line)| line.clone()).collect::<Vec<_>>(), good);
        let place = sealed.push(&values[1]).unwrap();
        let read = sealed.reader().unwrap();
        assert!(seen.iter().all(|(place, line)| read(*place).unwrap() == *line));
        assert_eq!(read(place).unwrap(), values[1].to_string());
        lines(&mut seen);
        assert_eq!(seen.len(), 4);
    }
}

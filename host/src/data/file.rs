//! One data file: scanned once, then read at random.

use super::{
    Limits, Row,
    index::{Entry, Index, IndexWriter},
    lines::{Lines, content},
    no_rows,
    shape::{Conversation, Format},
};
use crate::{Code, Error, Result, config::DataConfig, files::io_error, text::Prompt};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// A data file, indexed but not held, and so is its index: memory does not grow with the rows.
pub struct DataFile {
    path: PathBuf,
    /// The file itself, or a Parquet file's rows as JSON lines.
    file: File,
    format: Format,
    index: Index,
    hash: String,
    limits: Limits,
}

impl DataFile {
    /// Scans the file once: every row's shape is checked, its offset noted.
    ///
    /// Fails at the first row that is not a JSON object, lacks a field, or is of another shape than the first row.
    pub fn open(config: &DataConfig) -> Result<Self> {
        let lines = Lines::open(config)?;
        let (mut format, mut index) = (None, IndexWriter::new()?);
        let hash = lines.scan(|row, offset, line| {
            let format = match &format {
                Some(format) => format,
                None => format.insert(Format::detect(&row, config)?),
            };
            let targets = format.parse(&row)?.targets;
            targets.iter().try_for_each(|&target| index.push(Entry { offset, line, target: target as u32 }))
        })?;
        let format = format.ok_or_else(|| no_rows(&config.path))?;
        let (path, limits) = (config.path.clone(), config.limits());
        Ok(Self { path, file: lines.file, format, index: index.finish()?, hash, limits })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// SHA-256 of the file.
    pub fn hash(&self) -> &str {
        &self.hash
    }
    /// How its rows are read.
    pub fn format(&self) -> &Format {
        &self.format
    }
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Reads one row, as one of the first file. Fails if the file was changed since it was opened. Panics if there is
    /// no such row.
    pub fn row(&self, index: usize) -> Result<Row> {
        let entry = self.index.get(index)?;
        let mut bytes = Vec::new();
        BufReader::new(ReadFrom { file: &self.file, offset: entry.offset })
            .read_until(b'\n', &mut bytes)
            .map_err(|e| io_error(&self.path, "read", e))?;
        let changed = || {
            Error::new(
                Code::DataChanged,
                format!("{}, line {}: the file was changed during the run", self.path.display(), entry.line),
            )
            .hint("put the file back as it was, or start a new run")
        };
        let row = serde_json::from_slice(content(&bytes, entry.offset)).map_err(|_| changed())?;
        let Conversation { mut messages, variables, rejected, weight, .. } =
            self.format.parse(&row).map_err(|_| changed())?;
        messages.truncate(entry.target as usize + 1);
        let chosen = messages.pop().filter(|_| messages.len() == entry.target as usize).ok_or_else(changed)?;
        let turn = messages.iter().filter(|m| m.role == "assistant").count() as u32;
        let (line, limits) = (entry.line.into(), self.limits);
        let prompt = Prompt { messages, variables };
        Ok(Row { file: 0, line, turn, prompt, chosen, rejected, weight, limits })
    }
}

/// Reads a file from an offset without moving the file's own position, so that threads can share it.
struct ReadFrom<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for ReadFrom<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buf, self.offset)?;
        self.offset += n as u64;
        Ok(n)
    }
}

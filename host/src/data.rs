//! Rows of data files as prompts with chosen (and perhaps rejected) responses.
//!
//! A file is scanned once: every row is checked and its place noted, nothing else is kept. Rows are then read at
//! random.

mod budget;
pub(crate) mod fields;
mod index;
mod lines;
pub(crate) mod messages;
mod parquet;
mod selection;
mod shape;
pub mod tokens;

pub use budget::{Budget, BudgetReport};
pub(crate) use fields::keys;
pub use selection::Selection;

use crate::{
    Code, Error, Result,
    config::DataConfig,
    files::io_error,
    text::{Message, Prompt},
};
use fields::Json;
use index::{Entry, Index, IndexWriter};
use lines::{Lines, content};
use shape::{Conversation, Format};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// One prompt with its chosen response.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Line (JSONL, from 1) or row (Parquet, from 1) in the file.
    pub line: u64,
    /// Assistant turn within the row, from 0.
    pub turn: u32,
    /// What is replied to.
    pub prompt: Prompt,
    /// The chosen response y, a message of the assistant.
    pub chosen: Message,
    /// A ready-made rejected response, if the data has one.
    pub rejected: Option<Message>,
    /// A ready-made weight, if the data has one.
    pub weight: Option<f32>,
}

/// A data file, indexed but not held, and so is its index: memory does not grow with the rows.
pub struct Dataset {
    path: PathBuf,
    /// The file itself, or a Parquet file's rows as JSON lines.
    file: File,
    format: Format,
    index: Index,
    hash: String,
}

impl Dataset {
    /// Where a row lies, for messages: `FILE, line N`.
    pub fn place(&self, row: &Row) -> String {
        format!("{}, line {}", self.path.display(), row.line)
    }
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
        Ok(Self { path: config.path.clone(), file: lines.file, format, index: index.finish()?, hash })
    }

    /// SHA-256 of the file.
    pub fn hash(&self) -> &str {
        &self.hash
    }
    /// Number of rows (assistant turns that become pairs).
    pub fn len(&self) -> usize {
        self.index.len()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Whether all rows bring a rejected response (mixed files are refused by `open`).
    pub fn has_rejected(&self) -> bool {
        self.format.has_rejected()
    }
    /// Whether all rows bring a weight.
    pub fn has_weights(&self) -> bool {
        self.format.has_weights()
    }

    /// Reads one row. Fails if the file was changed since it was opened. Panics if there is no such row.
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
        Ok(Row { line: entry.line.into(), turn, prompt: Prompt { messages, variables }, chosen, rejected, weight })
    }
}

/// Reads the rows of a file once, as JSON objects with the numbers of their lines, for shapes other than a
/// [`Dataset`]'s. Errors of `each` get the place. Returns the file's SHA-256.
pub(crate) fn scan(config: &DataConfig, mut each: impl FnMut(Json, u32) -> Result<()>) -> Result<String> {
    let mut rows = 0;
    let hash = Lines::open(config)?.scan(|row, _, line| {
        rows += 1;
        each(row, line)
    })?;
    if rows == 0 { Err(no_rows(&config.path)) } else { Ok(hash) }
}

fn no_rows(path: &Path) -> Error {
    Error::new(Code::DataEmpty, format!("{} has no rows", path.display())).hint("one JSON object a line is expected")
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

#[cfg(test)]
mod tests;

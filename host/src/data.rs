//! Rows of data files as prompts with chosen (and perhaps rejected) responses.
//!
//! A file is scanned once: every row is checked and its place noted, nothing else is kept. Rows are then read at
//! random.

mod budget;
mod index;
pub(crate) mod messages;
mod parquet;
mod selection;
mod shape;
pub mod tokens;

pub use budget::{Budget, BudgetReport};
pub use selection::Selection;
pub(crate) use shape::keys;

use crate::{
    Code, Error, Result,
    config::DataConfig,
    files::{self, io_error},
    text::Message,
};
use index::{Entry, Index, IndexWriter};
use sha2::{Digest, Sha256};
use shape::{Conversation, Format, Json};
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
    /// The conversation up to the response.
    pub history: Vec<Message>,
    /// The chosen response y.
    pub chosen: String,
    /// A ready-made rejected response, if the data has one.
    pub rejected: Option<String>,
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
        let Conversation { mut messages, rejected, weight, .. } = self.format.parse(&row).map_err(|_| changed())?;
        messages.truncate(entry.target as usize + 1);
        let chosen = messages.pop().filter(|_| messages.len() == entry.target as usize).ok_or_else(changed)?.content;
        let turn = messages.iter().filter(|m| m.role == "assistant").count() as u32;
        Ok(Row { line: entry.line.into(), turn, history: messages, chosen, rejected, weight })
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

/// The most bytes of a row. Tokenizing takes some hundred times as much.
const LONGEST_LINE: u64 = 8 << 20;

/// A file's rows, one JSON object a line.
struct Lines<'a> {
    config: &'a DataConfig,
    /// The file itself, or a Parquet file's rows as JSON lines.
    file: File,
    /// What a row is called: a line, or a row of Parquet.
    unit: &'static str,
    /// Of a Parquet file.
    hash: Option<String>,
}

impl<'a> Lines<'a> {
    fn open(config: &'a DataConfig) -> Result<Self> {
        let path = &config.path;
        let fail = |e| io_error(path, "read", e);
        let file = files::open(path).map_err(fail)?;
        if !parquet::is_parquet(&file).map_err(fail)? {
            return Ok(Self { config, file, unit: "line", hash: None });
        }
        let hash = Some(files::sha256_file(path)?);
        Ok(Self { config, file: parquet::as_json_lines(path, file)?, unit: "row", hash })
    }

    /// Hands each wanted row to `each`, with the byte at which its line begins and the line's number. Returns the
    /// file's SHA-256.
    fn scan(&self, mut each: impl FnMut(Json, u64, u32) -> Result<()>) -> Result<String> {
        let path = &self.config.path;
        let (mut hash, mut bytes) = (Sha256::new(), Vec::new());
        let mut reader = BufReader::with_capacity(1 << 20, &self.file);
        let (mut offset, mut line, mut rows) = (0u64, 0u32, 0);
        loop {
            bytes.clear();
            let n = (&mut reader).take(LONGEST_LINE + 1).read_until(b'\n', &mut bytes);
            let n = n.map_err(|e| io_error(path, "read", e))? as u64;
            if n == 0 {
                break;
            }
            if n > LONGEST_LINE {
                let what =
                    format!("{}, {} {}: longer than {} MiB", path.display(), self.unit, line + 1, LONGEST_LINE >> 20);
                return Err(Error::new(Code::DataRow, what).hint("split the row; or is the file no JSON lines at all?"));
            }
            hash.update(&bytes);
            line += 1;
            let json = content(&bytes, offset);
            if (self.config.max_rows == 0 || rows < self.config.max_rows) && !json.is_empty() {
                rows += 1;
                let place = || format!("{}, {} {line}", path.display(), self.unit);
                let row = serde_json::from_slice(json).map_err(|e| not_json(&place(), json, &e))?;
                each(row, offset, line).map_err(|e| e.at(place()))?;
            }
            offset += n;
        }
        Ok(self.hash.clone().unwrap_or_else(|| files::hex(&hash.finalize())))
    }
}

/// A line without its end and without the byte-order mark that some editors put at the start of a file.
fn content(line: &[u8], offset: u64) -> &[u8] {
    let line = line.trim_ascii_end();
    if offset == 0 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line }
}

fn not_json(place: &str, json: &[u8], e: &serde_json::Error) -> Error {
    if e.is_data() {
        let found = if json.trim_ascii_start().starts_with(b"[") { "a list" } else { "another value" };
        return Error::new(Code::DataJson, format!("{place}: expected a JSON object, found {found}"))
            .hint("one object a line; a JSON array of rows is split by: jq -c '.[]' FILE > rows.jsonl");
    }
    let what = e.to_string();
    let what = what.split(" at line ").next().unwrap_or_default();
    let err = Error::new(Code::DataJson, format!("{place}, column {}: not valid JSON: {what}", e.column()));
    match json.trim_ascii() {
        b"[" | b"{" => err.hint("one object a line; pretty-printed JSON is flattened by: jq -c . FILE > rows.jsonl"),
        _ => err.hint("correct the line; every line is one complete JSON object"),
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

#[cfg(test)]
mod tests;

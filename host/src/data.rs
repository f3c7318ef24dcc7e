//! Rows of data files as prompts with chosen (and perhaps rejected) responses.
//!
//! A file is scanned once: every row is checked and its place noted, nothing else is kept. Rows are then read at
//! random.

mod budget;
pub(crate) mod fields;
mod file;
mod index;
mod lines;
pub(crate) mod messages;
mod parquet;
mod selection;
mod shape;
pub mod tokens;

pub use budget::{Budget, BudgetReport, Budgets, Limits};
pub use selection::Selection;

use crate::{
    Code, Error, Result,
    config::DataConfig,
    text::{Message, Prompt},
};
use fields::Json;
use file::DataFile;
use lines::Lines;
use std::path::Path;

/// One prompt with its chosen response.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Which of the data set's files it is of, from 0.
    pub file: usize,
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
    /// The length limits of its file.
    pub limits: Limits,
}

/// The rows of one file or of several, those of each file in their order and as often as its `repeat` says.
pub struct Dataset {
    files: Vec<DataFile>,
    /// Of each file, its first row; and the end.
    starts: Vec<usize>,
}

impl Dataset {
    /// Scans every file once: every row's shape is checked, its offset noted.
    ///
    /// Fails at the first row that is not a JSON object, lacks a field, or is of another shape than the first row of
    /// its file; and where some files bring rejected responses, or weights, and some do not.
    pub fn open(sources: &[DataConfig]) -> Result<Self> {
        let (mut files, mut starts) = (Vec::<DataFile>::new(), vec![0]);
        for source in sources {
            let file = DataFile::open(source)?;
            if let Some(first) = files.first() {
                alike(first, &file)?;
            }
            starts.push(starts[files.len()] + source.repeat * file.len());
            files.push(file);
        }
        Ok(Self { files, starts })
    }

    /// Where a row lies, for messages: `FILE, line N`.
    pub fn place(&self, row: &Row) -> String {
        format!("{}, line {}", self.files[row.file].path().display(), row.line)
    }
    /// Each file with its SHA-256, in hex.
    pub fn hashes(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.files.iter().map(|file| (file.path(), file.hash()))
    }
    /// Number of rows (assistant turns that become pairs).
    pub fn len(&self) -> usize {
        *self.starts.last().expect("the end is there")
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Whether all rows bring a rejected response (mixed files are refused by `open`).
    pub fn has_rejected(&self) -> bool {
        self.files.iter().all(|file| file.format().has_rejected())
    }
    /// Whether all rows bring a weight.
    pub fn has_weights(&self) -> bool {
        self.files.iter().all(|file| file.format().has_weights())
    }

    /// Reads one row. Fails if its file was changed since it was opened. Panics if there is no such row.
    pub fn row(&self, index: usize) -> Result<Row> {
        assert!(index < self.len(), "row {index} of {}", self.len());
        let number = self.starts.partition_point(|start| *start <= index) - 1;
        let file = &self.files[number];
        Ok(Row { file: number, ..file.row((index - self.starts[number]) % file.len())? })
    }
}

/// Fails where one file brings what the other does not.
fn alike(first: &DataFile, other: &DataFile) -> Result<()> {
    let brings = |file: &DataFile| [file.format().has_rejected(), file.format().has_weights()];
    let what = ["rejected responses", "weights"];
    let Some(at) = (0..what.len()).find(|&i| brings(first)[i] != brings(other)[i]) else { return Ok(()) };
    let [with, without] = if brings(first)[at] { [first, other] } else { [other, first] };
    let message = format!(
        "{} brings {}, {} does not: the files of a list are trained on alike",
        with.path().display(),
        what[at],
        without.path().display()
    );
    Err(Error::new(Code::DataShape, message).hint("make a run of each, or leave the field out by data.ignore_fields"))
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

#[cfg(test)]
mod tests;

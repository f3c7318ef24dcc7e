//! Rows of data files as prompts with golden (and perhaps rejected) responses.

pub mod tokens;

use crate::{Result, config::DataConfig, text::Message};

/// Our names of fields, which `data.fields` can map to a file's.
pub const FIELDS: [&str; 1] = ["messages"];

/// One prompt with its golden response.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Line (JSONL, from 1) or row (Parquet, from 1) in the file.
    pub line: u64,
    /// Assistant turn within the row, from 0.
    pub turn: u32,
    /// The conversation up to the response.
    pub history: Vec<Message>,
    /// The golden response y.
    pub chosen: String,
    /// A ready-made loser, if the data has one.
    pub rejected: Option<String>,
    /// A ready-made weight, if the data has one.
    pub weight: Option<f32>,
}

/// A data file, indexed but not held: memory is a few bytes a row.

pub struct Dataset {}

impl Dataset {
    /// Scans the file once: every row's shape is checked, its offset noted.
    pub fn open(_config: &DataConfig) -> Result<Self> {
        todo!()
    }
    /// SHA-256 of the file.
    pub fn hash(&self) -> &str {
        todo!()
    }
    /// Number of rows (assistant turns that become pairs).
    pub fn len(&self) -> usize {
        todo!()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Whether all rows bring a rejected response (mixed files are refused by `open`).
    pub fn has_rejected(&self) -> bool {
        todo!()
    }
    /// Whether all rows bring a weight.
    pub fn has_weights(&self) -> bool {
        todo!()
    }
    /// Reads one row.
    pub fn row(&self, _index: usize) -> Result<Row> {
        todo!()
    }
}

//! Files of rows, and how each is read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The most tokens of a row that a config may ask for.
const LONGEST: usize = 1 << 24;
/// The most times that a file's rows may be there.
const MOST_REPEATS: usize = 1000;

/// The rows of a file and how to read them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// JSONL (or, with the feature, Parquet) file.
    #[schemars(extend("format" = "file"))]
    pub path: PathBuf,
    /// Our field -> the file's field, e.g. `{prompt: question, completion: answer}`.
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
    /// Keys of rows and of their messages that are left out, as if they were not there. Every other key is used, is
    /// known to change nothing, or is an error.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore_fields: Vec<String>,
    /// Which assistant turns of a conversation become pairs.
    #[serde(default)]
    pub turns: Turns,
    /// Use only the first N rows; 0 for all.
    #[serde(default)]
    pub max_rows: usize,
    /// How many times the rows are there, one pass after the other: the share of a file in a list of them. Rows that
    /// are there twice are sampled and trained on twice.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    #[schemars(range(min = 1, max = MOST_REPEATS))]
    pub repeat: usize,
    /// System message put before prompts that have none.
    #[serde(default)]
    pub system: Option<String>,
    /// Tokens of prompt and completion together.
    #[serde(default = "max_length")]
    #[schemars(range(min = 2, max = LONGEST))]
    pub max_length: usize,
    /// Tokens kept of a prompt, its end; 0 for no limit of its own.
    #[serde(default)]
    #[schemars(range(max = LONGEST))]
    pub max_prompt_length: usize,
}

impl DataConfig {
    /// All rows of a file, with every default.
    pub fn of(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            fields: BTreeMap::new(),
            ignore_fields: Vec::new(),
            turns: Turns::default(),
            max_rows: 0,
            repeat: 1,
            system: None,
            max_length: max_length(),
            max_prompt_length: 0,
        }
    }
}

fn once() -> usize {
    1
}
fn is_once(repeat: &usize) -> bool {
    *repeat == 1
}
fn max_length() -> usize {
    1024
}

/// Assistant turns that become pairs.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Turns {
    /// Every assistant turn, with the turns before as prompt.
    All,
    /// The last assistant turn.
    #[default]
    Last,
}

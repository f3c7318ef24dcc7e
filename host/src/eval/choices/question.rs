//! Rows of a multiple-choice file.

use crate::{
    Result,
    config::DataConfig,
    data::{
        self,
        fields::{Fields, Json, Names},
        messages::{describe, error},
    },
    text::Message,
};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Names of the question's, and of the right choice's field.
const QUESTION: [&str; 3] = ["question", "prompt", "query"];
const GOLD: [&str; 3] = ["answer", "label", "gold"];

/// A question with its choices.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Line of the file, from 1.
    pub line: u32,
    /// What the model reads before the choice.
    pub text: String,
    /// Two at least, none of them empty.
    pub choices: Vec<String>,
    /// Index of the right one.
    pub gold: usize,
}

/// The questions of a file.
#[derive(Debug)]
pub struct Questions {
    path: PathBuf,
    /// In file order.
    pub(super) rows: Vec<Question>,
    /// SHA-256 of the file.
    pub(super) sha256: String,
}

impl Questions {
    /// Reads rows such as `{"question", "choices": [...], "answer"}`: the right choice by its index from 0, its letter,
    /// or its text.
    ///
    /// # Errors
    /// At the first row that is not that, with its line.
    pub fn read(path: &Path) -> Result<Self> {
        let mut rows = vec![];
        let sha256 = data::scan(&DataConfig::of(path), |row, line| {
            rows.push(parse(&row, line)?);
            Ok(())
        })?;
        Ok(Self { path: path.to_owned(), rows, sha256 })
    }

    /// Where a question lies, for messages.
    pub(super) fn place(&self, question: &Question) -> String {
        format!("{}, line {}", self.path.display(), question.line)
    }
}

fn parse(row: &Json, line: u32) -> Result<Question> {
    let names = Names::default();
    let fields = Fields::new(&names, row);
    let name = field(&fields, &QUESTION)?;
    let text = fields.said(name)?;
    let listed = fields.get("choices").unwrap_or(&Value::Null);
    let items = listed.as_array().map(Vec::as_slice).unwrap_or_default();
    let choices: Vec<String> =
        items.iter().filter_map(|c| c.as_str()).filter(|c| !c.is_empty()).map(str::to_owned).collect();
    if choices.len() < 2 || choices.len() < items.len() {
        let found = match listed {
            Value::Array(items) if items.len() >= 2 => "one that is empty or no string".into(),
            Value::Array(items) => format!("{} of them", items.len()),
            other => describe(other),
        };
        return Err(error(format!("`choices`: expected a list of two or more texts, found {found}")));
    }
    let name = field(&fields, &GOLD)?;
    let answer = fields.get(name).unwrap_or(&Value::Null);
    let gold = gold(answer, &choices).ok_or_else(|| {
        let found = if let Value::String(text) = answer { format!("{text:?}") } else { describe(answer) };
        let last = choices.len() - 1;
        error(format!("`{name}`: expected which choice is right, found {found}"))
            .hint(format!("an index from 0 to {last}, a letter from A to {}, or the choice's text", letter(last)))
    })?;
    let said = [Message::new("user", &*text), Message::assistant(&*choices[gold])];
    fields.refuse_all_others(&said)?;
    Ok(Question { line, text, choices, gold })
}

/// The first of the names that the row has.
fn field(row: &Fields, names: &[&'static str; 3]) -> Result<&'static str> {
    names.iter().copied().find(|name| row.find(name).is_some()).ok_or_else(|| {
        let [a, b, c] = names;
        error(format!("expected a field `{a}`, `{b}` or `{c}`; {}", row.keys()))
    })
}

/// Index of the right choice. A text that is a choice is that one, whatever letter or number it looks like.
fn gold(answer: &Value, choices: &[String]) -> Option<usize> {
    let within = |i: usize| (i < choices.len()).then_some(i);
    match answer {
        Value::Number(n) => within(usize::try_from(n.as_u64()?).ok()?),
        Value::String(text) => choices
            .iter()
            .position(|c| c == text)
            .or_else(|| within((0..choices.len()).find(|i| text.eq_ignore_ascii_case(&letter(*i)))?))
            .or_else(|| within(text.parse().ok()?)),
        _ => None,
    }
}

/// A for 0, and so on; nothing after Z.
fn letter(index: usize) -> String {
    u8::try_from(index).ok().filter(|i| *i < 26).map_or(String::new(), |i| char::from(b'A' + i).to_string())
}

//! Rows of a file of MT-Bench's questions.

use crate::{
    Result,
    config::DataConfig,
    data::{
        self,
        fields::{Fields, Json, Names},
        messages::error,
    },
    text::Message,
};
use serde_json::Value;
use std::{collections::HashSet, path::Path};

/// FastChat's temperature of each category; others have 0.7.
const TEMPERATURES: [(&str, f32); 8] = [
    ("writing", 0.7),
    ("roleplay", 0.7),
    ("extraction", 0.0),
    ("math", 0.0),
    ("coding", 0.0),
    ("reasoning", 0.0),
    ("stem", 0.1),
    ("humanities", 0.1),
];
const OTHERWISE: f32 = 0.7;
/// Ids are keys of the sampling, beside which a turn's number finds room.
const MOST_ID: u64 = 1 << 48;
const MOST_TURNS: usize = 256;

/// A conversation to be had.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Unique in its file.
    pub question_id: u64,
    /// Decides the temperature.
    pub category: String,
    /// What the user says, one turn at least.
    pub turns: Vec<String>,
    /// A right reply to each turn, for a judge; empty where there is none.
    pub reference: Vec<String>,
    required_temperature: Option<f32>,
}

impl Question {
    /// The question's own, or FastChat's for its category.
    pub fn temperature(&self) -> f32 {
        let listed = || TEMPERATURES.iter().find(|(category, _)| *category == self.category).map(|(_, t)| *t);
        self.required_temperature.or_else(listed).unwrap_or(OTHERWISE)
    }
}

/// The questions of a file.
#[derive(Debug)]
pub struct Questions {
    /// In file order.
    pub rows: Vec<Question>,
    /// SHA-256 of the file.
    pub sha256: String,
}

impl Questions {
    /// Reads a file of questions.
    ///
    /// # Errors
    /// At the first row that is none, or has the id of another, with its line.
    pub fn read(path: &Path) -> Result<Self> {
        let (mut rows, mut seen) = (vec![], HashSet::new());
        let sha256 = data::scan(&DataConfig::of(path), |row, _| {
            let question = parse(&row)?;
            if !seen.insert(question.question_id) {
                return Err(error(format!("`question_id`: {} is another row's too", question.question_id)));
            }
            rows.push(question);
            Ok(())
        })?;
        Ok(Self { rows, sha256 })
    }
}

fn parse(row: &Json) -> Result<Question> {
    let names = Names::default();
    let fields = Fields::new(&names, row);
    let wrong = |name: &'static str, expected: &str| {
        let hint = "a row is {\"question_id\": 81, \"category\": \"writing\", \"turns\": [\"...\", \"...\"]}";
        fields.wrong(name, expected).hint(hint)
    };
    let question_id = fields.get("question_id").and_then(Value::as_u64).filter(|id| *id < MOST_ID);
    let texts = |name: &'static str| {
        let items = fields.get(name)?.as_array()?;
        items.iter().map(|t| Some(t.as_str()?.to_owned())).collect::<Option<Vec<_>>>()
    };
    let turns = texts("turns").filter(|turns| (1..=MOST_TURNS).contains(&turns.len()));
    let turns = turns.filter(|turns| turns.iter().all(|t| !t.trim().is_empty()));
    let required_temperature = fields
        .get("required_temperature")
        .map(|t| t.as_f64().filter(|t| (0.0..=100.0).contains(t)).map(|t| t as f32))
        .map(|t| t.ok_or_else(|| wrong("required_temperature", "a number from 0 to 100")))
        .transpose()?;
    let reference = match fields.get("reference") {
        None => vec![],
        Some(_) => texts("reference").ok_or_else(|| wrong("reference", "a list of texts"))?,
    };
    let category = fields.get("category").and_then(Value::as_str).ok_or_else(|| wrong("category", "a string"))?;
    let question = Question {
        question_id: question_id.ok_or_else(|| wrong("question_id", "a whole number of at most 48 bits"))?,
        category: category.to_owned(),
        turns: turns.ok_or_else(|| wrong("turns", "a list of one or more texts"))?,
        reference,
        required_temperature,
    };
    let said: Vec<Message> = question.turns.iter().map(|turn| Message::new("user", turn)).collect();
    fields.refuse_all_others(&said)?;
    Ok(question)
}

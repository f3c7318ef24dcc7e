//! Annotated rows: a prompt, the golden response, and responses that somebody has judged.

use crate::{
    Code, Error, Result,
    config::DataConfig,
    data::{
        self,
        fields::{Fields, Names},
        messages::{Text, chat, describe, error, messages},
    },
    rundir::HashedPath,
    text::{Message, Prompt},
};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// A row that can tell something.
#[derive(Debug, PartialEq)]
pub struct Row {
    /// Line of the file, from 1.
    pub line: u32,
    /// What is replied to.
    pub prompt: Prompt,
    /// The golden response.
    pub golden: Message,
    /// Two at least, with two different labels at least; two different texts, where nobody has judged.
    pub responses: Vec<Response>,
}

/// A judged response.
#[derive(Debug, PartialEq)]
pub struct Response {
    /// Its text.
    pub text: String,
    /// Finite; the higher, the better. False is 0, true 1; 0 where nobody has judged.
    pub label: f64,
}

/// The rows of a file.
#[derive(Debug)]
pub struct Annotated {
    /// Those with different labels, in file order.
    pub rows: Vec<Row>,
    /// Whether labels are judgements.
    pub judged: bool,
    /// Rows left out because all their responses have one label or, where nobody has judged, one text.
    pub one_label: usize,
    /// The file that they are of.
    pub source: HashedPath,
}

impl Annotated {
    /// Reads a file into memory; annotations are few.
    ///
    /// # Errors
    /// At the first row that is not as [`crate::config::ValidateConfig`] says, with its line; where no row has two
    /// labels.
    pub fn read(config: &DataConfig) -> Result<Self> {
        let (format, mut rows) = (Format(config), Vec::new());
        let sha256 = data::scan(config, |row, line| {
            rows.push(format.parse(&row, line)?);
            Ok(())
        })?;
        Self::of(rows, HashedPath { path: config.path.clone(), sha256 })
    }

    /// Keeps the rows that can tell something. Fails where there is none.
    pub fn of(mut rows: Vec<Row>, source: HashedPath) -> Result<Self> {
        let all = rows.len();
        rows.retain(|row| row.responses.windows(2).any(|two| two[0].label != two[1].label));
        if rows.is_empty() {
            let message = format!("{}: no row has responses with different labels", source.path.display());
            return Err(Error::new(Code::ValidateLabels, message).hint(
                "distances are held against judgements within a prompt: each needs a better and a worse response",
            ));
        }
        Ok(Self { judged: true, one_label: all - rows.len(), rows, source })
    }

    /// The same of rows that nobody has judged: kept are those with two different responses.
    pub fn unjudged(mut rows: Vec<Row>, source: HashedPath) -> Result<Self> {
        let all = rows.len();
        rows.retain(|row| row.responses.windows(2).any(|two| two[0].text != two[1].text));
        if rows.is_empty() {
            let message = format!("{}: no prompt has two different samples", source.path.display());
            return Err(Error::new(Code::ValidateSamples, message)
                .hint("sample several a prompt, at a higher temperature: generate: {samples: 4, temperature: 1.0}"));
        }
        Ok(Self { judged: false, one_label: all - rows.len(), rows, source })
    }
}

/// How to read the rows of a file.
struct Format<'a>(&'a DataConfig);

impl Format<'_> {
    fn parse(&self, row: &Map<String, Value>, line: u32) -> Result<Row> {
        let mut history = match self.get(row, "prompt") {
            Some(Value::String(text)) => chat("user", Text::Plain(text.clone())),
            Some(Value::Array(items)) => messages(items, self.name("prompt"), &self.0.ignore_fields)?,
            found => return Err(wrong(self.name("prompt"), "a string or a list of messages", found)),
        };
        if !history.iter().any(|m| m.role != "system" && !m.is_empty()) {
            return Err(error(format!("`{}` is empty", self.name("prompt"))).hint("remove the row"));
        }
        if let Some(system) = self.0.system.as_ref().filter(|_| history[0].role != "system") {
            history.insert(0, Message::new("system", system));
        }
        let golden = Message::assistant(text(row, self.name("golden"), self.name("golden"))?);
        let pair = ["better", "worse"].map(|field| row.contains_key(self.name(field)));
        let names = Names::given(self.0);
        let fields = Fields::new(&names, row);
        ["prompt", "golden", "better", "worse"].iter().for_each(|field| fields.read_key(self.name(field)));
        if pair == [false, false] {
            self.name("responses").split(',').for_each(|field| fields.read_key(field.trim()));
        }
        let responses = match pair {
            [false, false] => self.responses(row)?,
            _ => {
                let read = |field, label| {
                    Ok::<_, Error>(Response { text: text(row, self.name(field), self.name(field))?, label })
                };
                vec![read("better", 1.0)?, read("worse", 0.0)?]
            }
        };
        let said = [&history[..], std::slice::from_ref(&golden)].concat();
        fields.refuse_others(&said, None)?;
        Ok(Row { line, prompt: history.into(), golden, responses })
    }

    /// The labelled responses of all fields that stand for `responses`.
    fn responses(&self, row: &Map<String, Value>) -> Result<Vec<Response>> {
        let mut all = Vec::new();
        let mut seen = HashSet::new();
        for field in self.name("responses").split(',').map(str::trim).filter(|field| seen.insert(*field)) {
            match row.get(field) {
                Some(one @ Value::Object(_)) => all.push(self.response(one, field)?),
                Some(Value::Array(list)) => {
                    for (i, one) in list.iter().enumerate() {
                        all.push(self.response(one, &format!("{field}[{i}]"))?);
                    }
                }
                None | Some(Value::Null) => {
                    let [better, worse] = ["better", "worse"].map(|f| self.name(f));
                    let message = format!("there is no `{field}`, nor `{better}` and `{worse}`");
                    let keys = row.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                    return Err(error(message).hint(format!(
                        "the row has {keys}; validate.data.fields maps our fields to the file's, as in {{responses: \"answer_a, answer_b\"}}"
                    )));
                }
                found => return Err(wrong(field, "a list of responses or one response", found)),
            }
        }
        if all.is_empty() {
            return Err(error(format!("`{}` has no response", self.name("responses"))).hint("remove the row"));
        }
        Ok(all)
    }

    fn response(&self, value: &Value, place: &str) -> Result<Response> {
        let (text_key, label_key) = (self.name("text"), self.name("label"));
        let Value::Object(map) = value else {
            return Err(wrong(place, &format!("an object with `{text_key}` and `{label_key}`"), Some(value)));
        };
        let label = match map.get(label_key) {
            Some(Value::Bool(good)) => Some(f64::from(u8::from(*good))),
            Some(Value::Number(number)) => number.as_f64().filter(|n| n.is_finite()),
            _ => None,
        };
        let label = label
            .ok_or_else(|| wrong(&format!("{place}.{label_key}"), "true, false or a number", map.get(label_key)))?;
        Ok(Response { text: text(map, text_key, &format!("{place}.{text_key}"))?, label })
    }

    /// The file's name of a field.
    fn name<'a>(&'a self, field: &'a str) -> &'a str {
        self.0.fields.get(field).map_or(field, String::as_str)
    }

    fn get<'a>(&self, row: &'a Map<String, Value>, field: &str) -> Option<&'a Value> {
        row.get(self.name(field))
    }
}

/// A text that is not blank.
fn text(map: &Map<String, Value>, key: &str, place: &str) -> Result<String> {
    match map.get(key) {
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.clone()),
        Some(Value::String(_)) => Err(error(format!("`{place}` is empty")).hint("remove the response or the row")),
        found => Err(wrong(place, "a string", found)),
    }
}

fn wrong(place: &str, expected: &str, found: Option<&Value>) -> Error {
    let found = found.map_or("nothing".into(), describe);
    error(format!("`{place}`: expected {expected}, found {found}"))
        .hint("correct or remove the row; validate.data.fields maps our fields to the file's")
}

#[cfg(test)]
mod tests;

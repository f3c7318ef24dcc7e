//! Annotated rows: a prompt, the golden response, and responses that somebody has judged.

use crate::{
    Code, Error, Result,
    config::DataConfig,
    data::{
        self, Limits,
        fields::{Fields, Json, Names},
        messages::{chat, check_trained, describe, error, is_system},
    },
    rundir::HashedPath,
    text::{Message, Prompt},
};
use serde_json::Value;
use std::collections::HashSet;

/// A row that can tell something.
#[derive(Debug, PartialEq)]
pub struct Row {
    /// Where it lies, for messages: `FILE, line N`.
    pub place: String,
    /// The length limits of its file.
    pub limits: Limits,
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
        let (format, mut rows) = (Format { config, names: Names::given(config) }, Vec::new());
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
struct Format<'a> {
    config: &'a DataConfig,
    names: Names,
}

impl Format<'_> {
    fn parse(&self, row: &Json, line: u32) -> Result<Row> {
        let fields = Fields::new(&self.names, row);
        let mut history = chat("user", fields.text("prompt")?);
        if !history.iter().any(|m| !is_system(m) && !m.is_empty()) {
            return Err(error(format!("`{}` is empty", fields.name("prompt"))).hint("remove the row"));
        }
        check_trained(&mut history, |_| false)?;
        if let Some(system) = self.config.system.as_ref().filter(|_| !is_system(&history[0])) {
            history.insert(0, Message::new("system", system));
        }
        let golden = Message::assistant(fields.said("golden")?);
        let responses = match ["better", "worse"].map(|field| fields.find(field).is_some()) {
            [false, false] => self.responses(&fields)?,
            _ => vec![
                Response { text: fields.said("better")?, label: 1.0 },
                Response { text: fields.said("worse")?, label: 0.0 },
            ],
        };
        let said = [&history[..], std::slice::from_ref(&golden)].concat();
        fields.refuse_others(&said, None)?;
        let place = format!("{}, line {line}", self.config.path.display());
        Ok(Row { place, limits: self.config.limits(), prompt: history.into(), golden, responses })
    }

    /// The labelled responses of all fields that stand for `responses`.
    fn responses<'a>(&'a self, row: &Fields<'a>) -> Result<Vec<Response>> {
        let mut all = Vec::new();
        let mut seen = HashSet::new();
        for field in row.name("responses").split(',').map(str::trim).filter(|field| seen.insert(*field)) {
            match row.key(field) {
                Some(one @ Value::Object(_)) => all.push(self.response(one, field)?),
                Some(Value::Array(list)) => {
                    for (i, one) in list.iter().enumerate() {
                        all.push(self.response(one, &format!("{field}[{i}]"))?);
                    }
                }
                None => {
                    let [better, worse] = ["better", "worse"].map(|f| row.name(f));
                    let message = format!("there is no `{field}`, nor `{better}` and `{worse}`");
                    return Err(error(message).hint(format!(
                        "{}; validate.data.fields maps our fields to the file's, as in {{responses: \"answer_a, answer_b\"}}",
                        row.keys()
                    )));
                }
                found => return Err(wrong(field, "a list of responses or one response", found)),
            }
        }
        if all.is_empty() {
            return Err(error(format!("`{}` has no response", row.name("responses"))).hint("remove the row"));
        }
        Ok(all)
    }

    /// A response at `place`. Keys beside text and label are treated as those of rows.
    fn response(&self, value: &Value, place: &str) -> Result<Response> {
        let Value::Object(map) = value else {
            let [text, label] = ["text", "label"].map(|field| self.names.of(field));
            return Err(wrong(place, &format!("an object with `{text}` and `{label}`"), Some(value)));
        };
        let fields = Fields::new(&self.names, map).within(place);
        let label = match fields.get("label") {
            Some(Value::Bool(good)) => Some(f64::from(u8::from(*good))),
            Some(Value::Number(number)) => number.as_f64().filter(|n| n.is_finite()),
            _ => None,
        };
        let label = label.ok_or_else(|| fields.wrong("label", "true, false or a number"))?;
        let text = fields.said("text")?;
        fields.refuse_others(&[Message::assistant(&*text)], None)?;
        Ok(Response { text, label })
    }
}

fn wrong(place: &str, expected: &str, found: Option<&Value>) -> Error {
    let found = found.map_or("nothing".into(), describe);
    error(format!("`{place}`: expected {expected}, found {found}"))
        .hint("correct or remove the row; validate.data.fields maps our fields to the file's")
}

#[cfg(test)]
mod tests;

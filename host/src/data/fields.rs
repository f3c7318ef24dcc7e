//! The fields of a row by our names. A row remembers which were read, and refuses the others: no key that could change
//! what a row means is left out in silence.

use super::messages::{Text, describe, error, is_system, message, messages};
use crate::{
    Error, Result,
    config::{DataConfig, suggest},
    keys::harmless_in_row,
    text::Message,
};
use serde_json::{Map, Value};
use std::{cell::RefCell, collections::BTreeMap};

/// A row as its file has it.
pub type Json = Map<String, Value>;

/// Keys by which a response that was not wanted is marked; that it was is what every row says.
const WANTED: [&str; 2] = ["label", "kto_tag"];

/// What a file's rows call our fields; by default the same as we do.
#[derive(Debug, Default)]
pub struct Names {
    theirs: BTreeMap<String, String>,
    ignored: Vec<String>,
}

impl Names {
    /// As a config has them. Fails with the names of the first row where a name is not in it.
    pub fn new(row: &Json, config: &DataConfig) -> Result<Self> {
        if let Some((ours, theirs)) = config.fields.iter().find(|(_, theirs)| !row.contains_key(*theirs)) {
            let near = suggest(theirs, row.keys().map(String::as_str));
            let near = near.map_or(String::new(), |n| format!("; did you mean `{n}`?"));
            let message = format!("there is no `{theirs}`, which data.fields names for {ours}{near}");
            return Err(error(message).hint(keys(row)));
        }
        Ok(Self::given(config))
    }

    /// As a config has them, whatever a row has.
    pub fn given(config: &DataConfig) -> Self {
        Self { theirs: config.fields.clone(), ignored: config.ignore_fields.clone() }
    }

    /// Reads `theirs` where rows have no field of ours.
    pub fn or(&mut self, ours: &str, theirs: &str, row: &Json) {
        let fields = Fields::new(self, row);
        if fields.find(ours).is_none() && fields.value(theirs).is_some() {
            self.theirs.insert(ours.into(), theirs.into());
        }
    }

    /// The file's name of a field.
    pub fn of<'a>(&'a self, ours: &'a str) -> &'a str {
        self.theirs.get(ours).map_or(ours, String::as_str)
    }

    /// Whether a file's key of a field's own name is said to be another field.
    fn is_taken(&self, ours: &str) -> bool {
        !self.theirs.contains_key(ours) && self.theirs.values().any(|theirs| theirs == ours)
    }
}

/// A row by our names.
pub struct Fields<'a> {
    names: &'a Names,
    row: &'a Json,
    /// Before keys in messages: where in a row this lies.
    place: String,
    read: RefCell<Vec<&'a str>>,
}

impl<'a> Fields<'a> {
    pub fn new(names: &'a Names, row: &'a Json) -> Self {
        Self { names, row, place: String::new(), read: RefCell::default() }
    }

    /// As a part of a row.
    pub fn within(self, place: &str) -> Self {
        Self { place: format!("{place}."), ..self }
    }

    /// What the row has, for messages.
    pub fn keys(&self) -> String {
        keys(self.row)
    }

    pub fn name(&self, field: &'a str) -> &'a str {
        self.names.of(field)
    }

    /// Whether a key is to be left out.
    pub fn ignores(&self, key: &str) -> bool {
        self.names.ignored.iter().any(|ignored| ignored == key)
    }

    /// A key's value; null is none, and so is what is to be ignored.
    fn value(&self, key: &str) -> Option<&'a Value> {
        self.row.get(key).filter(|v| !v.is_null() && !self.ignores(key))
    }

    /// A field's value, without counting it as read.
    pub fn find(&self, field: &str) -> Option<&'a Value> {
        if self.names.is_taken(field) { None } else { self.value(self.names.of(field)) }
    }

    /// A field's value.
    pub fn get(&self, field: &'a str) -> Option<&'a Value> {
        if self.names.is_taken(field) { None } else { self.key(self.name(field)) }
    }

    /// The value of a key of the file.
    pub fn key(&self, key: &'a str) -> Option<&'a Value> {
        self.read.borrow_mut().push(key);
        self.value(key)
    }

    pub fn wrong(&self, field: &'a str, expected: &str) -> Error {
        let found = self.find(field).map_or("nothing".into(), describe);
        error(format!("`{}{}`: expected {expected}, found {found}", self.place, self.name(field)))
            .hint("correct or remove the row")
    }

    pub fn plain(&self, field: &'a str) -> Result<String> {
        self.get(field).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| self.wrong(field, "a string"))
    }

    /// A string that may be absent, or empty, which is the same.
    pub fn optional(&self, field: &'a str) -> Result<Option<String>> {
        match self.get(field) {
            None => Ok(None),
            Some(_) => self.plain(field).map(|text| Some(text).filter(|t| !t.is_empty())),
        }
    }

    /// A string that is not blank.
    pub fn said(&self, field: &'a str) -> Result<String> {
        let text = self.plain(field)?;
        if text.trim().is_empty() {
            return Err(
                error(format!("`{}{}` is empty", self.place, self.name(field))).hint("remove the response or the row")
            );
        }
        Ok(text)
    }

    /// A string, a list of messages, or one message.
    pub fn text(&self, field: &'a str) -> Result<Text> {
        let (name, ignored) = (self.name(field), &self.names.ignored);
        match self.get(field) {
            Some(Value::String(text)) => Ok(Text::Plain(text.clone())),
            Some(Value::Array(items)) => messages(items, name, ignored).map(Text::Chat),
            Some(one @ Value::Object(_)) => message(one, name, ignored).map(|one| Text::Chat(vec![one])),
            _ => Err(self.wrong(field, "a string or a list of messages")),
        }
    }

    /// A JSON value that some files keep as a text.
    pub fn json(&self, field: &'a str, expected: &str) -> Result<Option<Value>> {
        match self.get(field) {
            Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
            Some(Value::String(text)) => serde_json::from_str(text).map(Some).map_err(|_| self.wrong(field, expected)),
            other => Ok(other.cloned()),
        }
    }

    /// Fails where the row has a key that was not read, is not known to be harmless and says something new: `said` is
    /// the conversation, and `rejected` the other response, which such a key may repeat.
    pub fn refuse_others(&self, said: &[Message], rejected: Option<&Message>) -> Result<()> {
        let others = self.others(said, rejected);
        let Some(first) = others.first() else { return Ok(()) };
        if let Some(label) = others.iter().find(|key| WANTED.contains(key)) {
            return Err(error(format!(
                "`{label}` is {}: the response would be learnt as a golden one",
                self.row[*label]
            ))
            .hint("remove rows of responses that are not wanted, or make pairs of chosen and rejected"));
        }
        Err(self.unread(&others).hint(format!(
            "data.ignore_fields: [{}] leaves it out; data.fields: {{FIELD: {first}}} reads it as one of our fields",
            others.join(", ")
        )))
    }

    /// The same for files of which no config says what to ignore.
    pub fn refuse_all_others(&self, said: &[Message]) -> Result<()> {
        let others = self.others(said, None);
        if others.is_empty() {
            return Ok(());
        }
        let list = others.iter().map(|key| format!(".{key:?}")).collect::<Vec<_>>().join(", ");
        Err(self.unread(&others).hint(format!("remove what is not needed: jq -c 'del({list})' FILE > rows.jsonl")))
    }

    /// Keys that were not read, are not known to be harmless and say something new.
    fn others(&self, said: &[Message], rejected: Option<&Message>) -> Vec<&'a str> {
        let read = self.read.borrow();
        let repeats = Repeats { said, rejected };
        let says_nothing_new = |key: &str, value: &Value| match key {
            _ if self.value(key).is_none() || repeats.find(value) => true,
            "text" => repeats.is_rendering(value),
            _ if WANTED.contains(&key) => *value == Value::Bool(true),
            _ => harmless_in_row(key),
        };
        let keys = self.row.iter().map(|(key, value)| (key.as_str(), value));
        keys.filter(|(key, value)| !read.contains(key) && !says_nothing_new(key, value)).map(|(key, _)| key).collect()
    }

    fn unread(&self, keys: &[&str]) -> Error {
        let list = keys.iter().map(|key| format!("`{}{key}`", self.place)).collect::<Vec<_>>().join(", ");
        error(format!("{list}: nothing reads this, and it may change what the row means"))
    }
}

/// What a row says already.
struct Repeats<'a> {
    said: &'a [Message],
    rejected: Option<&'a Message>,
}

impl Repeats<'_> {
    /// Whether a value is nothing, a text of the conversation, or a list of such.
    fn find(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => {
                let text = text.trim();
                text.is_empty() || self.said.iter().chain(self.rejected).any(|said| said.text().trim() == text)
            }
            Value::Array(items) => items.iter().all(|item| self.find(item)),
            Value::Object(map) => match (map.get("content").or(map.get("value")), map.len()) {
                (Some(content), 2) => self.find(content),
                (_, n) => n == 0,
            },
            _ => false,
        }
    }

    /// Whether a text has all of the conversation, as Alpaca's `text` has. What a system says need not be there.
    fn is_rendering(&self, value: &Value) -> bool {
        let said = self.said.iter().filter(|message| !is_system(message));
        let mut parts = said.flat_map(|said| said.text().split("\n\n")).map(str::trim);
        value.as_str().is_some_and(|text| parts.all(|part| text.contains(part)))
    }
}

/// What a row has, for messages.
pub fn keys(row: &Json) -> String {
    format!("the row has {}", row.keys().map(String::as_str).collect::<Vec<_>>().join(", "))
}

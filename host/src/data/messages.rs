//! The values of text fields: a string, or a list of messages.

use crate::{Code, Error, Result, text::Message};
use serde_json::Value;

/// What a text field holds.
pub enum Text {
    Plain(String),
    Chat(Vec<Message>),
}

pub fn error(message: impl Into<String>) -> Error {
    Error::new(Code::DataRow, message)
}

pub fn message(role: &str, content: String) -> Message {
    Message { role: role.into(), content }
}

pub fn chat(role: &str, text: Text) -> Vec<Message> {
    match text {
        Text::Plain(content) => vec![message(role, content)],
        Text::Chat(messages) => messages,
    }
}

pub fn messages(items: &[Value], name: &str) -> Result<Vec<Message>> {
    if items.is_empty() {
        return Err(error(format!("`{name}`: expected messages, found an empty list")).hint("remove the row"));
    }
    let part = |item: &Value, i: usize, key: &str| match &item[key] {
        Value::String(text) => Ok(text.clone()),
        found => Err(error(format!("`{name}[{i}].{key}`: expected a string, found {}", describe(found))).hint(
            match item.get("from") {
                Some(_) => "messages are {\"role\": ..., \"content\": ...}; rename `from` and `value`",
                None => "messages are {\"role\": ..., \"content\": ...}, both strings",
            },
        )),
    };
    items.iter().enumerate().map(|(i, item)| Ok(message(&part(item, i, "role")?, part(item, i, "content")?))).collect()
}

pub fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Object(_) => "an object".into(),
        Value::Array(_) => "a list".into(),
        Value::String(_) => "a string".into(),
        other => other.to_string(),
    }
}

/// Where two texts part, as TRL's extract_prompt has it: a space before that belongs to the responses.
pub fn shared_text(a: &str, b: &str) -> usize {
    let at = a.chars().zip(b.chars()).take_while(|(x, y)| x == y).map(|(x, _)| x.len_utf8()).sum();
    a[..at].strip_suffix(' ').map_or(at, str::len)
}

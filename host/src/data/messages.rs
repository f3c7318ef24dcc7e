//! The values of text fields: a string, or a list of messages, which are of `role` and `content` or, as ShareGPT has
//! them, of `from` and `value`.

use crate::{Code, Error, Result, text::Message};
use serde_json::{Map, Value};

/// What a text field holds.
pub enum Text {
    Plain(String),
    Chat(Vec<Message>),
}

/// ShareGPT's names of roles. Calls of functions are not among them: they are JSON in a text.
const ROLES: [(&str, &str); 7] = [
    ("human", "user"),
    ("user", "user"),
    ("gpt", "assistant"),
    ("assistant", "assistant"),
    ("system", "system"),
    ("observation", "tool"),
    ("tool", "tool"),
];

/// Keys by which other trainers say which messages are trained on.
const TRAINED: [&str; 5] = ["weight", "train", "training", "train_detail", "loss"];

pub fn error(message: impl Into<String>) -> Error {
    Error::new(Code::DataRow, message)
}

pub fn chat(role: &str, text: Text) -> Vec<Message> {
    match text {
        Text::Plain(content) => vec![Message::new(role, content)],
        Text::Chat(messages) => messages,
    }
}

/// A list of messages, without the keys of `ignored`. Keys beside role and text are kept for the chat template, but
/// for nulls, which say that a key is not there.
pub fn messages(items: &[Value], name: &str, ignored: &[String]) -> Result<Vec<Message>> {
    if items.is_empty() {
        return Err(error(format!("`{name}`: expected messages, found an empty list")).hint("remove the row"));
    }
    items.iter().enumerate().map(|(i, item)| message(item, &format!("{name}[{i}]"), ignored)).collect()
}

/// One message, found at `place`.
pub fn message(item: &Value, place: &str, ignored: &[String]) -> Result<Message> {
    let empty = Map::new();
    let item = item.as_object().unwrap_or(&empty);
    let sharegpt = !item.contains_key("role") && item.contains_key("from");
    let (role_key, text_key) = if sharegpt { ("from", "value") } else { ("role", "content") };
    let wrong = |key: &str, found: &Value| {
        error(format!("`{place}.{key}`: expected a string, found {}", describe(found)))
            .hint(format!("messages are {{\"{role_key}\": ..., \"{text_key}\": ...}}, both strings"))
    };
    let (mut role, mut content, mut more) = (None, None, Map::new());
    for (key, value) in item.iter().filter(|(key, value)| !value.is_null() && !ignored.contains(key)) {
        match (key.as_str(), value) {
            (key, Value::String(text)) if key == role_key => role = Some(text.clone()),
            (key, Value::String(text)) if key == text_key => content = Some(text.clone()),
            (key, other) if [role_key, text_key].contains(&key) => return Err(wrong(key, other)),
            // As good as absent.
            (_, Value::String(text)) if text.is_empty() => {}
            (_, Value::Array(list)) if list.is_empty() => {}
            (_, Value::Object(map)) if map.is_empty() => {}
            (key, value) => drop(more.insert(key.to_owned(), value.clone())),
        }
    }
    let mut role = role.ok_or_else(|| wrong(role_key, &Value::Null))?;
    if sharegpt {
        let known = ROLES.iter().find(|(theirs, _)| *theirs == role).ok_or_else(|| {
            let names = ROLES.map(|(theirs, _)| theirs).join(", ");
            let call = role.starts_with("function");
            error(format!("`{place}.from`: expected one of {names}, found `{role}`")).hint(match call {
                true => "write calls of functions as messages of role `assistant` with `tool_calls`, or remove the row",
                false => "give the message one of these roles, or remove the row",
            })
        })?;
        role = known.1.to_owned();
    }
    // Beside calls of tools there need not be a text.
    if content.is_none() && !more.contains_key("tool_calls") {
        return Err(wrong(text_key, &Value::Null));
    }
    Ok(Message { role, content, more })
}

/// Takes the keys that say whether a message is trained on out of messages; `is_trained` says which are, by data.turns.
/// Fails where a key says something else.
pub fn check_trained(messages: &mut [Message], is_trained: impl Fn(usize) -> bool) -> Result<()> {
    for (i, message) in messages.iter_mut().enumerate() {
        for key in TRAINED {
            let Some(value) = message.more.remove(key) else { continue };
            let trained = is_trained(i);
            if value.as_bool().or(value.as_f64().filter(|n| [0.0, 1.0].contains(n)).map(|n| n == 1.0)) != Some(trained)
            {
                let (role, not) = (&message.role, if trained { "" } else { "not " });
                return Err(error(format!(
                    "message {i}: `{key}` of the `{role}` is {value}, and by data.turns it is {not}trained on"
                ))
                .hint(format!(
                    "data.turns says which messages are trained on; data.ignore_fields: [{key}] leaves the key out"
                )));
            }
        }
    }
    Ok(())
}

/// Whether a message is the system's, under either of its names.
pub fn is_system(message: &Message) -> bool {
    ["system", "developer"].contains(&message.role.as_str())
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

//! What is made of the keys in files of other people: each is on a list as used, harmless or taken at some values
//! alone, and a key on no list is refused by name, since it might change what the model computes.
//!
//! The lists stand beside what reads the files ([`model`](crate::model), [`gguf`](crate::gguf)); docs/models.md has
//! them as tables, which a test compares.

mod rows;

pub use rows::{harmless_in_message, harmless_in_row};

use crate::{Code, Error, Result};
use serde_json::Value;

/// What is made of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It decides what is computed.
    Used,
    /// It changes nothing of what is computed here.
    Harmless,
    /// Taken where it has one of these values, in JSON, which say what is computed anyway; refused otherwise.
    Only(&'static [&'static str]),
}

/// A list: keys of one use, and what they are in a few words.
pub type Keys = [(Use, &'static [&'static str], &'static str)];

/// The use of a key, and what it is: the first row that fits counts.
fn find(lists: &[&Keys], key: &str) -> Option<(Use, &'static str)> {
    let mut rows = lists.iter().copied().flatten();
    rows.find(|(_, keys, _)| keys.iter().any(|k| fits(k, key))).map(|(made_of, _, what)| (*made_of, *what))
}

/// In a name on a list, `*` stands for any text.
fn fits(listed: &str, key: &str) -> bool {
    let Some((first, last)) = listed.split_once('*') else { return listed == key };
    let Some(rest) = key.strip_prefix(first) else { return false };
    (0..=rest.len()).filter_map(|i| rest.get(i..)).any(|rest| fits(last, rest))
}

/// Fails by name where a key of `file` is on no list, or has a value that is not taken. Null is as good as absent.
///
/// # Errors
/// `model/unsupported`, with what the key is.
pub fn check<'a>(lists: &[&Keys], file: &str, entries: impl Iterator<Item = (&'a str, &'a Value)>) -> Result<()> {
    for (key, value) in entries.filter(|(_, value)| !value.is_null()) {
        let refused = |message: String, hint: String| Err(Error::new(Code::ModelUnsupported, message).hint(hint));
        match find(lists, key) {
            Some((Use::Used | Use::Harmless, _)) => {}
            Some((Use::Only(values), _)) if values.iter().any(|v| equal(v, value)) => {}
            Some((Use::Only(values), what)) => {
                let supported = if values.is_empty() { "none".into() } else { values.join(" or ") };
                let message = format!("{file}: {key} is {}; supported is {supported}", short(value));
                return refused(message, format!("{what}; what is not computed exactly is refused (docs/models.md)"));
            }
            None => {
                return refused(
                    format!(
                        "{file}: the key {key} is not known, and might change what is computed; it is {}",
                        short(value)
                    ),
                    "docs/models.md lists the keys that are; remove this one if the model computes the same without it"
                        .into(),
                );
            }
        }
    }
    Ok(())
}

fn equal(text: &str, value: &Value) -> bool {
    let listed: Value = serde_json::from_str(text).expect("values on lists are JSON");
    listed == *value || listed.as_f64().zip(value.as_f64()).is_some_and(|(a, b)| a == b)
}

/// A value for a message: its beginning.
fn short(value: &Value) -> String {
    const MOST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// The lists as a table of docs/models.md.
#[cfg(test)]
pub fn table(lists: &[&Keys]) -> String {
    let mut text = String::from("| keys | are | what they are |\n|---|---|---|\n");
    for (made_of, keys, what) in lists.iter().copied().flatten() {
        let made_of = match made_of {
            Use::Used => "used".to_owned(),
            Use::Harmless => "harmless".to_owned(),
            Use::Only([]) => "refused".to_owned(),
            Use::Only(values) => format!("refused unless {}", values.join(" or ")),
        };
        let keys: Vec<_> = keys.iter().map(|key| format!("`{key}`")).collect();
        text += &format!("| {} | {made_of} | {what} |\n", keys.join(" "));
    }
    text
}

/// Fails unless every one of `keys` is on a list.
#[cfg(test)]
pub fn covers<'a>(lists: &[&Keys], keys: impl IntoIterator<Item = &'a str>) {
    for key in keys {
        assert!(find(lists, key).is_some(), "{key} must be on a list");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const LIST: &Keys = &[
        (Use::Used, &["size"], "a size"),
        (Use::Harmless, &["note", "notes.*.text"], "a remark"),
        (Use::Only(&["false", "0"]), &["odd"], "an odd way"),
        (Use::Only(&[]), &["never"], "another thing"),
    ];

    fn message(map: serde_json::Value) -> Option<String> {
        let entries = map.as_object().into_iter().flatten().map(|(k, v)| (k.as_str(), v));
        check(&[LIST], "f.json", entries).err().map(|e| e.message().to_owned())
    }

    #[test]
    fn a_key_is_on_a_list_or_refused_by_name() {
        assert_eq!(message(json!({"size": 1, "note": {}, "notes.7.text": 2, "odd": false, "gone": null})), None);
        assert_eq!(message(json!({"odd": 0.0, "never": null})), None);
        let said = message(json!({"odd": true}));
        assert_eq!(said.as_deref(), Some("f.json: odd is true; supported is false or 0"));
        assert_eq!(message(json!({"never": 1})).as_deref(), Some("f.json: never is 1; supported is none"));
        let said = message(json!({"new": "x".repeat(99)}));
        let value = format!("\"{}...", "x".repeat(59));
        let expected = format!("f.json: the key new is not known, and might change what is computed; it is {value}");
        assert_eq!(said, Some(expected));
        assert!(message(json!({"notes.text": 1})).is_some());
    }

    #[test]
    #[should_panic(expected = "fresh must be on a list")]
    fn a_key_on_no_list_is_found() {
        covers(&[LIST], ["size", "fresh"]);
    }
}

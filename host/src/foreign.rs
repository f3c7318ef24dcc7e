//! Documents that may come from others: read up to a size limit, and refused where they hold control characters, which
//! a terminal would obey.

use crate::{Code, Error, Result, files};
use serde_json::Value;
use std::{io::Read, path::Path};

/// Whether no string in a document from elsewhere holds control characters, which a terminal would obey.
fn is_printable(document: &Value) -> bool {
    match document {
        Value::String(text) => !text.chars().any(char::is_control),
        Value::Array(items) => items.iter().all(is_printable),
        Value::Object(map) => map.iter().all(|(k, v)| !k.chars().any(char::is_control) && is_printable(v)),
        _ => true,
    }
}

/// Parses JSON that may come from others: what it says is printed, so it may hold no control characters.
pub fn parse_json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    let document = serde_json::from_slice(bytes)?;
    if !is_printable(&document) {
        return Err(serde::de::Error::custom("it holds control characters"));
    }
    serde_json::from_value(document)
}

/// Reads a JSON file that may come from others: none above `limit` bytes, and no panic whatever it holds.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path, limit: u64, code: Code) -> Result<T> {
    parse_json(&read_up_to(path, limit)?).map_err(|e| {
        Error::new(code, format!("{} cannot be understood", path.display()))
            .hint("it may have been written by a newer release, or by hand")
            .caused_by(e)
    })
}

/// Reads a file of at most `limit` bytes.
pub fn read_up_to(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let fail = |e| files::io_error(path, "read", e);
    let mut bytes = Vec::new();
    files::open(path).map_err(fail)?.take(limit + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > limit {
        return Err(Error::new(Code::ShareSize, format!("{} has more than {limit} bytes", path.display())));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn control_characters_are_found_wherever_they_are() {
        assert!(is_printable(&json!({"a": ["Ünïcode", 1, null, {"b": "c"}]})));
        for hidden in [json!("\u{1b}[2J"), json!([{"a": "\n"}]), json!({"a\u{7}": 1})] {
            assert!(!is_printable(&hidden), "{hidden}");
        }
    }
}

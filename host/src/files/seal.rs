//! JSON that says of itself whether it is what was written: its last key is a checksum of all the text before it.

use super::sha256;

/// The key of the checksum.
const KEY: &str = "\"checksum\":";
/// Hexadecimal digits of it: 64 bits tell damage, not forgery.
const DIGITS: usize = 16;

/// Adds the checksum to the text of a JSON object, in the object's own layout.
pub fn seal(json: &str) -> String {
    let end = json.rfind('}').expect("an object ends in a brace");
    let body = json[..end].trim_ascii_end();
    let (space, end) = (&json[body.len()..end], &json[end..]);
    let (indent, gap) = if space.is_empty() { ("", "") } else { ("  ", " ") };
    let comma = if body.ends_with('{') { "" } else { "," };
    format!("{body}{comma}{space}{indent}{KEY}{gap}\"{}\"{space}{end}", &sha256(json.as_bytes())[..DIGITS])
}

/// The text as it was before [`seal`]; None where it is not what that made.
pub fn unseal(sealed: &str) -> Option<String> {
    let (body, rest) = sealed.rsplit_once(KEY)?;
    let end = rest.trim_ascii_start().get(DIGITS + 2..)?;
    let body = body.trim_ascii_end();
    let json = format!("{}{end}", body.strip_suffix(',').unwrap_or(body));
    (json.ends_with(end) && json.contains('}') && seal(&json) == sealed).then_some(json)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_was_sealed_comes_back_and_any_other_byte_is_found() {
        let value = json!({"a": [1, 2.5], "checksum": "not this", "text": "a \"checksum\":\"b\" }"});
        for text in
            [value.to_string(), "{}".into(), "{}\n".into(), serde_json::to_string_pretty(&value).unwrap() + "\n"]
        {
            let sealed = seal(&text);
            assert_eq!(unseal(&sealed).as_ref(), Some(&text));
            let read: Value = serde_json::from_str(&sealed).unwrap();
            assert_eq!(read["checksum"].as_str().unwrap().len(), DIGITS);
            assert_eq!(unseal(&text), None);
            for at in 0..sealed.len() {
                for bit in 0..7 {
                    let mut damaged = sealed.clone().into_bytes();
                    damaged[at] ^= 1 << bit;
                    let damaged = String::from_utf8(damaged).unwrap();
                    assert_eq!(unseal(&damaged), None, "{damaged}");
                }
                assert_eq!(unseal(&sealed[..at]), None);
            }
        }
    }
}

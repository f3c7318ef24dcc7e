//! The reference of a kind of config in Markdown, made of its schema: a table of keys for the file and for each section
//! of it.

use serde_json::Value;
use std::{collections::BTreeMap, fmt::Write};

/// The tables of a schema, the whole file's first, each under the dotted key of its section.
pub fn markdown(schema: &Value) -> String {
    let mut reference = Reference { root: schema, sections: BTreeMap::new(), text: String::new() };
    reference.table("", schema);
    reference.text
}

struct Reference<'a> {
    root: &'a Value,
    /// The first key of each definition that has keys of its own: others are as that.
    sections: BTreeMap<&'a str, String>,
    text: String,
}

/// What a value may be.
struct Kinds<'a> {
    /// In words.
    words: Vec<String>,
    /// Values with a meaning of their own.
    named: Vec<(&'a str, &'a str)>,
    /// Maps among them, by the name of their definition.
    maps: Vec<(&'a str, &'a Value)>,
}

impl<'a> Reference<'a> {
    /// A table of the keys of a map, and after it those of the maps in it.
    fn table(&mut self, at: &str, map: &'a Value) {
        let required: Vec<&str> = map["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        self.text += "\n| key | is | default | means |\n|---|---|---|---|\n";
        let mut inner = Vec::new();
        for (key, schema) in map["properties"].as_object().into_iter().flatten() {
            let mut kinds = Kinds { words: vec![], named: vec![], maps: vec![] };
            self.kinds(schema, "", &mut kinds);
            let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
            for (name, map) in kinds.maps {
                match self.sections.get(name) {
                    // One, or a list of them.
                    Some(first) if *first == path => (),
                    Some(first) => kinds.words.iter_mut().filter(|word| *word == "a map").for_each(|word| {
                        *word = format!("a map as in `{first}`");
                    }),
                    None => {
                        self.sections.insert(name, path.clone());
                        inner.push((path.clone(), map));
                    }
                }
            }
            let default = match &schema["default"] {
                _ if required.contains(&key.as_str()) => "required".into(),
                Value::Null | Value::Object(_) => String::new(),
                value => format!("`{value}`"),
            };
            let named = kinds.named.iter().filter(|(_, means)| !means.is_empty());
            let named = named.map(|(value, means)| format!("`{value}`: {means}"));
            let meaning = schema["description"].as_str().map(str::to_owned).into_iter().chain(named);
            let meaning = meaning.collect::<Vec<_>>().join(" ").replace('\n', " ");
            let _ = writeln!(
                self.text,
                "| `{key}` | {} | {default} | {} |",
                cell(&kinds.words.join(" or ")),
                cell(&meaning)
            );
        }
        for (path, map) in inner {
            let _ = writeln!(self.text, "\n## `{path}`");
            if let Some(about) = map["description"].as_str() {
                let _ = writeln!(self.text, "\n{}", about.replace('\n', " "));
            }
            self.table(&path, map);
        }
    }

    /// Adds what a schema admits; `name` is that of the definition it was reached by.
    fn kinds(&self, schema: &'a Value, name: &'a str, out: &mut Kinds<'a>) {
        if let Some(reference) = schema["$ref"].as_str() {
            let definition = self.root.pointer(reference.trim_start_matches('#')).unwrap_or(&Value::Null);
            return self.kinds(definition, reference.rsplit('/').next().unwrap_or_default(), out);
        }
        if let Some(all) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
            return all.iter().for_each(|one| self.kinds(one, name, out));
        }
        if let Some(value) = schema["const"].as_str() {
            out.named.push((value, schema["description"].as_str().unwrap_or_default()));
            return out.words.push(format!("`{value}`"));
        }
        if let Some(values) = schema["enum"].as_array() {
            return out.words.extend(values.iter().map(|value| format!("`{}`", value.as_str().unwrap_or_default())));
        }
        let types: Vec<&str> = match &schema["type"] {
            Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect(),
        };
        for kind in types.into_iter().filter(|kind| *kind != "null") {
            let word = match kind {
                "string" => schema["format"].as_str().map_or("a text".into(), |format| match format {
                    "path" => "a path".into(),
                    other => format!("a {other}"),
                }),
                "integer" => format!("a whole number{}", bounds(schema)),
                "number" => format!("a number{}", bounds(schema)),
                "boolean" => "`true` or `false`".into(),
                "array" => {
                    let mut items = Kinds { words: vec![], named: vec![], maps: vec![] };
                    self.kinds(&schema["items"], "", &mut items);
                    out.maps.append(&mut items.maps);
                    format!("a list ({})", items.words.join(" or "))
                }
                "object" if schema["properties"].is_object() => {
                    out.maps.push((name, schema));
                    "a map".into()
                }
                _ => "a map".into(),
            };
            if !out.words.contains(&word) {
                out.words.push(word);
            }
        }
    }
}

/// What bounds a number has, in words.
fn bounds(schema: &Value) -> String {
    let bound = |key: &str, word: &str| match &schema[key] {
        Value::Null => None,
        value => Some(format!("{word} {value}")),
    };
    let all = [
        bound("minimum", "from"),
        bound("exclusiveMinimum", "above"),
        bound("maximum", "to"),
        bound("exclusiveMaximum", "below"),
    ];
    let all: Vec<String> = all.into_iter().flatten().collect();
    if all.is_empty() { String::new() } else { format!(" {}", all.join(" ")) }
}

/// Text as it may stand in a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_have_kinds_bounds_defaults_and_meanings_and_sections_follow() {
        let schema = json!({
            "properties": {
                "a": {"type": ["integer", "null"], "minimum": 1, "maximum": 9, "default": 3, "description": "How\nmany."},
                "b": {"$ref": "#/$defs/B", "description": "Which."},
                "c": {"anyOf": [{"$ref": "#/$defs/B"}, {"type": "null"}]},
                "d": {"oneOf": [{"const": "x", "description": "One | two."}, {"const": "y"}]},
            },
            "required": ["b"],
            "$defs": {"B": {"anyOf": [{"type": "string", "format": "path"}, {
                "type": "object", "description": "A section.",
                "properties": {"e": {"type": "array", "items": {"type": "number", "exclusiveMinimum": 0}}},
            }]}},
        });
        let lines = "
| key | is | default | means |
|---|---|---|---|
| `a` | a whole number from 1 to 9 | `3` | How many. |
| `b` | a path or a map | required | Which. |
| `c` | a path or a map as in `b` |  |  |
| `d` | `x` or `y` |  | `x`: One \\| two. |

## `b`

A section.

| key | is | default | means |
|---|---|---|---|
| `e` | a list (a number above 0) |  |  |
";
        assert_eq!(markdown(&schema), lines);
    }
}

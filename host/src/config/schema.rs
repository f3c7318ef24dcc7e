//! Finds every fault of a value against a JSON schema, in words for people.
//!
//! The schema is derived from the config structs (a plugin brings its own), so what a file may say is written down
//! once. The subset: `$ref`, `anyOf`, `oneOf` of constants and others, `const`, `type`, bounds, `properties`,
//! `required`, `additionalProperties`, `items`, `minItems`, and the formats `path`, `file`, `directory` and `model`,
//! which also make a path absolute.

mod bounds;

use super::{other_trainers, source::join};
use crate::hub;
use bounds::{bounds, in_bounds};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// One thing wrong with a config.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// Dotted key.
    pub key: String,
    /// What was expected and what was found.
    pub message: String,
    /// What to do, where the message does not say it all.
    pub hint: Option<String>,
}

/// Lists the faults of `value`, resolves its paths against `base`, and repairs it: faulty optional keys are removed and
/// faulty required ones replaced by placeholders, so that what remains can be deserialized and checked further.
pub fn check(schema: &Value, value: &mut Value, base: &Path) -> Vec<Fault> {
    let mut walker = Walker { root: schema, base, faults: Vec::new() };
    walker.walk(schema, value, "");
    walker.faults
}

/// The candidate most like `name`, if any is alike.
pub fn suggest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|c| (strsim::jaro_winkler(&name.to_lowercase(), &c.to_lowercase()), c))
        .filter(|(likeness, _)| *likeness >= 0.88)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, c)| c)
}

/// A path, with `~/` at its beginning as the user's home, as shells have it.
pub fn at_home(text: &str) -> PathBuf {
    match (text.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => text.into(),
    }
}

/// A value as it stands in a message: short, strings quoted.
pub fn show(value: &Value) -> String {
    let text = match value {
        Value::Null => return "nothing".into(),
        Value::Object(_) => return "a map".into(),
        Value::Array(_) => return "a list".into(),
        other => other.to_string(),
    };
    if text.chars().count() <= 60 { text } else { text.chars().take(57).chain("...".chars()).collect() }
}

struct Walker<'a> {
    root: &'a Value,
    base: &'a Path,
    faults: Vec<Fault>,
}

impl<'a> Walker<'a> {
    fn fault(&mut self, key: &str, message: impl Into<String>, hint: Option<String>) -> bool {
        self.faults.push(Fault { key: key.into(), message: message.into(), hint });
        false
    }

    /// Follows a reference into the schema's definitions.
    fn resolve(&self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str().and_then(|r| self.root.pointer(r.trim_start_matches('#'))) {
            Some(target) => self.resolve(target),
            None => schema,
        }
    }

    /// Alternatives of a schema: those of its `anyOf` or `oneOf`, else itself.
    fn branches(&self, schema: &'a Value) -> Vec<&'a Value> {
        match schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
            Some(list) => list.iter().flat_map(|s| self.branches(self.resolve(s))).collect(),
            None => vec![schema],
        }
    }

    /// Whether `value` may stay as it is now.
    fn walk(&mut self, schema: &'a Value, value: &mut Value, key: &str) -> bool {
        let schema = self.resolve(schema);
        let branches = self.branches(schema);
        if let Some(names) = constants(&branches) {
            return names.contains(&value.as_str().unwrap_or_default()) || self.wrong_name(key, value, &names);
        }
        let Some(branch) = branches.iter().copied().find(|b| admits(b, value)) else {
            let expected: Vec<String> = branches.iter().filter_map(|b| self.expected(b)).collect();
            let unquote = matches!(value, Value::String(s) if s.parse::<f64>().is_ok());
            let hint = unquote.then(|| "write numbers without quotes".to_owned());
            let near = did_you_mean(value, branches.iter().filter_map(|b| b["const"].as_str()));
            return self.fault(key, format!("expected {}, found {}{near}", expected.join(" or "), show(value)), hint);
        };
        match value {
            Value::Number(_) => {
                in_bounds(branch, value)
                    || self.fault(key, format!("expected {}, found {value}", self.describe(branch)), None)
            }
            Value::String(text) => match branch["format"].as_str() {
                Some(format) if !hub::is_hub(text) => match self.path(format, text, key) {
                    Some(absolute) => {
                        *text = absolute;
                        true
                    }
                    None => false,
                },
                _ => true,
            },
            Value::Array(items) => self.walk_list(branch, items, key),
            Value::Object(map) => {
                self.walk_map(branch, map, key);
                true
            }
            _ => true,
        }
    }

    fn walk_list(&mut self, schema: &'a Value, items: &mut Vec<Value>, key: &str) -> bool {
        if (items.len() as u64) < schema["minItems"].as_u64().unwrap_or(0) {
            return self.fault(key, "expected at least one item, found an empty list", None);
        }
        let mut index = 0;
        items.retain_mut(|item| {
            index += 1;
            self.walk(&schema["items"], item, &join(key, &(index - 1).to_string()))
        });
        true
    }

    fn walk_map(&mut self, schema: &'a Value, map: &mut Map<String, Value>, key: &str) {
        let known = schema["properties"].as_object();
        let required = || schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for name in required().filter(|r| !map.contains_key(*r)) {
            self.fault(&join(key, name), format!("is required: {}", self.describe(&schema["properties"][name])), None);
        }
        let others = &schema["additionalProperties"];
        map.retain(|name, value| {
            let path = join(key, name);
            match known.and_then(|k| k.get(name)) {
                Some(property) => self.walk(property, value, &path),
                None if others == &Value::Bool(false) => self.unknown(&path, key, name, known),
                None if others.is_object() => self.walk(others, value, &path),
                None => true,
            }
        });
        for name in required() {
            map.entry(name).or_insert_with(|| self.placeholder(&schema["properties"][name]));
        }
    }

    /// A value of the right type for a required key that is missing or faulty.
    fn placeholder(&self, schema: &'a Value) -> Value {
        let schema = self.branches(self.resolve(schema))[0];
        match schema["type"].as_str() {
            Some("object") => {
                let names = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
                names.map(|n| (n.to_owned(), self.placeholder(&schema["properties"][n]))).collect()
            }
            Some("string") => json!(""),
            Some("array") => json!([]),
            Some("boolean") => json!(false),
            _ => json!(1),
        }
    }

    fn unknown(&mut self, path: &str, section: &str, name: &str, known: Option<&'a Map<String, Value>>) -> bool {
        // Of a run's config, not of a plugin's options.
        let of_run = self.root["properties"]["train"].is_object();
        if let Some(called) = other_trainers::called(name).filter(|_| of_run) {
            return self.fault(path, format!("unknown key; {called}"), None);
        }
        let keys: Vec<&str> = known.into_iter().flat_map(|k| k.keys().map(String::as_str)).collect();
        if let Some(near) = suggest(name, keys.iter().copied()).map(str::to_owned).or_else(|| self.elsewhere(name)) {
            return self.fault(path, format!("unknown key; did you mean `{near}`?"), None);
        }
        let place = if section.is_empty() { "the top level".into() } else { format!("`{section}`") };
        self.fault(path, "unknown key", Some(format!("keys of {place}: {}", keys.join(", "))))
    }

    /// The dotted path of a key of this name in another section.
    fn elsewhere(&self, name: &str) -> Option<String> {
        let sections = self.root["properties"].as_object()?;
        sections.iter().find_map(|(section, schema)| {
            let branches = self.branches(self.resolve(schema));
            branches.iter().any(|b| b["properties"].get(name).is_some()).then(|| join(section, name))
        })
    }

    fn wrong_name(&mut self, key: &str, value: &Value, names: &[&str]) -> bool {
        let near = did_you_mean(value, names.iter().copied());
        self.fault(key, format!("expected one of {}, found {}{near}", names.join(", "), show(value)), None)
    }

    /// The absolute path, or None after a fault.
    fn path(&mut self, format: &str, text: &str, key: &str) -> Option<String> {
        let path = match std::path::absolute(self.base.join(at_home(text))) {
            Ok(path) if !text.is_empty() => path,
            _ => {
                self.fault(key, "expected a path, found an empty string", None);
                return None;
            }
        };
        let (there, kind) = match format {
            "directory" => (path.is_dir(), "directory"),
            "file" => (path.is_file(), "file"),
            // A directory, or a file such as GGUF's.
            "model" => (path.is_dir() || path.is_file(), "model"),
            "path" => (true, "path"),
            _ => return Some(text.to_owned()),
        };
        if there {
            return path.to_str().map(str::to_owned);
        }
        let at = path.display();
        let (message, hint) = if path.exists() {
            (format!("{at} is not a {kind}"), "give the path of the thing itself")
        } else if format == "directory" && hub::is_name(text) {
            (format!("no such {kind}: {at}"), "of a model on the Hub, write hub:owner/name@revision")
        } else {
            (format!("no such {kind}: {at}"), "relative paths start at the directory of the config file")
        };
        self.fault(key, message, Some(hint.into()));
        None
    }

    /// What a branch asks for; None for `null`, which only says that a key may be left out.
    fn expected(&self, branch: &Value) -> Option<String> {
        (branch["type"] != "null").then(|| self.describe(branch))
    }

    fn describe(&self, schema: &Value) -> String {
        let schema = match schema["$ref"].as_str().and_then(|r| self.root.pointer(r.trim_start_matches('#'))) {
            Some(target) => target,
            None => schema,
        };
        if let Some(list) = schema["anyOf"].as_array() {
            return list.iter().filter_map(|s| self.expected(s)).collect::<Vec<_>>().join(" or ");
        }
        if let Some(constant) = schema["const"].as_str() {
            return constant.into();
        }
        let kind = types(schema).find(|t| *t != "null").unwrap_or_default();
        match (kind, schema["format"].as_str()) {
            ("object", _) => "a map".into(),
            ("array", _) => "a list".into(),
            ("boolean", _) => "true or false".into(),
            ("string", Some("model")) => "a directory or GGUF file".into(),
            ("string", Some(format @ ("file" | "directory"))) => format!("a {format}"),
            ("string", Some("path")) => "a path".into(),
            ("string", _) => "a string".into(),
            ("integer", _) => format!("a whole number{}", bounds(schema)),
            ("number", _) => format!("a number{}", bounds(schema)),
            _ => "a value".into(),
        }
    }
}

/// What ends a message about a value that is like one of `names`; nothing for others.
fn did_you_mean<'a>(value: &Value, names: impl IntoIterator<Item = &'a str>) -> String {
    let near = value.as_str().and_then(|v| suggest(v, names));
    near.map_or(String::new(), |n| format!("; did you mean `{n}`?"))
}

/// The names of an enum, where all branches are constants.
fn constants<'a>(branches: &[&'a Value]) -> Option<Vec<&'a str>> {
    let listed = |s: &'a Value| -> Option<Vec<&'a str>> {
        match s["enum"].as_array() {
            Some(list) => list.iter().map(Value::as_str).collect(),
            None => s["const"].as_str().map(|c| vec![c]),
        }
    };
    branches.iter().map(|s| listed(s)).collect::<Option<Vec<_>>>().map(|lists| lists.concat())
}

fn types(schema: &Value) -> impl Iterator<Item = &str> {
    let list = schema["type"].as_array().map(Vec::as_slice).unwrap_or(std::slice::from_ref(&schema["type"]));
    list.iter().filter_map(Value::as_str)
}

/// Whether a schema without alternatives is of this value or takes values of this type; one that names neither takes
/// all.
fn admits(schema: &Value, value: &Value) -> bool {
    if let Some(constant) = schema.get("const") {
        return constant == value;
    }
    let fits = |t: &str| match t {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    };
    schema.get("type").is_none() || types(schema).any(fits)
}

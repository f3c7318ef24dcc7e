//! Config text as a JSON value that remembers where each key was written, in the file or by `--set`.

use crate::{Code, Error, Result};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use serde_saphyr::{MessageFormatter, Spanned, UserMessageFormatter};
use std::{collections::BTreeMap, fmt, path::Path};

/// A parsed config before it is checked.
pub struct ConfigText {
    /// The tree of values.
    pub value: Value,
    /// Dotted key -> `line 7` or `--set`.
    places: BTreeMap<String, String>,
}

impl ConfigText {
    /// Parses one YAML document, which must be a map.
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        let fail = |message: String| {
            Error::new(Code::ConfigSyntax, format!("{}{message}", path.display()))
                .hint("a config is a YAML map of keys and values, indented by spaces")
        };
        let node = match serde_saphyr::from_str::<Node>(text) {
            Ok(node) => node,
            Err(e) => {
                let place = e.location().map(|l| format!(", line {}, column {}", l.line(), l.column()));
                return Err(fail(format!("{}: not valid YAML: {}", place.unwrap_or_default(), words(&e))));
            }
        };
        let mut places = BTreeMap::new();
        let value = node.into_value("", &mut places);
        match value {
            Value::Object(_) => Ok(Self { value, places }),
            Value::Null => Err(fail(": the file is empty".into())),
            _ => Err(fail(": expected a map of keys and values".into())),
        }
    }

    /// Applies `a.b=c`: c is read as YAML, missing maps on the way are made, a plugin's short form is spelled out.
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        let fail = |message: String| {
            Error::new(Code::ConfigSet, format!("--set {assignment}: {message}"))
                .hint("write it as key.key=value, for example --set train.beta=0.2")
        };
        let (key, text) = assignment.split_once('=').ok_or_else(|| fail("expected key=value".into()))?;
        let value: Value =
            serde_saphyr::from_str(text).map_err(|e| fail(format!("`{text}` is not a YAML value: {}", words(&e))))?;
        let parts: Vec<&str> = key.split('.').collect();
        let Some((last, sections)) = parts.split_last().filter(|_| parts.iter().all(|p| !p.is_empty())) else {
            return Err(fail("a part of the key is empty".into()));
        };
        let mut at = &mut self.value;
        for (depth, part) in sections.iter().enumerate() {
            let path = || parts[..=depth].join(".");
            let next = match at {
                Value::Array(items) => {
                    let n = items.len();
                    let item = part.parse().ok().and_then(|i: usize| items.get_mut(i));
                    item.ok_or_else(|| fail(format!("`{}` is none of the {n} items, 0 to {}", path(), n - 1)))?
                }
                map => map.as_object_mut().expect("every step leaves a map").entry(*part).or_insert(Value::Null),
            };
            match next {
                Value::Object(_) => {}
                Value::Array(items) if !items.is_empty() && depth + 1 < sections.len() => {}
                Value::Null => {
                    *next = Value::Object(Map::new());
                    self.places.insert(path(), "--set".to_owned());
                }
                // `encoder: autoencoder` with `--set encoder.options.x=1`
                Value::String(name) if depth == 0 => *next = serde_json::json!({super::long_key(part): name}),
                Value::Array(_) => {
                    return Err(fail(format!("`{0}` is a list: write {0}.0.{last} for its first", path())));
                }
                other => return Err(fail(format!("`{}` is {other}, not a map", path()))),
            }
            at = next;
        }
        at.as_object_mut().expect("every step leaves a map").insert((*last).to_owned(), value);
        self.places.insert(key.to_owned(), "--set".to_owned());
        Ok(())
    }

    /// Where a key was written: its own place, or that of the nearest section around it.
    pub fn place(&self, key: &str) -> Option<&str> {
        let mut key = key;
        loop {
            if let Some(place) = self.places.get(key) {
                return Some(place);
            }
            key = key.rsplit_once('.')?.0;
        }
    }
}

/// The parser's message without position and excerpt.
fn words(e: &serde_saphyr::Error) -> String {
    UserMessageFormatter.format_message(e.without_snippet()).into_owned()
}

/// Joins a key to the path of its section.
pub fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

/// A YAML node with its keys' positions.
enum Node {
    Leaf(Value),
    List(Vec<Node>),
    Map(Vec<(Spanned<String>, Node)>),
}

impl Node {
    fn into_value(self, path: &str, places: &mut BTreeMap<String, String>) -> Value {
        match self {
            Self::Leaf(v) => v,
            Self::List(items) => items
                .into_iter()
                .enumerate()
                .map(|(i, item)| item.into_value(&join(path, &i.to_string()), places))
                .collect(),
            Self::Map(entries) => entries
                .into_iter()
                .map(|(key, node)| {
                    let path = join(path, &key.value);
                    places.insert(path.clone(), format!("line {}", key.referenced.line()));
                    (key.value, node.into_value(&path, places))
                })
                .collect(),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Node;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a YAML value")
            }
            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Leaf(Value::Null))
            }
            fn visit_bool<E>(self, v: bool) -> Result<Node, E> {
                Ok(Node::Leaf(v.into()))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Node, E> {
                Ok(Node::Leaf(v.into()))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Node, E> {
                Ok(Node::Leaf(v.into()))
            }
            fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Node, E> {
                Number::from_f64(v).map(|n| Node::Leaf(n.into())).ok_or_else(|| E::custom(format!("{v} is not finite")))
            }
            fn visit_str<E>(self, v: &str) -> Result<Node, E> {
                Ok(Node::Leaf(v.into()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Node::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Node::Map(entries))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

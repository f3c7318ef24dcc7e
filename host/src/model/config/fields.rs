//! A JSON object being read, key by key, with messages that name file, key and value.

use crate::{Code, Error, Result};
use serde_json::{Map, Value};

/// What to do with a damaged file.
const SOURCE: &str = "copy config.json from the model's source again";

/// A JSON object, with the file's name for messages.
pub struct Fields<'a> {
    /// For messages.
    pub file: &'a str,
    /// The object.
    pub map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// A value that is not null.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|v| !v.is_null())
    }
    /// The file is damaged.
    pub fn damaged(&self, what: &str) -> Error {
        Error::new(Code::ModelConfig, format!("{}{what}", self.file)).hint(SOURCE)
    }
    /// A value that cannot be.
    pub fn bad(&self, key: &str, value: &Value, expected: &str) -> Error {
        self.damaged(&format!(": {key} is {value}, expected {expected}"))
    }
    /// A value that can be, but not here.
    pub fn unsupported(&self, key: &str, value: &Value, supported: &str) -> Error {
        Error::new(Code::ModelUnsupported, format!("{}: {key} is {value}; supported is {supported}", self.file))
            .hint("take another model; what is not computed exactly is refused")
    }
    /// A number of things.
    pub fn size(&self, key: &str) -> Result<Option<usize>> {
        let Some(v) = self.get(key) else { return Ok(None) };
        match v.as_u64() {
            // Far above any model, and products of two stay far below overflow.
            Some(n) if (1..1 << 31).contains(&n) => Ok(Some(n as usize)),
            _ => Err(self.bad(key, v, "a whole number above 0")),
        }
    }
    /// A number of things, or none of them.
    pub fn count(&self, key: &str) -> Result<Option<usize>> {
        match self.get(key) {
            Some(v) if v.as_u64() == Some(0) => Ok(Some(0)),
            _ => self.size(key),
        }
    }
    /// One that must be there.
    pub fn required(&self, key: &str) -> Result<usize> {
        self.size(key)?.ok_or_else(|| self.damaged(&format!(": {key} is missing")))
    }
    /// A positive number.
    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        let Some(v) = self.get(key) else { return Ok(None) };
        v.as_f64().filter(|x| *x > 0.0).map(Some).ok_or_else(|| self.bad(key, v, "a number above 0"))
    }
    /// True or false, if it is there.
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        let Some(v) = self.get(key) else { return Ok(None) };
        v.as_bool().map(Some).ok_or_else(|| self.bad(key, v, "true or false"))
    }
    /// An object, unless it is empty.
    pub fn object(&self, key: &str) -> Result<Option<Fields<'a>>> {
        let Some(v) = self.get(key) else { return Ok(None) };
        let map = v.as_object().ok_or_else(|| self.bad(key, v, "an object"))?;
        Ok((!map.is_empty()).then_some(Fields { file: self.file, map }))
    }
}

//! Typed access to GGUF's key-value metadata; errors name the key.

use crate::{Code, Error, Result};
use candle_core::quantized::gguf_file::Value;
use std::collections::HashMap;

/// The metadata of a GGUF file.
#[derive(Clone, Copy)]
pub(super) struct Metadata<'a>(pub &'a HashMap<String, Value>);

/// What a metadata value can be read as.
pub(super) trait FromValue<'a>: Sized {
    /// The type in words, for errors.
    const EXPECTED: &'static str;
    fn from_value(value: &'a Value) -> Option<Self>;
}

impl<'a> Metadata<'a> {
    /// The value under `key`, if it is there.
    pub fn get<T: FromValue<'a>>(self, key: &str) -> Result<Option<T>> {
        let Some(value) = self.0.get(key) else { return Ok(None) };
        T::from_value(value).map(Some).ok_or_else(|| {
            let message = format!("key `{key}` is {:?}, expected {}", value.value_type(), T::EXPECTED);
            Error::new(Code::GgufKey, message).hint("the file is not as llama.cpp writes it: convert the model again")
        })
    }
    /// The number under `key`; also of a list with the same number for every layer.
    pub fn size(self, key: &str) -> Result<Option<usize>> {
        let Some(Value::Array(_)) = self.0.get(key) else { return self.get(key) };
        let list: Vec<usize> = self.get(key)?.unwrap_or_default();
        match list.split_first() {
            Some((first, others)) if others.iter().all(|other| other == first) => Ok(Some(*first)),
            _ => Err(Error::new(Code::GgufArchitecture, format!("key `{key}` is {list:?}; its numbers differ"))
                .hint("supported are models whose layers have the same sizes")),
        }
    }
    /// The value under `key`, which must be there.
    pub fn need<T: FromValue<'a>>(self, key: &str) -> Result<T> {
        self.get(key)?.ok_or_else(|| {
            Error::new(Code::GgufKey, format!("key `{key}` is missing"))
                .hint("the file is incomplete or was written by a very old converter: convert the model again")
        })
    }
}

impl FromValue<'_> for usize {
    const EXPECTED: &'static str = "an integer of at least 0";
    fn from_value(value: &Value) -> Option<Self> {
        match *value {
            Value::U8(v) => Some(v.into()),
            Value::U16(v) => Some(v.into()),
            Value::U32(v) => v.try_into().ok(),
            Value::U64(v) => v.try_into().ok(),
            Value::I8(v) => v.try_into().ok(),
            Value::I16(v) => v.try_into().ok(),
            Value::I32(v) => v.try_into().ok(),
            Value::I64(v) => v.try_into().ok(),
            _ => None,
        }
    }
}

impl FromValue<'_> for f64 {
    const EXPECTED: &'static str = "a number";
    fn from_value(value: &Value) -> Option<Self> {
        match *value {
            // The shortest decimal that means this f32, so that 1e-5 stays 1e-5.
            Value::F32(v) => v.to_string().parse().ok(),
            Value::F64(v) => Some(v),
            _ => None,
        }
    }
}

impl FromValue<'_> for bool {
    const EXPECTED: &'static str = "a boolean";
    fn from_value(value: &Value) -> Option<Self> {
        value.to_bool().ok()
    }
}

impl<'a> FromValue<'a> for &'a str {
    const EXPECTED: &'static str = "a string";
    fn from_value(value: &'a Value) -> Option<Self> {
        value.to_string().ok().map(String::as_str)
    }
}

/// Arrays of one type.
impl<'a, T: FromValue<'a>> FromValue<'a> for Vec<T> {
    const EXPECTED: &'static str = "an array of one type (of strings, integers or numbers as the key demands)";
    fn from_value(value: &'a Value) -> Option<Self> {
        value.to_vec().ok()?.iter().map(T::from_value).collect()
    }
}

//! Equality, order, and what is in what. How long it takes is known before by [`Value::steps`].

use super::{StreamKind, Value};
use crate::text::jinja::Fault;
use std::{cmp::Ordering, rc::Rc};

impl Value<'_> {
    /// `==`.
    pub fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Undefined(_), Self::Undefined(_)) | (Self::None, Self::None) => true,
            (Self::Str(a) | Self::Safe(a), Self::Str(b) | Self::Safe(b)) => a == b,
            (Self::List(a), Self::List(b)) | (Self::Tuple(a), Self::Tuple(b)) => {
                a.items.len() == b.items.len() && a.items.iter().zip(&b.items).all(|(a, b)| a.equals(b))
            }
            (Self::Dict(a), Self::Dict(b)) => {
                a.entries.len() == b.entries.len()
                    && a.entries.iter().all(|(key, value)| b.get(key).is_some_and(|other| value.equals(other)))
            }
            (Self::Namespace(a), Self::Namespace(b)) => a == b,
            (Self::Stream(a), Self::Stream(b)) => Rc::ptr_eq(a, b),
            (a, b) => match (a.number(), b.number()) {
                (Some(a), Some(b)) => a.order(b) == Some(Ordering::Equal),
                _ => false,
            },
        }
    }

    /// The order of two values; an error where Python has none.
    pub fn order(&self, other: &Self) -> Result<Option<Ordering>, Fault> {
        match (self.defined()?, other.defined()?) {
            (Self::Str(a) | Self::Safe(a), Self::Str(b) | Self::Safe(b)) => Ok(Some(a.cmp(b))),
            (Self::List(a), Self::List(b)) | (Self::Tuple(a), Self::Tuple(b)) => {
                match a.items.iter().zip(&b.items).find(|(a, b)| !a.equals(b)) {
                    Some((a, b)) => a.order(b),
                    None => Ok(Some(a.items.len().cmp(&b.items.len()))),
                }
            }
            (a, b) => match (a.number(), b.number()) {
                (Some(a), Some(b)) => Ok(a.order(b)),
                _ => Err(Fault::new(format!("{} and {} have no order", a.type_name(), b.type_name()))),
            },
        }
    }

    /// `item in self`.
    pub fn contains(&self, item: &Self) -> Result<bool, Fault> {
        match (self, item) {
            (Self::Str(text) | Self::Safe(text), Self::Str(part) | Self::Safe(part)) => Ok(text.contains(&**part)),
            (Self::Str(_) | Self::Safe(_), other) => {
                Err(Fault::new(format!("'in <string>' requires string as left operand, not {}", other.type_name())))
            }
            (Self::Dict(dict), key) => {
                key.hashable()?;
                Ok(dict.get(key).is_some())
            }
            (Self::Undefined(_), _) => Ok(false),
            (Self::List(items) | Self::Tuple(items), item) => Ok(items.items.iter().any(|other| other.equals(item))),
            (Self::Stream(stream), item) if stream.kind != StreamKind::Generator => {
                Ok(stream.items.iter().any(|other| other.equals(item)))
            }
            (other, _) => Err(Fault::new(format!("argument of type '{}' is not iterable", other.type_name()))),
        }
    }
}

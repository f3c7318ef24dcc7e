//! Python's values as templates see them. All but namespaces are immutable: the sandbox is.

mod compare;
mod feed;
mod stream;

pub use feed::{Feed, LoopState, Place};
pub use stream::{Stream, StreamKind};

use super::{Fault, ast::Macro, budget::Budget, number::Number};
use serde_json::Value as Json;
use std::rc::Rc;

/// How deep lists and maps may lie in each other, so that what walks them fits a thread's stack.
pub const DEEPEST: usize = 100;

#[derive(Clone)]
pub enum Value<'t> {
    /// Why it is not there.
    Undefined(Rc<str>),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Rc<str>),
    /// Text that `escape` or `safe` have marked: what is added to it jinja2 escapes. It can be printed, and put
    /// together by `~` and `join`, which make a plain text of it.
    Safe(Rc<str>),
    List(Rc<Items<'t>>),
    Tuple(Rc<Items<'t>>),
    Dict(Rc<Dict<'t>>),
    /// Python's views, ranges and generators: to be gone through.
    Stream(Rc<Stream<'t>>),
    /// An index into the machine's namespaces, so that none holds itself.
    Namespace(usize),
    Function(&'static str),
    /// A method that is not called yet.
    Method(Rc<(Value<'t>, String)>),
    Macro(MacroRef<'t>),
    Loop(Rc<LoopState<'t>>),
}

/// A macro, or the body of a `call` block.
#[derive(Clone, Copy)]
pub struct MacroRef<'t> {
    pub of: &'t Macro,
    /// How many scopes it sees.
    pub scopes: usize,
    /// The id of the call whose caller this is.
    pub caller_of: Option<usize>,
}

pub struct Items<'t> {
    pub items: Vec<Value<'t>>,
    extent: Extent,
}

pub struct Dict<'t> {
    pub entries: Vec<(Value<'t>, Value<'t>)>,
    extent: Extent,
}

/// How deep values lie in a value, and how many steps it takes to walk it: values are shared, and a list of two lists
/// of two lists ... has more in it than there is memory.
#[derive(Clone, Copy, Default)]
struct Extent {
    depth: usize,
    steps: usize,
}

impl Extent {
    /// Of what holds these values. Fails where it is too deep.
    fn around<'v, 't: 'v>(values: impl Iterator<Item = &'v Value<'t>>) -> Result<Self, Fault> {
        let mut all = Self { depth: 1, steps: 1 };
        for Self { depth, steps } in values.map(Value::extent) {
            all.depth = all.depth.max(depth + 1);
            all.steps = all.steps.saturating_add(steps);
        }
        match all.depth > DEEPEST {
            true => Err(Fault::new(format!("lists and maps lie more than {DEEPEST} deep in each other"))),
            false => Ok(all),
        }
    }

    fn around_pairs<'t>(entries: &[(Value<'t>, Value<'t>)]) -> Result<Self, Fault> {
        let Self { depth, steps } = Self::around(entries.iter().flat_map(|(key, value)| [key, value]))?;
        // Keys are looked for one by one.
        Ok(Self { depth, steps: steps.saturating_add(entries.len().saturating_mul(entries.len()) / 16) })
    }
}

impl<'t> Value<'t> {
    pub fn str(text: impl AsRef<str>) -> Self {
        Self::Str(text.as_ref().into())
    }

    pub fn undefined(why: impl AsRef<str>) -> Self {
        Self::Undefined(why.as_ref().into())
    }

    pub fn list(items: Vec<Self>, budget: &Budget) -> Result<Self, Fault> {
        budget.spend(2 * items.len())?;
        Ok(Self::List(Rc::new(Items { extent: Extent::around(items.iter())?, items })))
    }

    pub fn tuple(items: Vec<Self>, budget: &Budget) -> Result<Self, Fault> {
        budget.spend(2 * items.len())?;
        Ok(Self::Tuple(Rc::new(Items { extent: Extent::around(items.iter())?, items })))
    }

    /// A map; of equal keys the last value stays, at the place of the first.
    pub fn dict(entries: impl IntoIterator<Item = (Self, Self)>, budget: &Budget) -> Result<Self, Fault> {
        let mut all: Vec<(Self, Self)> = vec![];
        for (key, value) in entries {
            key.hashable()?;
            budget.spend(all.len() / 8)?;
            match all.iter_mut().find(|(other, _)| key.equals(other)) {
                Some((_, old)) => *old = value,
                None => all.push((key, value)),
            }
        }
        budget.spend(2 * all.len())?;
        Ok(Self::Dict(Rc::new(Dict { extent: Extent::around_pairs(&all)?, entries: all })))
    }

    /// A JSON value.
    pub fn of(json: &Json, budget: &Budget) -> Result<Self, Fault> {
        Ok(match json {
            Json::Null => Self::None,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(whole), _) => Self::Int(whole.into()),
                (None, Some(whole)) => Self::Int(whole.into()),
                _ => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Self::str(text),
            Json::Array(items) => {
                let items = items.iter().map(|item| Self::of(item, budget)).collect::<Result<_, _>>()?;
                Self::list(items, budget)?
            }
            // The keys of JSON maps differ.
            Json::Object(map) => {
                let entries = map.iter().map(|(key, value)| Ok((Self::str(key), Self::of(value, budget)?)));
                let entries = entries.collect::<Result<Vec<_>, Fault>>()?;
                Self::Dict(Rc::new(Dict { extent: Extent::around_pairs(&entries)?, entries }))
            }
        })
    }

    fn extent(&self) -> Extent {
        match self {
            Self::List(items) | Self::Tuple(items) => items.extent,
            Self::Dict(dict) => dict.extent,
            Self::Stream(stream) => stream.extent,
            Self::Str(text) | Self::Safe(text) => Extent { depth: 0, steps: 1 + text.len() / 32 },
            // It holds the value whose method it is.
            Self::Method(method) => Extent { depth: 1 + method.0.extent().depth, ..method.0.extent() },
            // What it goes through is no part of what it is put into.
            Self::Loop(_) => Extent { depth: DEEPEST, steps: 1 },
            _ => Extent { depth: 0, steps: 1 },
        }
    }

    /// How many lists and maps lie in each other here; [`DEEPEST`] and more where a loop is in it.
    pub fn depth(&self) -> usize {
        self.extent().depth
    }

    /// Steps that it takes to walk the value, as comparing it does.
    pub fn steps(&self) -> usize {
        self.extent().steps
    }

    /// What Python calls values of this type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Undefined(_) => "Undefined",
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Str(_) => "str",
            Self::Safe(_) => "Markup",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Dict(_) => "dict",
            Self::Stream(stream) if stream.kind == StreamKind::Range => "range",
            Self::Stream(stream) if stream.kind == StreamKind::View => "dict view",
            Self::Stream(_) => "generator",
            Self::Namespace(_) => "Namespace",
            Self::Function(_) | Self::Method(_) => "function",
            Self::Macro(_) => "Macro",
            Self::Loop(_) => "LoopContext",
        }
    }

    pub fn is_true(&self) -> bool {
        match self {
            Self::Undefined(_) | Self::None => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Str(text) | Self::Safe(text) => !text.is_empty(),
            Self::List(items) | Self::Tuple(items) => !items.items.is_empty(),
            Self::Dict(dict) => !dict.entries.is_empty(),
            Self::Stream(stream) => stream.kind == StreamKind::Generator || !stream.items.is_empty(),
            Self::Namespace(_) | Self::Function(_) | Self::Method(_) | Self::Macro(_) | Self::Loop(_) => true,
        }
    }

    /// Fails where a value is used that is not there.
    pub fn defined(&self) -> Result<&Self, Fault> {
        match self {
            Self::Undefined(why) => Err(Fault::new(why.as_ref())),
            other => Ok(other),
        }
    }

    /// The value as a number, which truth values are too.
    pub fn number(&self) -> Option<Number> {
        match self {
            Self::Bool(value) => Some(Number::Int(i128::from(*value))),
            Self::Int(value) => Some(Number::Int(*value)),
            Self::Float(value) => Some(Number::Float(*value)),
            _ => None,
        }
    }

    /// Fails where Python takes the value as no key, and of tuples, which it may take.
    pub fn hashable(&self) -> Result<(), Fault> {
        match self {
            Self::List(_) | Self::Dict(_) | Self::Tuple(_) => {
                Err(Fault::new(format!("a {} is no key here", self.type_name())))
            }
            _ => Ok(()),
        }
    }

    /// What a loop goes through: items, characters, keys.
    pub fn items(&self, budget: &Budget) -> Result<Vec<Self>, Fault> {
        let copied = |items: &[Self]| {
            budget.spend(4 * items.len())?;
            Ok(items.to_vec())
        };
        match self {
            Self::Undefined(_) => Ok(vec![]),
            Self::Str(text) | Self::Safe(text) => {
                // Each character becomes a text of its own.
                budget.spend(8 * text.len())?;
                Ok(text.chars().map(|c| Self::str(c.encode_utf8(&mut [0; 4]))).collect())
            }
            Self::List(items) | Self::Tuple(items) => copied(&items.items),
            Self::Dict(dict) => {
                budget.spend(4 * dict.entries.len())?;
                Ok(dict.entries.iter().map(|(key, _)| key.clone()).collect())
            }
            Self::Stream(stream) => match stream.kind {
                StreamKind::Generator => copied(stream.take_all()),
                _ => copied(&stream.items),
            },
            other => Err(Fault::new(format!("'{}' object is not iterable", other.type_name()))),
        }
    }

    pub fn length(&self) -> Result<usize, Fault> {
        match self {
            Self::Undefined(_) => Ok(0),
            Self::Str(text) | Self::Safe(text) => Ok(text.chars().count()),
            Self::List(items) | Self::Tuple(items) => Ok(items.items.len()),
            Self::Dict(dict) => Ok(dict.entries.len()),
            Self::Stream(stream) if stream.kind != StreamKind::Generator => Ok(stream.items.len()),
            other => Err(Fault::new(format!("object of type '{}' has no len()", other.type_name()))),
        }
    }
}

impl From<Number> for Value<'_> {
    fn from(number: Number) -> Self {
        match number {
            Number::Int(whole) => Self::Int(whole),
            Number::Float(value) => Self::Float(value),
        }
    }
}

impl<'t> Dict<'t> {
    /// Steps that it takes to look for a key of so many bytes, which is compared with one after the other.
    pub fn cost(&self, bytes: usize) -> usize {
        self.entries.len() * (1 + bytes / 32) / 8
    }

    pub fn get(&self, key: &Value<'t>) -> Option<&Value<'t>> {
        self.entries.iter().find(|(other, _)| other.equals(key)).map(|(_, value)| value)
    }

    pub fn text(&self, key: &str) -> Option<&Value<'t>> {
        self.entries
            .iter()
            .find(|(other, _)| matches!(other, Value::Str(text) if **text == *key))
            .map(|(_, value)| value)
    }
}

//! Arguments of calls.

use super::{Fault, value::Value};

/// Positional arguments, and those by name.
#[derive(Default)]
pub struct Args<'t> {
    pub positional: Vec<Value<'t>>,
    pub named: Vec<(String, Value<'t>)>,
}

impl<'t> Args<'t> {
    /// The arguments in the order of their names; None where one is not given. Fails where others are given.
    pub fn bind<const N: usize>(&self, of: &str, names: [&str; N]) -> Result<[Option<Value<'t>>; N], Fault> {
        if self.positional.len() > N {
            return Err(Fault::new(format!("{of} takes {N} arguments at most, not {}", self.positional.len())));
        }
        let mut bound = [const { None }; N];
        for (slot, value) in bound.iter_mut().zip(&self.positional) {
            *slot = Some(value.clone());
        }
        for (name, value) in &self.named {
            let slot = names.iter().position(|n| n == name).map(|at| &mut bound[at]).filter(|slot| slot.is_none());
            *slot.ok_or_else(|| Fault::new(format!("{of} takes no argument `{name}` here")))? = Some(value.clone());
        }
        Ok(bound)
    }

    /// Fails where an argument is given.
    pub fn none(&self, of: &str) -> Result<(), Fault> {
        self.bind(of, []).map(|[]| ())
    }
}

/// A text.
pub fn text<'v>(value: &'v Value, of: &str) -> Result<&'v str, Fault> {
    match value.defined()? {
        Value::Str(text) => Ok(text),
        other => Err(Fault::new(format!("{of}: expected a text, found a {}", other.type_name()))),
    }
}

/// A whole number that is not far from zero; `default` where there is none.
pub fn whole(value: Option<&Value>, default: i128, of: &str) -> Result<i128, Fault> {
    match value {
        None => Ok(default),
        Some(Value::Int(number)) if number.unsigned_abs() < 1 << 62 => Ok(*number),
        Some(Value::Bool(value)) => Ok(i128::from(*value)),
        Some(other) => Err(Fault::new(format!("{of}: expected a whole number, found a {}", other.type_name()))),
    }
}

/// A count of what is to be made; negative ones are 0, and those beyond the limit an error.
pub fn count(value: Option<&Value>, default: i128, of: &str) -> Result<usize, Fault> {
    const MOST: usize = 100_000;
    let number = whole(value, default, of)?;
    let number = usize::try_from(number.max(0)).unwrap_or(usize::MAX);
    if number > MOST { Err(Fault::new(format!("{of}: {number} is more than {MOST}"))) } else { Ok(number) }
}

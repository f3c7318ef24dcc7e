//! jinja2's tests: `value is name`.

use super::{
    Fault,
    args::Args,
    ast::{Comparison, Operator},
    characters::has_case,
    number::{Number, arithmetic},
    operators::compare,
    value::{StreamKind, Value},
    world::World,
};

/// Whether a test of this name holds.
pub fn holds<'t>(name: &str, value: &Value<'t>, args: &Args<'t>, world: &World<'t>) -> Result<bool, Fault> {
    let other = || args.bind(name, ["other"])?[0].clone().ok_or_else(|| missing(name));
    let compared = |comparison| compare(comparison, value, &other()?, world);
    let text = || super::repr::text(value, &world.budget);
    match name {
        "eq" | "==" | "equalto" => return compared(Comparison::Eq),
        "ne" | "!=" => return compared(Comparison::Ne),
        "lt" | "<" | "lessthan" => return compared(Comparison::Lt),
        "le" | "<=" => return compared(Comparison::Le),
        "gt" | ">" | "greaterthan" => return compared(Comparison::Gt),
        "ge" | ">=" => return compared(Comparison::Ge),
        "in" => return compared(Comparison::In),
        "sameas" => return same(value, &other()?),
        "divisibleby" => {
            let rest = arithmetic(Operator::Mod, numeric(value)?, numeric(&other()?)?)?;
            return Ok(!Value::from(rest).is_true());
        }
        _ => args.none(name)?,
    }
    let rest = |by_two: i128| {
        let rest = arithmetic(Operator::Mod, numeric(value)?, Number::Int(2))?;
        Ok::<_, Fault>(Value::from(rest).equals(&Value::Int(by_two)))
    };
    Ok(match name {
        "defined" => !matches!(value, Value::Undefined(_)),
        "undefined" => matches!(value, Value::Undefined(_)),
        "none" => matches!(value, Value::None),
        "boolean" => matches!(value, Value::Bool(_)),
        "true" => matches!(value, Value::Bool(true)),
        "false" => matches!(value, Value::Bool(false)),
        "integer" => matches!(value, Value::Int(_)),
        "float" => matches!(value, Value::Float(_)),
        "number" => value.number().is_some(),
        "string" => matches!(value, Value::Str(_) | Value::Safe(_)),
        "escaped" => matches!(value, Value::Safe(_)),
        "mapping" => matches!(value, Value::Dict(_)),
        "iterable" => is_sequence(value) || matches!(value, Value::Stream(_) | Value::Loop(_)),
        "sequence" => is_sequence(value),
        // What is not there can be called, and then fails.
        "callable" => matches!(
            value,
            Value::Undefined(_) | Value::Function(_) | Value::Method(_) | Value::Macro(_) | Value::Loop(_)
        ),
        "even" => rest(0)?,
        "odd" => rest(1)?,
        "lower" => has_case(&text()?, char::is_uppercase),
        "upper" => has_case(&text()?, char::is_lowercase),
        _ => return Err(Fault::new(format!("No test named '{name}'"))),
    })
}

/// Whether a value has a length and items.
fn is_sequence(value: &Value) -> bool {
    match value {
        Value::Undefined(_) | Value::Str(_) | Value::Safe(_) => true,
        Value::List(_) | Value::Tuple(_) | Value::Dict(_) => true,
        Value::Stream(stream) => stream.kind == StreamKind::Range,
        _ => false,
    }
}

fn missing(name: &str) -> Fault {
    Fault::new(format!("the test `{name}` takes an argument"))
}

fn numeric(value: &Value) -> Result<Number, Fault> {
    value.defined()?.number().ok_or_else(|| Fault::new(format!("a {} is no number", value.type_name())))
}

/// `a is b`, where Python's identity is known.
fn same<'t>(a: &Value<'t>, b: &Value<'t>) -> Result<bool, Fault> {
    match (a, b) {
        (Value::Namespace(a), Value::Namespace(b)) => Ok(a == b),
        _ if a.type_name() != b.type_name() => Ok(false),
        (Value::None | Value::Bool(_) | Value::Int(_) | Value::Str(_), _) => Ok(a.equals(b)),
        _ => Err(Fault::new(format!("`sameas` of a {} is not supported", a.type_name()))),
    }
}

//! Operators between values.

use super::{
    Fault,
    ast::{Comparison, Operator},
    format,
    number::arithmetic,
    repr,
    value::Value,
    world::World,
};
use std::cmp::Ordering;

/// `a operator b`.
pub fn binary<'t>(operator: Operator, a: &Value<'t>, b: &Value<'t>, world: &World<'t>) -> Result<Value<'t>, Fault> {
    let budget = &world.budget;
    match (operator, a.defined()?, b.defined()?) {
        (Operator::Add, Value::Str(a), Value::Str(b)) => {
            budget.text(a.len() + b.len())?;
            Ok(Value::str([&**a, b].concat()))
        }
        (Operator::Add, Value::List(a), Value::List(b)) => {
            budget.spend(a.items.len() + b.items.len())?;
            Value::list([&a.items[..], &b.items].concat(), budget)
        }
        (Operator::Add, Value::Tuple(a), Value::Tuple(b)) => {
            budget.spend(a.items.len() + b.items.len())?;
            Value::tuple([&a.items[..], &b.items].concat(), budget)
        }
        (Operator::Mod, Value::Str(format), values) => format::percent(format, values, world),
        (Operator::Mul, Value::Str(text), Value::Int(times)) | (Operator::Mul, Value::Int(times), Value::Str(text)) => {
            let times = usize::try_from(*times.max(&0)).unwrap_or(usize::MAX);
            budget.text(text.len().saturating_mul(times))?;
            Ok(Value::str(text.repeat(if text.is_empty() { 0 } else { times })))
        }
        (Operator::Mul, Value::List(items), Value::Int(times))
        | (Operator::Mul, Value::Int(times), Value::List(items)) => {
            let times = usize::try_from(*times.max(&0)).unwrap_or(usize::MAX);
            budget.spend(items.items.len().saturating_mul(times))?;
            let times = if items.items.is_empty() { 0 } else { times };
            Value::list(std::iter::repeat_n(&items.items, times).flatten().cloned().collect(), budget)
        }
        (_, a, b) => match (a.number(), b.number()) {
            (Some(x), Some(y)) => arithmetic(operator, x, y).map(Value::from),
            _ => Err(Fault::new(format!(
                "unsupported operand type(s) for {operator:?}: '{}' and '{}'",
                a.type_name(),
                b.type_name()
            ))),
        },
    }
}

/// `a comparison b`.
pub fn compare<'t>(comparison: Comparison, a: &Value<'t>, b: &Value<'t>, world: &World<'t>) -> Result<bool, Fault> {
    world.budget.spend(match comparison {
        Comparison::In | Comparison::NotIn => b.steps(),
        _ => a.steps().min(b.steps()),
    })?;
    let order = |wanted: fn(Ordering) -> bool| a.order(b).map(|order| order.is_some_and(wanted));
    match comparison {
        Comparison::Eq => Ok(a.equals(b)),
        Comparison::Ne => Ok(!a.equals(b)),
        Comparison::Lt => order(Ordering::is_lt),
        Comparison::Le => order(Ordering::is_le),
        Comparison::Gt => order(Ordering::is_gt),
        Comparison::Ge => order(Ordering::is_ge),
        Comparison::In => b.contains(a),
        Comparison::NotIn => compare(Comparison::In, a, b, world).map(|found| !found),
    }
}

/// `a ~ b ~ ...`.
pub fn concat<'t>(values: &[Value<'t>], world: &World<'t>) -> Result<Value<'t>, Fault> {
    let mut out = String::new();
    for value in values {
        out.push_str(&repr::text(value, &world.budget)?);
    }
    Ok(Value::str(out))
}

//! Attributes, items and slices, as jinja2 looks them up: `a.b` asks for an attribute first and `a['b']` for an item
//! first, so that `a.items` is a map's method even where it has such a key.

use super::{
    Fault, methods,
    value::{StreamKind, Value},
    world::World,
};

/// `value.name`.
pub fn attribute<'t>(value: &Value<'t>, name: &str, world: &World<'t>) -> Result<Value<'t>, Fault> {
    if methods::of(value).contains(&name) {
        return Ok(Value::Method((value.clone(), name.to_owned()).into()));
    }
    let found = match value.defined()? {
        Value::Dict(dict) => {
            world.budget.spend(dict.cost(name.len()))?;
            dict.text(name).cloned()
        }
        Value::Namespace(index) => {
            let namespaces = world.namespaces.borrow();
            world.budget.spend(namespaces[*index].len() * (1 + name.len() / 32) / 8)?;
            namespaces[*index].iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
        }
        Value::Loop(state) => {
            if let Some(index) = state.looks_at(name) {
                state.feed.look_ahead(state.of, index)?;
            }
            let items = state.feed.kept.borrow();
            let (index, length) = (state.index, items.len());
            let number = |n: usize| Some(Value::Int(n as i128));
            let item = |at: Option<usize>| at.and_then(|at| items.get(at)).cloned();
            match name {
                "index" => number(index + 1),
                "index0" => number(index),
                "revindex" => number(length - index),
                "revindex0" => number(length - index - 1),
                "first" => Some(Value::Bool(index == 0)),
                "last" => Some(Value::Bool(index + 1 == length)),
                "length" => number(length),
                "depth" => number(state.depth + 1),
                "depth0" => number(state.depth),
                "previtem" => item(index.checked_sub(1)),
                "nextitem" => item(Some(index + 1)),
                _ => None,
            }
        }
        Value::Macro(of) if name == "name" => Some(Value::str(&of.of.name)),
        Value::Safe(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Bool(_)
        | Value::Function(_)
        | Value::Method(_)
        | Value::Macro(_) => {
            return Err(Fault::new(format!("the attribute `{name}` of a {} is not supported", value.type_name())));
        }
        _ => None,
    };
    found.map_or_else(|| missing(value, name, world), Ok)
}

/// `value[key]`.
pub fn item<'t>(value: &Value<'t>, key: &Value<'t>, world: &World<'t>) -> Result<Value<'t>, Fault> {
    let at = match key {
        Value::Int(at) => Some(*at),
        Value::Bool(at) => Some(i128::from(*at)),
        _ => None,
    };
    let place = |at: i128, length: usize| usize::try_from(if at < 0 { at + length as i128 } else { at }).ok();
    let found = match (value.defined()?, at) {
        (Value::Dict(dict), _) => {
            world.budget.spend(dict.cost(if let Value::Str(key) = key { key.len() } else { 0 }))?;
            dict.get(key).cloned()
        }
        (Value::List(items) | Value::Tuple(items), Some(at)) => {
            place(at, items.items.len()).and_then(|at| items.items.get(at)).cloned()
        }
        (Value::Stream(stream), Some(at)) if stream.kind == StreamKind::Range => {
            place(at, stream.items.len()).and_then(|at| stream.items.get(at)).cloned()
        }
        (Value::Str(text), Some(at)) => {
            world.budget.text(text.len())?;
            let c = place(at, text.chars().count()).and_then(|at| text.chars().nth(at));
            c.map(|c| Value::str(c.encode_utf8(&mut [0; 4])))
        }
        _ => None,
    };
    match (found, key) {
        (Some(found), _) => Ok(found),
        (None, Value::Str(name)) => attribute(value, name, world),
        (None, _) if matches!(value, Value::Safe(_)) => Err(Fault::new("a character of escaped text is not supported")),
        (None, Value::Int(at)) => missing(value, &at.to_string(), world),
        (None, other) => missing(value, other.type_name(), world),
    }
}

fn missing<'t>(value: &Value, name: &str, world: &World<'t>) -> Result<Value<'t>, Fault> {
    world.budget.text(2 * name.len())?;
    Ok(Value::undefined(format!("'{} object' has no attribute '{name}'", value.type_name())))
}

/// `value[start:stop:step]`.
pub fn slice<'t>(value: &Value<'t>, parts: [Value<'t>; 3], world: &World<'t>) -> Result<Value<'t>, Fault> {
    let number = |part: &Value| match part {
        Value::None => Ok(None),
        Value::Int(number) => Ok(Some(*number)),
        Value::Bool(number) => Ok(Some(i128::from(*number))),
        other => Err(Fault::new(format!("a slice has a {} in it", other.type_name()))),
    };
    let [start, stop, step] = [number(&parts[0])?, number(&parts[1])?, number(&parts[2])?];
    match value.defined()? {
        Value::Str(text) => {
            world.budget.text(text.len())?;
            let chars: Vec<char> = text.chars().collect();
            Ok(Value::str(places(chars.len(), start, stop, step)?.map(|at| chars[at]).collect::<String>()))
        }
        Value::List(items) => {
            let picked = places(items.items.len(), start, stop, step)?.map(|at| items.items[at].clone()).collect();
            Value::list(picked, &world.budget)
        }
        Value::Tuple(items) => {
            let picked = places(items.items.len(), start, stop, step)?.map(|at| items.items[at].clone()).collect();
            Value::tuple(picked, &world.budget)
        }
        Value::Stream(range) if range.kind == StreamKind::Range => {
            let picked = places(range.items.len(), start, stop, step)?.map(|at| range.items[at].clone()).collect();
            Value::stream(StreamKind::Range, picked, &world.budget)
        }
        other => Err(Fault::new(format!("'{}' object is not subscriptable", other.type_name()))),
    }
}

/// The places that Python's slice takes of so many items.
fn places(
    length: usize,
    start: Option<i128>,
    stop: Option<i128>,
    step: Option<i128>,
) -> Result<impl Iterator<Item = usize>, Fault> {
    let (length, step) = (length as i128, step.unwrap_or(1));
    if step == 0 {
        return Err(Fault::new("slice step cannot be zero"));
    }
    let (lowest, highest) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let bound = |at: i128| if at < 0 { at.saturating_add(length) } else { at }.clamp(lowest, highest);
    let (first, last) = if step > 0 { (lowest, highest) } else { (highest, lowest) };
    let (start, stop) = (start.map_or(first, bound), stop.map_or(last, bound));
    let places = std::iter::successors(Some(start), move |at| at.checked_add(step));
    Ok(places.take_while(move |at| if step > 0 { *at < stop } else { *at > stop }).map(|at| at as usize))
}

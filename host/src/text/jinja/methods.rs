//! Methods of Python's types.

mod date;
pub mod text;

use super::{
    Fault,
    args::{Args, count},
    value::{DEEPEST, LoopState, StreamKind, Value},
    world::World,
};

const DICT: [&str; 11] =
    ["clear", "copy", "fromkeys", "get", "items", "keys", "pop", "popitem", "setdefault", "update", "values"];
const LIST: [&str; 11] =
    ["append", "clear", "copy", "count", "extend", "index", "insert", "pop", "remove", "reverse", "sort"];
const TUPLE: [&str; 2] = ["count", "index"];
const LOOP: [&str; 2] = ["changed", "cycle"];

/// Names of the methods of a value.
pub fn of(value: &Value) -> &'static [&'static str] {
    match value {
        Value::Dict(_) => &DICT,
        Value::List(_) => &LIST,
        Value::Tuple(_) => &TUPLE,
        Value::Loop(_) => &LOOP,
        Value::Str(_) => &text::NAMES,
        _ => &[],
    }
}

/// `value.name(args)`, for a name that [`of`] has.
pub fn call<'t>(value: &Value<'t>, name: &str, args: &Args<'t>, world: &World<'t>) -> Result<Value<'t>, Fault> {
    let budget = &world.budget;
    match value {
        Value::Str(of) => text::call(of, name, args, world),
        Value::Loop(state) => {
            budget.spend(args.positional.iter().map(Value::steps).fold(0, usize::saturating_add))?;
            of_loop(state, name, args)
        }
        Value::Dict(dict) => match name {
            "get" => {
                let [key, default] = args.bind("get", ["", ""])?;
                let key = key.ok_or_else(|| Fault::new("get takes a key"))?;
                budget.spend(dict.cost(if let Value::Str(key) = &key { key.len() } else { 0 }))?;
                Ok(dict.get(&key).cloned().or(default).unwrap_or(Value::None))
            }
            "items" | "keys" | "values" => {
                args.none(name)?;
                budget.spend(8 * dict.entries.len())?;
                let pairs = dict.entries.iter();
                let items = pairs.map(|(key, value)| match name {
                    "keys" => Ok(key.clone()),
                    "values" => Ok(value.clone()),
                    _ => Value::tuple(vec![key.clone(), value.clone()], budget),
                });
                Value::stream(StreamKind::View, items.collect::<Result<_, _>>()?, budget)
            }
            "copy" => args.none("copy").map(|()| value.clone()),
            "fromkeys" => Err(Fault::new("fromkeys is not supported")),
            _ => Err(unsafe_call("dict", name)),
        },
        Value::List(items) | Value::Tuple(items) => match name {
            "count" | "index" => {
                let [wanted] = args.bind(name, [""])?;
                let wanted = wanted.ok_or_else(|| Fault::new(format!("{name} takes a value")))?;
                budget.spend(value.steps())?;
                let mut found = items.items.iter().enumerate().filter(|(_, item)| item.equals(&wanted));
                if name == "count" {
                    return Ok(Value::Int(found.count() as i128));
                }
                let found = found.next().ok_or_else(|| Fault::new("the value is not in the list"))?;
                Ok(Value::Int(found.0 as i128))
            }
            "copy" => args.none("copy").map(|()| value.clone()),
            _ => Err(unsafe_call("list", name)),
        },
        other => Err(Fault::new(format!("a {} has no method {name}", other.type_name()))),
    }
}

fn unsafe_call(kind: &str, name: &str) -> Fault {
    Fault::new(format!("access to attribute '{name}' of '{kind}' object is unsafe: the sandbox changes no value"))
}

fn of_loop<'t>(state: &LoopState<'t>, name: &str, args: &Args<'t>) -> Result<Value<'t>, Fault> {
    if !args.named.is_empty() {
        return Err(Fault::new(format!("loop.{name} takes no named arguments")));
    }
    if name == "cycle" {
        let all = &args.positional;
        return match all.len() {
            0 => Err(Fault::new("no items for cycling given")),
            n => Ok(all[state.index % n].clone()),
        };
    }
    // A loop that a loop holds would hold on to itself, or lie in others without end.
    if args.positional.iter().any(|value| value.depth() >= DEEPEST) {
        return Err(Fault::new("loop.changed takes no loops"));
    }
    let mut last = state.changed.borrow_mut();
    let equal = |old: &Vec<Value<'t>>| {
        old.len() == args.positional.len() && old.iter().zip(&args.positional).all(|(a, b)| a.equals(b))
    };
    if last.as_ref().is_some_and(equal) {
        return Ok(Value::Bool(false));
    }
    *last = Some(args.positional.clone());
    Ok(Value::Bool(true))
}

/// The functions that every template has.
pub fn function<'t>(name: &str, args: &Args<'t>, world: &World<'t>) -> Result<Value<'t>, Fault> {
    let budget = &world.budget;
    match name {
        "range" => {
            let [first, second, step] = args.bind("range", ["", "", ""])?;
            let number = |value: &Option<Value>, default| super::args::whole(value.as_ref(), default, "range");
            let (start, stop) = match &second {
                Some(_) => (number(&first, 0)?, number(&second, 0)?),
                None if first.is_none() => return Err(Fault::new("range takes one to three numbers")),
                None => (0, number(&first, 0)?),
            };
            let step = number(&step, 1)?;
            if step == 0 {
                return Err(Fault::new("range() arg 3 must not be zero"));
            }
            let distance = if step > 0 { stop - start } else { start - stop };
            let length = (distance.max(0) + step.abs() - 1) / step.abs();
            let length = count(Some(&Value::Int(length)), 0, "range")?;
            let items = (0..length as i128).map(|i| Value::Int(start + i * step)).collect();
            Value::stream(StreamKind::Range, items, budget)
        }
        "dict" => {
            let entries = match &args.positional[..] {
                [] => vec![],
                [Value::Dict(dict)] => dict.entries.clone(),
                [_] => return Err(Fault::new("dict of a list is not supported")),
                _ => return Err(Fault::new("dict takes one argument at most")),
            };
            let named = args.named.iter().map(|(name, value)| (Value::str(name), value.clone()));
            Value::dict(entries.into_iter().chain(named), budget)
        }
        "namespace" => {
            let mut attributes: Vec<(String, Value)> = match &args.positional[..] {
                [] => vec![],
                [Value::Dict(dict)] => {
                    let entries = dict.entries.iter();
                    let texts = entries.map(|(k, v)| Ok((super::args::text(k, "namespace")?.to_owned(), v.clone())));
                    texts.collect::<Result<_, Fault>>()?
                }
                _ => return Err(Fault::new("namespace takes one map at most")),
            };
            for (name, value) in &args.named {
                attributes.retain(|(other, _)| other != name);
                attributes.push((name.clone(), value.clone()));
            }
            if let Some((name, _)) = attributes.iter().find(|(name, _)| name.starts_with('_')) {
                return Err(Fault::new(format!("a namespace cannot have the attribute `{name}`")));
            }
            budget.spend(16 + attributes.len())?;
            let mut all = world.namespaces.borrow_mut();
            all.push(attributes);
            Ok(Value::Namespace(all.len() - 1))
        }
        "raise_exception" => {
            let [message] = args.bind("raise_exception", ["message"])?;
            let message = message.ok_or_else(|| Fault::new("raise_exception takes a message"))?;
            Err(Fault::new(super::repr::text(&message, budget)?))
        }
        "strftime_now" => {
            let [format] = args.bind("strftime_now", ["format"])?;
            let format = format.ok_or_else(|| Fault::new("strftime_now takes a format"))?;
            date::date(super::args::text(&format, "strftime_now")?).map(Value::str)
        }
        other => Err(Fault::new(format!("the function `{other}` is not supported"))),
    }
}

/// Names of the functions that every template has.
pub const FUNCTIONS: [&str; 9] =
    ["range", "dict", "namespace", "raise_exception", "strftime_now", "lipsum", "cycler", "joiner", "self"];

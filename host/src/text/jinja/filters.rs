//! jinja2's filters, with `tojson` as transformers has it.

mod lists;
mod texts;

use super::{
    Fault,
    args::{Args, whole},
    json,
    lookup::{attribute, item},
    number::Number,
    repr,
    value::{StreamKind, Value},
    world::World,
};

/// Names of all filters. Those that are not supported are errors.
pub const NAMES: [&str; 54] = [
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "filesizeformat",
    "first",
    "float",
    "forceescape",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "random",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "urlize",
    "wordcount",
    "wordwrap",
    "xmlattr",
];

/// `value | name(args)`.
pub fn apply<'t>(name: &str, value: &Value<'t>, args: &Args<'t>, world: &World<'t>) -> Result<Value<'t>, Fault> {
    world.budget.spend(1)?;
    let budget = &world.budget;
    Ok(match name {
        "tojson" => json::dumps(value, args, budget)?,
        "length" | "count" => args.none(name).and_then(|()| value.length()).map(|n| Value::Int(n as i128))?,
        "default" | "d" => {
            let [default, falsy] = args.bind(name, ["default_value", "boolean"])?;
            let replaced = matches!(value, Value::Undefined(_))
                || (falsy.is_some_and(|falsy| falsy.is_true()) && !value.is_true());
            if replaced { default.unwrap_or_else(|| Value::str("")) } else { value.clone() }
        }
        "attr" => {
            let [name] = args.bind("attr", ["name"])?;
            let name = name.ok_or_else(|| Fault::new("attr takes a name"))?;
            match value.defined()? {
                Value::Dict(_) => Value::undefined("a map's keys are no attributes"),
                value => attribute(value, super::args::text(&name, "attr")?, world)?,
            }
        }
        "items" => {
            args.none(name)?;
            let pairs = match value {
                Value::Undefined(_) => vec![],
                Value::Dict(dict) => {
                    budget.spend(8 * dict.entries.len())?;
                    dict.entries.clone()
                }
                _ => return Err(Fault::new("Can only get item pairs from a mapping.")),
            };
            let pairs = pairs.into_iter().map(|(key, value)| Value::tuple(vec![key, value], budget));
            Value::stream(StreamKind::Generator, pairs.collect::<Result<_, _>>()?, budget)?
        }
        "int" => {
            let [default, base] = args.bind(name, ["default", "base"])?;
            if whole(base.as_ref(), 10, name)? != 10 {
                return Err(Fault::new("int of another base is not supported"));
            }
            to_int(value)?.unwrap_or_else(|| default.unwrap_or(Value::Int(0)))
        }
        "float" => {
            let [default] = args.bind(name, ["default"])?;
            let parsed = match value.defined()? {
                Value::Str(text) => parse_float(text)?,
                other => other.number().map(Number::float),
            };
            parsed.map_or_else(|| default.unwrap_or(Value::Float(0.0)), Value::Float)
        }
        "abs" => match (args.none(name), value.defined()?.number()) {
            (Ok(()), Some(Number::Int(whole))) => Value::Int(whole.saturating_abs()),
            (Ok(()), Some(Number::Float(value))) => Value::Float(value.abs()),
            _ => return Err(Fault::new("abs takes a number")),
        },
        "round" => round(value, args)?,
        "batch" | "slice" | "dictsort" | "first" | "groupby" | "join" | "last" | "list" | "map" | "max" | "min"
        | "reject" | "rejectattr" | "reverse" | "select" | "selectattr" | "sort" | "sum" | "unique" => {
            lists::apply(name, value, args, world)?
        }
        "capitalize" | "center" | "e" | "escape" | "forceescape" | "format" | "indent" | "lower" | "replace"
        | "safe" | "string" | "title" | "trim" | "truncate" | "upper" | "wordcount" => {
            texts::apply(name, value, args, world)?
        }
        _ if NAMES.contains(&name) => return Err(Fault::new(format!("the filter `{name}` is not supported"))),
        _ => return Err(Fault::new(format!("No filter named '{name}'."))),
    })
}

/// A value's attribute by jinja2's path, such as `function.name` or `0`.
fn by_path<'t>(value: &Value<'t>, path: &Value<'t>, world: &World<'t>) -> Result<Value<'t>, Fault> {
    match path {
        Value::Str(path) => path.split('.').try_fold(value.clone(), |value, part| {
            let key = part.parse().map_or_else(|_| Value::str(part), Value::Int);
            item(&value, &key, world)
        }),
        other => item(value, other, world),
    }
}

/// A whole number; None where the value is none.
fn to_int<'t>(value: &Value<'t>) -> Result<Option<Value<'t>>, Fault> {
    let of_float = |value: f64| {
        if value.is_finite() && value.abs() < 1e30 { Some(Value::Int(value.trunc() as i128)) } else { None }
    };
    Ok(match value.defined()? {
        Value::Str(text) => {
            let digits = text.trim_matches(super::characters::is_space);
            match digits.parse() {
                Ok(whole) => Some(Value::Int(whole)),
                Err(_) => parse_float(text)?.and_then(of_float),
            }
        }
        other => match other.number() {
            Some(Number::Int(whole)) => Some(Value::Int(whole)),
            Some(Number::Float(value)) => of_float(value),
            None => None,
        },
    })
}

/// A number as Python's `float` reads it; None where it is none.
fn parse_float(text: &str) -> Result<Option<f64>, Fault> {
    let digits = text.trim_matches(super::characters::is_space);
    if !digits.is_ascii() || digits.contains('_') {
        return Err(Fault::new(format!("{digits:?} as a number is not supported")));
    }
    Ok(digits.parse().ok())
}

fn round<'t>(value: &Value<'t>, args: &Args<'t>) -> Result<Value<'t>, Fault> {
    let [precision, method] = args.bind("round", ["precision", "method"])?;
    let precision = whole(precision.as_ref(), 0, "round")?;
    let places = usize::try_from(precision).ok().filter(|places| *places <= 15);
    let places = places.ok_or_else(|| Fault::new("round takes a precision from 0 to 15"))?;
    let method = method.unwrap_or_else(|| Value::str("common"));
    let value = value.defined()?.number().ok_or_else(|| Fault::new("round takes a number"))?;
    let scale = 10f64.powi(places as i32);
    Ok(match (super::args::text(&method, "round")?, value) {
        ("common", Number::Int(whole)) => Value::Int(whole),
        // Both Rust and Python round the exact decimal value, and halves to even.
        ("common", Number::Float(value)) => Value::Float(format!("{value:.places$}").parse().unwrap_or(value)),
        ("ceil", value) => Value::Float((value.float() * scale).ceil() / scale),
        ("floor", value) => Value::Float((value.float() * scale).floor() / scale),
        _ => return Err(Fault::new("method must be common, ceil or floor")),
    })
}

/// The text of a value.
fn text(value: &Value, world: &World) -> Result<String, Fault> {
    repr::text(value, &world.budget)
}

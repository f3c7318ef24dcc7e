//! Filters of lists and of what else can be gone through.

use super::{apply as filter, by_path, text};
use crate::text::jinja::{
    Fault,
    args::{Args, count},
    ast::Operator,
    checks, operators,
    value::{StreamKind, Value},
    world::World,
};
use std::{cmp::Ordering, rc::Rc};

/// `value | name(args)`.
pub fn apply<'t>(name: &str, value: &Value<'t>, args: &Args<'t>, world: &World<'t>) -> Result<Value<'t>, Fault> {
    let budget = &world.budget;
    let generator = |items: Vec<Value<'t>>| Value::stream(StreamKind::Generator, items, budget);
    match name {
        "list" => args.none(name).and_then(|()| Value::list(value.items(budget)?, budget)),
        "first" | "last" => {
            args.none(name)?;
            if name == "last" && matches!(value, Value::Stream(stream) if stream.kind == StreamKind::Generator) {
                return Err(Fault::new("'generator' object is not reversible"));
            }
            let found = match value {
                // The others are still there.
                Value::Stream(stream) if stream.kind == StreamKind::Generator => stream.next(),
                other if name == "first" => other.items(budget)?.into_iter().next(),
                other => other.items(budget)?.pop(),
            };
            Ok(found.unwrap_or_else(|| Value::undefined(format!("No {name} item, sequence was empty."))))
        }
        "reverse" => {
            args.none(name)?;
            match value {
                Value::Str(text) => Ok(Value::str(text.chars().rev().collect::<String>())),
                other => generator(other.items(budget)?.into_iter().rev().collect()),
            }
        }
        "join" => {
            let [separator, path] = args.bind(name, ["d", "attribute"])?;
            let separator = separator.map_or(Ok(String::new()), |separator| text(&separator, world))?;
            let mut out = String::new();
            for (i, item) in value.items(budget)?.iter().enumerate() {
                let item = match &path {
                    Some(path) => text(&by_path(item, path, world)?, world)?,
                    None => text(item, world)?,
                };
                budget.text(item.len() + separator.len())?;
                out.push_str(if i > 0 { &separator } else { "" });
                out.push_str(&item);
            }
            Ok(Value::str(out))
        }
        "map" => map(value, args, world),
        "select" | "reject" | "selectattr" | "rejectattr" => {
            let mut rest = args.positional.iter().cloned();
            let path = match name.ends_with("attr") {
                true => Some(rest.next().ok_or_else(|| Fault::new("Missing parameter for attribute name"))?),
                false => None,
            };
            let test = rest.next();
            let test = test.as_ref().map(|test| crate::text::jinja::args::text(test, name)).transpose()?;
            let args = Args { positional: rest.collect(), named: args.named.clone() };
            let mut kept = vec![];
            for item in value.items(budget)? {
                let looked_at = path.as_ref().map_or(Ok(item.clone()), |path| by_path(&item, path, world))?;
                let holds = match test {
                    Some(test) => checks::holds(test, &looked_at, &args, world)?,
                    None => looked_at.is_true(),
                };
                if holds == name.starts_with("select") {
                    kept.push(item);
                }
            }
            generator(kept)
        }
        "batch" | "slice" => {
            let parameter = if name == "batch" { "linecount" } else { "slices" };
            let [size, fill] = args.bind(name, [parameter, "fill_with"])?;
            let size = count(size.as_ref(), 0, name)?;
            if size == 0 {
                return Err(Fault::new(format!("{name} takes a count of at least 1")));
            }
            let (items, fill) = (value.items(budget)?, fill.filter(|fill| !matches!(fill, Value::None)));
            let mut parts: Vec<Vec<Value>> = vec![];
            if name == "batch" {
                parts.extend(items.chunks(size).map(<[Value]>::to_vec));
                if let (Some(fill), Some(last)) = (&fill, parts.last_mut()) {
                    last.resize(size, fill.clone());
                }
            } else {
                budget.spend(size)?;
                let (per, more) = (items.len() / size, items.len() % size);
                for i in 0..size {
                    let start = i * per + i.min(more);
                    let mut part = items[start..start + per + usize::from(i < more)].to_vec();
                    part.extend(fill.clone().filter(|_| i >= more));
                    parts.push(part);
                }
            }
            generator(parts.into_iter().map(|part| Value::list(part, budget)).collect::<Result<_, _>>()?)
        }
        "sort" => {
            let [reverse, cased, path] = args.bind(name, ["reverse", "case_sensitive", "attribute"])?;
            let key = Key { path, cased: is_true(&cased), world };
            Value::list(key.sorted(value.items(budget)?, is_true(&reverse))?, budget)
        }
        "dictsort" => {
            let [cased, by, reverse] = args.bind(name, ["case_sensitive", "by", "reverse"])?;
            let Value::Dict(dict) = value.defined()? else { return Err(Fault::new("dictsort takes a map")) };
            let by = match by.as_ref().map_or(Ok("key"), |by| crate::text::jinja::args::text(by, name))? {
                "key" => 0,
                "value" => 1,
                _ => return Err(Fault::new("You can only sort by either \"key\" or \"value\"")),
            };
            let pairs = dict.entries.iter().map(|(key, value)| Value::tuple(vec![key.clone(), value.clone()], budget));
            let key = Key { path: Some(Value::Int(by)), cased: is_true(&cased), world };
            Value::list(key.sorted(pairs.collect::<Result<_, _>>()?, is_true(&reverse))?, budget)
        }
        "unique" => {
            let [cased, path] = args.bind(name, ["case_sensitive", "attribute"])?;
            let key = Key { path, cased: is_true(&cased), world };
            let (mut seen, mut kept): (Vec<Value>, Vec<Value>) = (vec![], vec![]);
            for item in value.items(budget)? {
                let of = key.of(&item)?;
                of.hashable()?;
                budget.spend((1 + seen.len() / 8).saturating_mul(of.steps()))?;
                if !seen.iter().any(|other| other.equals(&of)) {
                    seen.push(of);
                    kept.push(item);
                }
            }
            generator(kept)
        }
        "min" | "max" => {
            let [cased, path] = args.bind(name, ["case_sensitive", "attribute"])?;
            let key = Key { path, cased: is_true(&cased), world };
            let wanted = if name == "min" { Ordering::Less } else { Ordering::Greater };
            let mut best: Option<(Value, Value)> = None;
            for item in value.items(budget)? {
                let of = key.of(&item)?;
                budget.spend(of.steps())?;
                let better = match &best {
                    Some((best, _)) => of.order(best)? == Some(wanted),
                    None => true,
                };
                if better {
                    best = Some((of, item));
                }
            }
            Ok(best.map_or_else(|| Value::undefined("No aggregated item, sequence was empty."), |(_, item)| item))
        }
        "sum" => {
            let [path, start] = args.bind(name, ["attribute", "start"])?;
            let path = path.filter(|path| !matches!(path, Value::None));
            value.items(budget)?.iter().try_fold(start.unwrap_or(Value::Int(0)), |sum, item| {
                let item = path.as_ref().map_or(Ok(item.clone()), |path| by_path(item, path, world))?;
                operators::binary(Operator::Add, &sum, &item, world)
            })
        }
        "groupby" => {
            let [path, default, cased] = args.bind(name, ["attribute", "default", "case_sensitive"])?;
            if default.is_some() || path.is_none() {
                return Err(Fault::new("groupby takes an attribute, and its default is not supported"));
            }
            let exact = Key { path: path.clone(), cased: true, world };
            let key = Key { path, cased: is_true(&cased), world };
            let mut groups: Vec<(Value, Value, Vec<Value>)> = vec![];
            for item in key.sorted(value.items(budget)?, false)? {
                let of = key.of(&item)?;
                match groups.last_mut().filter(|(last, ..)| last.equals(&of)) {
                    Some((.., members)) => members.push(item),
                    None => groups.push((of, exact.of(&item)?, vec![item])),
                }
            }
            let groups = groups.into_iter().map(|(_, of, members)| {
                let members = Value::list(members, budget)?;
                Value::tuple(vec![of, members], budget)
            });
            Value::list(groups.collect::<Result<_, _>>()?, budget)
        }
        other => Err(Fault::new(format!("the filter `{other}` is not supported"))),
    }
}

fn is_true(value: &Option<Value>) -> bool {
    value.as_ref().is_some_and(Value::is_true)
}

fn map<'t>(value: &Value<'t>, args: &Args<'t>, world: &World<'t>) -> Result<Value<'t>, Fault> {
    let budget = &world.budget;
    let items = value.items(budget)?;
    let mapped: Result<Vec<Value>, Fault> = match &args.positional[..] {
        [] => {
            let [path, default] = args.bind("map", ["attribute", "default"])?;
            let path = path.ok_or_else(|| Fault::new("map requires a filter argument"))?;
            let read = |item: &Value<'t>| {
                let found = by_path(item, &path, world)?;
                Ok(default.clone().filter(|_| matches!(found, Value::Undefined(_))).unwrap_or(found))
            };
            items.iter().map(read).collect()
        }
        [name, rest @ ..] => {
            let name = crate::text::jinja::args::text(name, "map")?;
            budget.spend(rest.len())?;
            let args = Args { positional: rest.to_vec(), named: args.named.clone() };
            // A filter may be `map` again.
            budget.enter()?;
            let mapped = items.iter().map(|item| filter(name, item, &args, world)).collect();
            budget.leave();
            mapped
        }
    };
    Value::stream(StreamKind::Generator, mapped?, budget)
}

/// What items are told apart and sorted by: their attribute, texts in lower case unless case counts.
struct Key<'a, 't> {
    path: Option<Value<'t>>,
    cased: bool,
    world: &'a World<'t>,
}

impl<'t> Key<'_, 't> {
    fn of(&self, item: &Value<'t>) -> Result<Value<'t>, Fault> {
        let path = self.path.as_ref().filter(|path| !matches!(path, Value::None));
        let of = path.map_or(Ok(item.clone()), |path| by_path(item, path, self.world))?;
        Ok(match of {
            Value::Str(text) if !self.cased => Value::Str(Rc::from(text.to_lowercase())),
            other => other,
        })
    }

    fn sorted(&self, items: Vec<Value<'t>>, reverse: bool) -> Result<Vec<Value<'t>>, Fault> {
        let steps = items.iter().map(Value::steps).fold(0, usize::saturating_add);
        self.world.budget.spend(steps.saturating_mul(items.len().max(2).ilog2() as usize))?;
        let keyed = items.into_iter().map(|item| Ok((self.of(&item)?, item)));
        let mut keyed = keyed.collect::<Result<Vec<_>, Fault>>()?;
        let mut fault = None;
        keyed.sort_by(|(a, _), (b, _)| {
            let order = a.order(b).unwrap_or_else(|e| {
                fault.get_or_insert(e);
                None
            });
            // Equal items keep their order in both directions, as in Python.
            let order = order.unwrap_or(Ordering::Equal);
            if reverse { order.reverse() } else { order }
        });
        match fault {
            Some(fault) => Err(fault),
            None => Ok(keyed.into_iter().map(|(_, item)| item).collect()),
        }
    }
}

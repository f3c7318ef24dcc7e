//! Filters of texts.

use super::text;
use crate::text::jinja::{
    Fault,
    args::{Args, count, whole},
    characters::{is_space, lines},
    format, methods,
    value::Value,
    world::World,
};

/// `value | name(args)`.
pub fn apply<'t>(name: &str, value: &Value<'t>, args: &Args<'t>, world: &World<'t>) -> Result<Value<'t>, Fault> {
    if matches!(value, Value::Safe(_)) && !["string", "safe", "escape", "e"].contains(&name) {
        return Err(Fault::new(format!("{name} of escaped text is not supported")));
    }
    if ["indent", "truncate"].contains(&name) {
        crate::text::jinja::args::text(value, name)?;
    }
    let of = text(value, world)?;
    let made = |text: String| {
        world.budget.text(text.len())?;
        Ok(Value::str(text))
    };
    match name {
        "string" => args.none(name).map(|()| match value {
            Value::Safe(_) => value.clone(),
            _ => Value::str(of),
        }),
        "safe" => args.none(name).map(|()| Value::Safe(of.into())),
        "e" | "escape" | "forceescape" => {
            args.none(name)?;
            if matches!(value, Value::Safe(_)) && name != "forceescape" {
                return Ok(value.clone());
            }
            let signs = [("&", "&amp;"), (">", "&gt;"), ("<", "&lt;"), ("'", "&#39;"), ("\"", "&#34;")];
            let escaped = signs.iter().fold(of, |text, (sign, escape)| text.replace(sign, escape));
            world.budget.text(escaped.len())?;
            Ok(Value::Safe(escaped.into()))
        }
        "upper" | "lower" | "capitalize" => {
            args.none(name)?;
            methods::call(&Value::str(of), name, args, world)
        }
        "trim" => {
            let [chars] = args.bind(name, ["chars"])?;
            methods::text::trimmed(value, chars.as_ref(), world)
        }
        "title" => {
            args.none(name)?;
            let starts = |c: char| "-({[<".contains(c) || is_space(c);
            let mut out = String::with_capacity(of.len());
            let mut rest = &of[..];
            while !rest.is_empty() {
                let word = rest.find(starts).unwrap_or(rest.len());
                let (first, more) = rest[..word].split_at(rest.chars().next().map_or(0, char::len_utf8).min(word));
                out.push_str(&first.to_uppercase());
                out.push_str(&more.to_lowercase());
                let gap = rest[word..].find(|c| !starts(c)).map_or(rest.len(), |at| word + at);
                out.push_str(&rest[word..gap]);
                rest = &rest[gap..];
            }
            made(out)
        }
        "replace" => {
            let [old, new, most] = args.bind(name, ["old", "new", "count"])?;
            let (Some(old), Some(new)) = (old, new) else { return Err(Fault::new("replace takes two texts")) };
            let most = if matches!(most, Some(Value::None)) { None } else { most };
            methods::text::replace(
                &of,
                &text(&old, world)?,
                &text(&new, world)?,
                whole(most.as_ref(), -1, name)?,
                world,
            )
        }
        "center" => {
            let [width] = args.bind(name, ["width"])?;
            let args = Args { positional: vec![width.unwrap_or(Value::Int(80))], named: vec![] };
            methods::call(&Value::str(of), name, &args, world)
        }
        "indent" => {
            let [width, first, blank] = args.bind(name, ["width", "first", "blank"])?;
            let is_true = |value: Option<Value>| value.is_some_and(|value| value.is_true());
            let (first, blank) = (is_true(first), is_true(blank));
            let indent = match width {
                Some(Value::Str(indent)) => indent.to_string(),
                width => " ".repeat(count(width.as_ref(), 4, name)?),
            };
            world.budget.spend(2 * lines(&of).count())?;
            let mut all: Vec<&str> = lines(&of).collect();
            // jinja2 adds a line's end before it parts the lines.
            if of.ends_with('\n') || all.is_empty() {
                all.push("");
            }
            world.budget.text(of.len() + all.len() * (indent.len() + 1))?;
            let mut out = String::new();
            for (i, line) in all.into_iter().enumerate() {
                out.push_str(if i > 0 { "\n" } else { "" });
                out.push_str(if if i == 0 { first } else { blank || !line.is_empty() } { &indent } else { "" });
                out.push_str(line);
            }
            Ok(Value::str(out))
        }
        "truncate" => {
            let [length, kill, end, leeway] = args.bind(name, ["length", "killwords", "end", "leeway"])?;
            let end = end.map_or(Ok("...".to_owned()), |end| text(&end, world))?;
            let (length, leeway) = (count(length.as_ref(), 255, name)?, count(leeway.as_ref(), 5, name)?);
            let room = length.checked_sub(end.chars().count());
            let room = room.ok_or_else(|| Fault::new(format!("truncate: its end is longer than {length}")))?;
            if of.chars().count() <= length + leeway {
                return made(of);
            }
            let kept: String = of.chars().take(room).collect();
            let kill = kill.is_some_and(|kill| kill.is_true());
            let kept = if kill { &kept } else { kept.rsplit_once(' ').map_or(&*kept, |(before, _)| before) };
            made(format!("{kept}{end}"))
        }
        "wordcount" => {
            args.none(name)?;
            if !of.is_ascii() {
                return Err(Fault::new("wordcount beyond ASCII is not supported"));
            }
            let words = of.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
            Ok(Value::Int(words.count() as i128))
        }
        "format" => match (args.positional.is_empty(), args.named.is_empty()) {
            (_, true) => format::percent(&of, &Value::tuple(args.positional.clone(), &world.budget)?, world),
            (true, false) => {
                let named = args.named.iter().map(|(name, value)| (Value::str(name), value.clone()));
                format::percent(&of, &Value::dict(named, &world.budget)?, world)
            }
            _ => Err(Fault::new("can't handle positional and keyword arguments at the same time")),
        },
        other => Err(Fault::new(format!("the filter `{other}` is not supported"))),
    }
}

//! Methods of `str`.

use crate::text::jinja::{
    Fault,
    args::{Args, count, text, whole},
    characters::{capitalize, has_case, is_space, lines, swap_case, title},
    format, repr,
    value::Value,
    world::World,
};

/// Those that are not supported are errors.
pub const NAMES: [&str; 47] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "encode",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "maketrans",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "translate",
    "upper",
    "zfill",
];

/// `of.name(args)`.
pub fn call<'t>(of: &str, name: &str, args: &Args<'t>, world: &World<'t>) -> Result<Value<'t>, Fault> {
    let budget = &world.budget;
    budget.text(of.len())?;
    let made = |text: String| {
        budget.text(text.len())?;
        Ok(Value::str(text))
    };
    let list = |texts: &mut dyn Iterator<Item = &str>, from_end: bool| {
        // Each text is a copy with a head of its own.
        let copy = |text: &str| budget.spend(4).and_then(|()| budget.text(text.len())).map(|()| Value::str(text));
        let mut copies = texts.map(copy).collect::<Result<Vec<_>, _>>()?;
        if from_end {
            copies.reverse();
        }
        Value::list(copies, budget)
    };
    let first = |value: Option<Value<'t>>| value.ok_or_else(|| Fault::new(format!("{name} takes an argument")));
    match name {
        "upper" | "lower" | "capitalize" | "title" | "swapcase" | "casefold" => {
            args.none(name)?;
            made(match name {
                "upper" => of.to_uppercase(),
                "lower" => of.to_lowercase(),
                "capitalize" => capitalize(of),
                "title" => title(of),
                "swapcase" => swap_case(of),
                _ if of.is_ascii() => of.to_lowercase(),
                _ => return Err(Fault::new("casefold beyond ASCII is not supported")),
            })
        }
        "strip" | "lstrip" | "rstrip" => {
            let [chars] = args.bind(name, [""])?;
            made(strip(of, chars.as_ref(), name)?.to_owned())
        }
        "split" | "rsplit" => {
            let [separator, most] = args.bind(name, ["sep", "maxsplit"])?;
            let most = usize::try_from(whole(most.as_ref(), -1, name)?).unwrap_or(usize::MAX);
            match separator {
                None | Some(Value::None) if name == "split" => list(&mut words(of, most), false),
                None | Some(Value::None) => list(&mut words_from_end(of, most), true),
                Some(separator) => {
                    let separator = text(&separator, name)?;
                    if separator.is_empty() {
                        return Err(Fault::new("empty separator"));
                    }
                    let pieces = most.saturating_add(1);
                    match name {
                        "split" => list(&mut of.splitn(pieces, separator), false),
                        _ => list(&mut of.rsplitn(pieces, separator), true),
                    }
                }
            }
        }
        "splitlines" => args.none(name).and_then(|()| list(&mut lines(of), false)),
        "partition" | "rpartition" => {
            let [separator] = args.bind(name, [""])?;
            let separator = first(separator)?;
            let separator = text(&separator, name)?;
            if separator.is_empty() {
                return Err(Fault::new("empty separator"));
            }
            let parts = match name {
                "partition" => of.split_once(separator).map_or([of, "", ""], |(a, b)| [a, separator, b]),
                _ => of.rsplit_once(separator).map_or(["", "", of], |(a, b)| [a, separator, b]),
            };
            Value::tuple(parts.map(Value::str).into(), budget)
        }
        "replace" => {
            let [old, new, most] = args.bind(name, ["", "", "count"])?;
            let (old, new) = (first(old)?, first(new)?);
            replace(of, text(&old, name)?, text(&new, name)?, whole(most.as_ref(), -1, name)?, world)
        }
        "startswith" | "endswith" => {
            let [what, from, to] = args.bind(name, ["", "", ""])?;
            let of = part(of, from, to, name)?;
            let matches = |one: &Value| {
                let one = text(one, name)?;
                Ok::<_, Fault>(if name == "startswith" { of.starts_with(one) } else { of.ends_with(one) })
            };
            let found = match first(what)? {
                Value::Tuple(all) => {
                    all.items.iter().try_fold(false, |any, one| Ok::<_, Fault>(any | matches(one)?))?
                }
                one => matches(&one)?,
            };
            Ok(Value::Bool(found))
        }
        "find" | "rfind" | "index" | "rindex" | "count" => {
            let [what, from, to] = args.bind(name, ["", "", ""])?;
            let what = first(what)?;
            let (what, offset) = (text(&what, name)?, from.clone());
            let inner = part(of, from, to, name)?;
            if name == "count" {
                let found = if what.is_empty() { inner.chars().count() + 1 } else { inner.matches(what).count() };
                return Ok(Value::Int(found as i128));
            }
            if offset.is_some() {
                return Err(Fault::new(format!("{name} of a part of a text is not supported")));
            }
            let at = if name.starts_with('r') { inner.rfind(what) } else { inner.find(what) };
            match at {
                Some(at) => Ok(Value::Int(inner[..at].chars().count() as i128)),
                None if name.ends_with("index") => Err(Fault::new("substring not found")),
                None => Ok(Value::Int(-1)),
            }
        }
        "join" => {
            let [items] = args.bind(name, [""])?;
            let items = first(items)?.items(budget)?;
            let texts = items.iter().map(|item| text(item, name)).collect::<Result<Vec<_>, _>>()?;
            budget.text(texts.iter().map(|t| t.len() + of.len()).sum())?;
            Ok(Value::str(texts.join(of)))
        }
        "removeprefix" | "removesuffix" => {
            let [what] = args.bind(name, [""])?;
            let what = first(what)?;
            let what = text(&what, name)?;
            let rest = if name == "removeprefix" { of.strip_prefix(what) } else { of.strip_suffix(what) };
            made(rest.unwrap_or(of).to_owned())
        }
        "center" | "ljust" | "rjust" | "zfill" => pad(of, name, args, world),
        "format" => made(format::braces(of, args, world)?),
        "isspace" => args.none(name).map(|()| Value::Bool(!of.is_empty() && of.chars().all(is_space))),
        "isascii" => args.none(name).map(|()| Value::Bool(of.is_ascii())),
        "isupper" => args.none(name).map(|()| Value::Bool(has_case(of, char::is_lowercase))),
        "islower" => args.none(name).map(|()| Value::Bool(has_case(of, char::is_uppercase))),
        "isdigit" | "isdecimal" | "isnumeric" | "isalpha" | "isalnum" | "istitle" => {
            args.none(name)?;
            if !of.is_ascii() {
                return Err(Fault::new(format!("{name} beyond ASCII is not supported")));
            }
            let all = |is: fn(&u8) -> bool| !of.is_empty() && of.as_bytes().iter().all(is);
            Ok(Value::Bool(match name {
                "isalpha" => all(u8::is_ascii_alphabetic),
                "isalnum" => all(u8::is_ascii_alphanumeric),
                "istitle" => of.chars().any(char::is_alphabetic) && title(of) == of,
                _ => all(u8::is_ascii_digit),
            }))
        }
        other => Err(Fault::new(format!("the method {other} of a text is not supported"))),
    }
}

/// `strip` and its one-sided forms: of these characters, or of white space.
pub fn strip<'a>(of: &'a str, chars: Option<&Value>, name: &str) -> Result<&'a str, Fault> {
    let chars = match chars {
        None | Some(Value::None) => None,
        Some(chars) => Some(text(chars, name)?),
    };
    let is = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
    Ok(match name {
        "lstrip" => of.trim_start_matches(is),
        "rstrip" => of.trim_end_matches(is),
        _ => of.trim_matches(is),
    })
}

/// `replace`: all where there is no such count.
pub fn replace<'t>(of: &str, old: &str, new: &str, most: i128, world: &World<'t>) -> Result<Value<'t>, Fault> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let found = if old.is_empty() { of.chars().count() + 1 } else { of.matches(old).count() }.min(most);
    world.budget.text(of.len().saturating_add(found.saturating_mul(new.len())))?;
    Ok(Value::str(of.replacen(old, new, most)))
}

/// Words between white space, the last one with all that follows where there are `most` before.
fn words(of: &str, most: usize) -> impl Iterator<Item = &str> {
    let (mut rest, mut found) = (of.trim_start_matches(is_space), 0);
    std::iter::from_fn(move || {
        let end = if found == most { rest.len() } else { rest.find(is_space).unwrap_or(rest.len()) };
        let (word, after) = rest.split_at(end);
        (rest, found) = (after.trim_start_matches(is_space), found + 1);
        (!word.is_empty()).then_some(word)
    })
}

/// The same from the end on.
fn words_from_end(of: &str, most: usize) -> impl Iterator<Item = &str> {
    let (mut rest, mut found) = (of.trim_end_matches(is_space), 0);
    std::iter::from_fn(move || {
        let start = if found == most { 0 } else { rest.rfind(is_space).map_or(0, |at| at + first_len(&rest[at..])) };
        let (before, word) = rest.split_at(start);
        (rest, found) = (before.trim_end_matches(is_space), found + 1);
        (!word.is_empty()).then_some(word)
    })
}

/// Bytes of the first character.
fn first_len(of: &str) -> usize {
    of.chars().next().map_or(0, char::len_utf8)
}

/// The part of a text between two characters.
fn part<'a>(of: &'a str, from: Option<Value>, to: Option<Value>, name: &str) -> Result<&'a str, Fault> {
    let length = of.chars().count() as i128;
    let place = |value: Option<&Value>, default: i128| {
        let at = whole(value, default, name)?;
        let at = if at < 0 { (at + length).max(0) } else { at.min(length) };
        Ok::<_, Fault>(of.char_indices().nth(at as usize).map_or(of.len(), |(byte, _)| byte))
    };
    let (from, to) = (place(from.as_ref(), 0)?, place(to.as_ref(), length)?);
    Ok(if from <= to { &of[from..to] } else { "" })
}

fn pad<'t>(of: &str, name: &str, args: &Args<'t>, world: &World<'t>) -> Result<Value<'t>, Fault> {
    let [width, fill] = args.bind(name, ["", ""])?;
    let fill = fill.unwrap_or_else(|| Value::str(if name == "zfill" { "0" } else { " " }));
    let fill = text(&fill, name)?;
    if fill.chars().count() != 1 {
        return Err(Fault::new("The fill character must be exactly one character long"));
    }
    let width = count(width.as_ref(), 0, name)?;
    let missing = width.saturating_sub(of.chars().count());
    world.budget.text(of.len() + missing * fill.len())?;
    // Of an odd number, Python puts the larger half before the text where the width is odd.
    let before = match name {
        "ljust" => 0,
        "center" => missing / 2 + (missing & width & 1),
        _ => missing,
    };
    let (sign, digits) = match of.strip_prefix(['+', '-']) {
        Some(digits) if name == "zfill" => (&of[..1], digits),
        _ => ("", of),
    };
    Ok(Value::str(format!("{sign}{}{digits}{}", fill.repeat(before), fill.repeat(missing - before))))
}

/// The text of any value, stripped.
pub fn trimmed<'t>(value: &Value<'t>, chars: Option<&Value<'t>>, world: &World<'t>) -> Result<Value<'t>, Fault> {
    let text = repr::text(value, &world.budget)?;
    Ok(Value::str(strip(&text, chars, "strip")?))
}

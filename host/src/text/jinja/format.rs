//! Python's two ways of putting values into a text: `text % values` and `text.format(values)`.

use super::{Fault, args::Args, number::Number, repr, value::Value, world::World};

/// The widest field, and the most digits.
const WIDEST: usize = 1000;

/// `format % values`: a tuple has the values in order, a map by name, anything else is the one value.
pub fn percent<'t>(format: &str, values: &Value<'t>, world: &World<'t>) -> Result<Value<'t>, Fault> {
    let one = std::slice::from_ref(values);
    let mut left = match values {
        Value::Tuple(items) => items.items.iter(),
        _ => one.iter(),
    };
    let named = matches!(values, Value::Dict(_));
    let (mut out, mut rest) = (String::new(), format);
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let mut value = None;
        if let Some(inner) = rest.strip_prefix('(') {
            let (key, after) = inner.split_once(')').ok_or_else(|| Fault::new("incomplete format key"))?;
            let Value::Dict(dict) = values else { return Err(Fault::new("format requires a mapping")) };
            value = Some(dict.text(key).ok_or_else(|| Fault::new(format!("there is no `{key}` to format")))?);
            rest = after;
        }
        let (field, after) = Field::read(rest)?;
        rest = after;
        if field.kind == '%' {
            out.push('%');
            continue;
        }
        let value =
            value.or_else(|| left.next()).ok_or_else(|| Fault::new("not enough arguments for format string"))?;
        let text = field.write(value, world)?;
        world.budget.text(text.len())?;
        out.push_str(&text);
    }
    if left.next().is_some() && !named {
        return Err(Fault::new("not all arguments converted during string formatting"));
    }
    out.push_str(rest);
    world.budget.text(out.len())?;
    Ok(Value::str(out))
}

/// What follows a `%`.
struct Field {
    left: bool,
    zeros: bool,
    sign: Option<char>,
    width: usize,
    precision: Option<usize>,
    kind: char,
}

impl Field {
    fn read(text: &str) -> Result<(Self, &str), Fault> {
        let flags = text.find(|c| !"-+ 0#".contains(c)).unwrap_or(text.len());
        let (flags, rest) = text.split_at(flags);
        let digits = |text: &str| {
            let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let number = if end == 0 { Ok(0) } else { text[..end].parse::<usize>() };
            let number = number.ok().filter(|n| *n <= WIDEST);
            number.map(|n| (n, end)).ok_or_else(|| Fault::new(format!("a field is wider than {WIDEST}")))
        };
        let (width, used) = digits(rest)?;
        let mut rest = &rest[used..];
        let mut precision = None;
        if let Some(after) = rest.strip_prefix('.') {
            let (number, used) = digits(after)?;
            (precision, rest) = (Some(number), &after[used..]);
        }
        let kind = rest.chars().next().ok_or_else(|| Fault::new("incomplete format"))?;
        if flags.contains('#') {
            return Err(Fault::new("`#` in a format is not supported"));
        }
        let sign = if flags.contains('+') { Some('+') } else { flags.contains(' ').then_some(' ') };
        let field = Self { left: flags.contains('-'), zeros: flags.contains('0'), sign, width, precision, kind };
        Ok((field, &rest[kind.len_utf8()..]))
    }

    fn write(&self, value: &Value, world: &World) -> Result<String, Fault> {
        let numeric = || {
            let what = format!("%{}: a number is required, not {}", self.kind, value.type_name());
            value.number().ok_or_else(|| Fault::new(what))
        };
        let whole = || match numeric()? {
            Number::Int(whole) => Ok(whole),
            Number::Float(value) if self.kind == 'd' || self.kind == 'i' => Ok(value.trunc() as i128),
            Number::Float(_) => Err(Fault::new(format!("%{} takes a whole number", self.kind))),
        };
        let (negative, text) = match self.kind {
            's' | 'r' => {
                let text = match self.kind {
                    's' => repr::text(value, &world.budget)?,
                    _ => repr::repr(value, &world.budget)?,
                };
                let kept = text.chars().take(self.precision.unwrap_or(usize::MAX)).collect();
                return Ok(self.pad("", kept, false));
            }
            _ if self.precision.is_some() && self.kind != 'f' && self.kind != 'F' => {
                return Err(Fault::new(format!("a precision of %{} is not supported", self.kind)));
            }
            'd' | 'i' => (whole()? < 0, whole()?.unsigned_abs().to_string()),
            'x' => (whole()? < 0, format!("{:x}", whole()?.unsigned_abs())),
            'X' => (whole()? < 0, format!("{:X}", whole()?.unsigned_abs())),
            'f' | 'F' => {
                let value = numeric()?.float();
                if !value.is_finite() {
                    return Err(Fault::new("%f of what is not finite is not supported"));
                }
                (value.is_sign_negative(), format!("{:.*}", self.precision.unwrap_or(6), value.abs()))
            }
            other => return Err(Fault::new(format!("the format %{other} is not supported"))),
        };
        let sign = if negative { "-".into() } else { self.sign.map(String::from).unwrap_or_default() };
        Ok(self.pad(&sign, text, self.zeros))
    }

    fn pad(&self, sign: &str, text: String, zeros: bool) -> String {
        let missing = self.width.saturating_sub(sign.len() + text.chars().count());
        match (self.left, zeros) {
            (true, _) => format!("{sign}{text}{}", " ".repeat(missing)),
            (false, true) => format!("{sign}{}{text}", "0".repeat(missing)),
            (false, false) => format!("{}{sign}{text}", " ".repeat(missing)),
        }
    }
}

/// `format.format(args)`, with fields by place or name alone.
pub fn braces<'t>(format: &str, args: &Args<'t>, world: &World<'t>) -> Result<String, Fault> {
    let (mut out, mut rest, mut next) = (String::new(), format, 0);
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let brace = &rest[at..at + 1];
        rest = &rest[at + 1..];
        if rest.starts_with(brace) {
            out.push_str(brace);
            rest = &rest[1..];
            continue;
        }
        if brace == "}" {
            return Err(Fault::new("Single '}' encountered in format string"));
        }
        let (field, after) = rest.split_once('}').ok_or_else(|| Fault::new("expected '}' before end of string"))?;
        rest = after;
        if field.contains(['!', ':', '.', '[', '{']) {
            return Err(Fault::new(format!("the field {{{field}}} of `format` is not supported")));
        }
        let value = match field.parse::<usize>() {
            Ok(place) => args.positional.get(place),
            Err(_) if field.is_empty() => {
                next += 1;
                args.positional.get(next - 1)
            }
            Err(_) => args.named.iter().find(|(name, _)| name == field).map(|(_, value)| value),
        };
        let value = value.ok_or_else(|| Fault::new(format!("`format` has no value for {{{field}}}")))?;
        let text = repr::text(value, &world.budget)?;
        world.budget.text(text.len())?;
        out.push_str(&text);
    }
    Ok(out + rest)
}

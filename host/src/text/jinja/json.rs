//! `tojson` as transformers has it: Python's `json.dumps`, with nothing escaped for HTML.

use super::{
    Fault,
    args::Args,
    budget::Budget,
    repr::float,
    value::{Items, Value},
};
use std::rc::Rc;

/// The widest indent that is written.
const WIDEST: i128 = 64;

struct Style {
    ascii: bool,
    indent: Option<Rc<str>>,
    item_separator: Rc<str>,
    key_separator: Rc<str>,
    sorted: bool,
}

/// `value | tojson(...)`.
pub fn dumps<'t>(value: &Value<'t>, args: &Args<'t>, budget: &Budget) -> Result<Value<'t>, Fault> {
    let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
    let [ascii, indent, separators, sorted] = args.bind("tojson", names)?;
    let indent: Option<Rc<str>> = match indent {
        None | Some(Value::None) => None,
        Some(Value::Str(indent)) => Some(indent),
        Some(Value::Int(width)) if width <= WIDEST => Some(" ".repeat(usize::try_from(width).unwrap_or(0)).into()),
        Some(_) => return Err(Fault::new(format!("tojson: an indent is a text, or a number up to {WIDEST}"))),
    };
    let wrong = || Fault::new("tojson: separators are a text between items and one behind keys");
    let (item_separator, key_separator): (Rc<str>, Rc<str>) = match separators {
        None | Some(Value::None) => (if indent.is_some() { "," } else { ", " }.into(), ": ".into()),
        Some(Value::Tuple(two) | Value::List(two)) => match &two.items[..] {
            [Value::Str(item), Value::Str(key)] => (item.clone(), key.clone()),
            _ => return Err(wrong()),
        },
        Some(_) => return Err(wrong()),
    };
    let is_true = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let style = Style { ascii: is_true(ascii), indent, item_separator, key_separator, sorted: is_true(sorted) };
    let mut out = String::new();
    style.write(value, 0, &mut out, budget)?;
    Ok(Value::str(out))
}

impl Style {
    fn write(&self, value: &Value, level: usize, out: &mut String, budget: &Budget) -> Result<(), Fault> {
        budget.spend(1)?;
        match value {
            Value::Str(text) | Value::Safe(text) => {
                budget.text(text.len())?;
                self.quote(text, out);
            }
            Value::List(items) | Value::Tuple(items) => self.list(items, level, out, budget)?,
            Value::Dict(dict) => {
                let mut entries: Vec<(String, &Value)> = vec![];
                for (key, value) in &dict.entries {
                    budget.text(key.steps() * 32 + self.key_separator.len())?;
                    let key = match key {
                        Value::Str(text) => text.to_string(),
                        other => scalar(other).ok_or_else(|| Fault::new("tojson: a key is neither text nor number"))?,
                    };
                    entries.push((key, value));
                }
                if self.sorted {
                    entries.sort_by(|a, b| a.0.cmp(&b.0));
                }
                if entries.is_empty() {
                    out.push_str("{}");
                    return Ok(());
                }
                out.push('{');
                for (i, (key, value)) in entries.into_iter().enumerate() {
                    self.separate(i, level + 1, out, budget)?;
                    self.quote(&key, out);
                    out.push_str(&self.key_separator);
                    self.write(value, level + 1, out, budget)?;
                }
                self.line(level, out, budget)?;
                out.push('}');
            }
            other => match scalar(other) {
                Some(text) => out.push_str(&text),
                None => {
                    return Err(Fault::new(format!("Object of type {} is not JSON serializable", other.type_name())));
                }
            },
        }
        Ok(())
    }

    fn list(&self, items: &Items, level: usize, out: &mut String, budget: &Budget) -> Result<(), Fault> {
        if items.items.is_empty() {
            out.push_str("[]");
            return Ok(());
        }
        out.push('[');
        for (i, item) in items.items.iter().enumerate() {
            self.separate(i, level + 1, out, budget)?;
            self.write(item, level + 1, out, budget)?;
        }
        self.line(level, out, budget)?;
        out.push(']');
        Ok(())
    }

    fn separate(&self, index: usize, level: usize, out: &mut String, budget: &Budget) -> Result<(), Fault> {
        if index > 0 {
            budget.text(self.item_separator.len() + self.key_separator.len())?;
            out.push_str(&self.item_separator);
        }
        self.line(level, out, budget)
    }

    /// A new line, where there is an indent.
    fn line(&self, level: usize, out: &mut String, budget: &Budget) -> Result<(), Fault> {
        if let Some(indent) = &self.indent {
            budget.text(level * indent.len())?;
            out.push('\n');
            out.push_str(&indent.repeat(level));
        }
        Ok(())
    }

    fn quote(&self, text: &str, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\x08' => out.push_str("\\b"),
                '\x0c' => out.push_str("\\f"),
                c if c < ' ' => out.push_str(&format!("\\u{:04x}", c as u32)),
                c if self.ascii && !(' '..='~').contains(&c) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}

fn scalar(value: &Value) -> Option<String> {
    Some(match value {
        Value::None => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) if number.is_nan() => "NaN".into(),
        Value::Float(number) if number.is_infinite() => {
            if *number > 0.0 {
                "Infinity".into()
            } else {
                "-Infinity".into()
            }
        }
        Value::Float(number) => float(*number),
        _ => return None,
    })
}

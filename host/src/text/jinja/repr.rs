//! Values as text: Python's `str` and `repr`.

use super::{
    Fault,
    budget::Budget,
    value::{Items, Value},
};

/// `str(value)`, as a template prints it.
pub fn text(value: &Value, budget: &Budget) -> Result<String, Fault> {
    match value {
        Value::Undefined(_) => Ok(String::new()),
        Value::Str(text) | Value::Safe(text) => {
            budget.text(text.len())?;
            Ok(text.to_string())
        }
        other => repr(other, budget),
    }
}

/// `repr(value)`, of what has one that says something.
pub fn repr(value: &Value, budget: &Budget) -> Result<String, Fault> {
    let mut out = String::new();
    write(value, &mut out, budget)?;
    Ok(out)
}

fn write(value: &Value, out: &mut String, budget: &Budget) -> Result<(), Fault> {
    budget.spend(1)?;
    match value {
        Value::Undefined(_) => out.push_str("Undefined"),
        Value::None => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Int(number) => out.push_str(&number.to_string()),
        Value::Float(number) => out.push_str(&float(*number)),
        Value::Str(text) => {
            budget.text(text.len())?;
            quote(text, out);
        }
        Value::List(items) => list(items, ["[", "]"], out, budget)?,
        Value::Tuple(items) => {
            list(items, ["(", if items.items.len() == 1 { ",)" } else { ")" }], out, budget)?;
        }
        Value::Dict(dict) => {
            out.push('{');
            for (i, (key, value)) in dict.entries.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                write(key, out, budget)?;
                out.push_str(": ");
                write(value, out, budget)?;
            }
            out.push('}');
        }
        other => return Err(Fault::new(format!("a {} cannot be printed", other.type_name()))),
    }
    Ok(())
}

fn list(items: &Items, [open, close]: [&str; 2], out: &mut String, budget: &Budget) -> Result<(), Fault> {
    out.push_str(open);
    for (i, item) in items.items.iter().enumerate() {
        out.push_str(if i > 0 { ", " } else { "" });
        write(item, out, budget)?;
    }
    out.push_str(close);
    Ok(())
}

/// A text in quotes, as Python chooses and escapes them.
fn quote(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if is_printable(c) => out.push(c),
            c if (c as u32) < 0x100 => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if (c as u32) < 0x10000 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    out.push(quote);
}

/// Whether `str.isprintable` holds: Rust escapes in its own `Debug` what is not, but for combining marks and quotes.
fn is_printable(c: char) -> bool {
    if c == ' ' || c.is_ascii_graphic() {
        return true;
    }
    // Behind a base character, a mark that extends it stands for itself.
    !c.is_control() && !c.is_whitespace() && !format!("{:?}", format!("a{c}")).contains("\\u")
}

/// A floating-point number as Python writes it: the fewest digits that read back to it.
pub fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..16).contains(&exponent) {
        let plain = format!("{value}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

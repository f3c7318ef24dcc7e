//! Bounds of numbers.

use serde_json::Value;

/// Whether a number keeps a bound.
type Keeps = fn(f64, f64) -> bool;

/// Keywords, their words, and what they ask.
const BOUNDS: [(&str, &str, Keeps); 4] = [
    ("exclusiveMinimum", "above", |x, b| x > b),
    ("minimum", "of at least", |x, b| x >= b),
    ("exclusiveMaximum", "below", |x, b| x < b),
    ("maximum", "at most", |x, b| x <= b),
];

/// Whether a number keeps all of a schema's bounds.
pub fn in_bounds(schema: &Value, value: &Value) -> bool {
    let x = value.as_f64().unwrap_or(f64::NAN);
    BOUNDS.iter().all(|(name, _, holds)| schema[*name].as_f64().is_none_or(|b| holds(x, b)))
}

/// The bounds in words, after what they are of.
pub fn bounds(schema: &Value) -> String {
    let said: Vec<String> =
        BOUNDS.iter().filter_map(|(name, words, _)| Some(format!("{words} {}", schema[*name].as_f64()?))).collect();
    if said.is_empty() { String::new() } else { format!(" {}", said.join(" and ")) }
}

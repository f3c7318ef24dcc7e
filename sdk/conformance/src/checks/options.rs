//! What a plugin owes whoever writes a config: what is wrong is refused with a message, before anything is built.

use super::fail;
use crate::{
    inputs::Rng,
    subject::{Context, Refusal, Stop},
    suite::{About, Check},
};
use ldalign_abi::ErrorCode;
use serde_json::{Map, Value, json};

const fn check(id: &'static str, sentence: &'static str, run: fn(&Context<'_>) -> Result<(), Stop>) -> Check {
    Check { id, sentence, about: About::Plugin, run }
}

/// The checks of this file.
pub const CHECKS: &[Check] = &[
    check("options/schema", "The schema describes an object and says that unknown keys are refused", |c| {
        let schema = c.schema()?;
        if schema["type"] != "object" {
            return fail(format!("its type is {}, not \"object\"", schema["type"]));
        }
        match schema["additionalProperties"] == false {
            true => Ok(()),
            false => fail("additionalProperties is not false: put #[serde(deny_unknown_fields)] on the options"),
        }
    }),
    check("options/default", "With the options that must be given, and no others, an instance can be built", |c| {
        let missing = c.missing_options()?;
        if !missing.is_empty() {
            return Err(Stop::Skip(format!("its options {} must be given", missing.join(", "))));
        }
        c.validate(&c.case().options.to_string())??;
        match c.try_new(&c.case().id, c.host())? {
            Err(e) if e.code == ErrorCode::UNSUPPORTED => Err(Stop::Skip(format!("there is no instance: {e}"))),
            built => Ok(built?),
        }
    }),
    check("options/unknown-key", "A key that is not an option is refused with a message that names it", |c| {
        let options = with(c, "no_such_option", json!(1));
        match refused(c, &options)? {
            None => fail(format!("it takes {options}")),
            Some(e) if e.to_string().contains("no_such_option") => Ok(()),
            Some(e) => fail(format!("the message does not name the key: {e}")),
        }
    }),
    check("options/wrong-type", "An option of a type that the schema excludes is refused", |c| {
        let schema = c.schema()?;
        for (key, property) in properties(&schema)? {
            let Some(types) = types(&schema, property, 0) else { continue };
            for value in [json!(null), json!(true), json!("text"), json!(1.5), json!([]), json!({"a": 1})] {
                if !types.iter().any(|t| is_of(&value, t)) {
                    must_refuse(c, key, value)?;
                }
            }
        }
        Ok(())
    }),
    check("options/bounds", "A number outside the schema's bounds, or a word not in its list, is refused", |c| {
        let schema = c.schema()?;
        let mut tried = 0;
        for (key, property) in properties(&schema)? {
            for value in outside(property) {
                tried += 1;
                must_refuse(c, key, value)?;
            }
        }
        match tried {
            0 => Err(Stop::Skip("its schema has no bounds".into())),
            _ => Ok(()),
        }
    }),
    check("options/fuzzed", "Text of any kind is taken or refused as options, never a panic", |c| {
        let mut rng = c.rng("options");
        let nested = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
        let fixed = ["", " ", "null", "[]", "{", "{}", "{\"a\":", "\u{0}", "\"\u{fffd}\"", "1e999", nested.as_str()];
        fixed.into_iter().try_for_each(|text| any(c, text))?;
        let schema = c.schema()?;
        let keys: Vec<&String> = properties(&schema)?.into_iter().map(|(key, _)| key).collect();
        for _ in 0..300 {
            let mut options = c.case().options.as_object().cloned().unwrap_or_default();
            for _ in 0..rng.below(3) {
                let key = match keys.is_empty() || rng.below(4) == 0 {
                    true => format!("k{}", rng.below(9)),
                    false => keys[rng.below(keys.len())].clone(),
                };
                options.insert(key, random(&mut rng, 3));
            }
            any(c, &Value::Object(options).to_string())?;
        }
        Ok(())
    }),
    check(
        "options/refused-when-building",
        "Options that are refused when validated are refused when building, too",
        |c| {
            let mut case = c.case().clone();
            case.options = with(c, "no_such_option", json!(1));
            match c.for_case(&case).try_new(&case.id, c.host())? {
                Err(e) if e.code == ErrorCode::OPTIONS => Ok(()),
                Err(e) => fail(format!("the error has code {}, not that of options: {e}", e.code.0)),
                Ok(()) => fail(format!("it builds with {}", case.options)),
            }
        },
    ),
];

fn with(c: &Context<'_>, key: &str, value: Value) -> Value {
    let mut options = c.case().options.as_object().cloned().unwrap_or_default();
    options.insert(key.to_owned(), value);
    Value::Object(options)
}

/// How the plugin refuses options; None where it takes them. A refusal must be one of options.
fn refused(c: &Context<'_>, options: &Value) -> Result<Option<Refusal>, Stop> {
    match c.validate(&options.to_string())? {
        Ok(()) => Ok(None),
        Err(e) if e.code == ErrorCode::OPTIONS => Ok(Some(e)),
        Err(e) => fail(format!("{options}: the error has code {}, not that of options: {e}", e.code.0)),
    }
}

fn must_refuse(c: &Context<'_>, key: &str, value: Value) -> Result<(), Stop> {
    let options = with(c, key, value);
    match refused(c, &options)? {
        Some(_) => Ok(()),
        None => fail(format!("it takes {options}, which its schema excludes")),
    }
}

/// Validates text that may be anything.
fn any(c: &Context<'_>, text: &str) -> Result<(), Stop> {
    let shown: String = text.chars().take(120).collect();
    match c.validate(text)? {
        Err(e) if e.code == ErrorCode::PANIC => fail(format!("{shown}: {e}")),
        _ => Ok(()),
    }
}

fn properties(schema: &Value) -> Result<Vec<(&String, &Value)>, Stop> {
    let all: Vec<_> = schema["properties"].as_object().into_iter().flatten().collect();
    if all.is_empty() {
        return Err(Stop::Skip("it has no options".into()));
    }
    Ok(all)
}

/// JSON types that a property's schema admits; None where that is not plain to see.
fn types<'a>(root: &'a Value, schema: &'a Value, depth: usize) -> Option<Vec<&'a str>> {
    if depth > 8 {
        return None;
    }
    if let Some(reference) = schema["$ref"].as_str() {
        return types(root, root.pointer(reference.strip_prefix('#')?)?, depth + 1);
    }
    if let Some(any) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
        let each: Option<Vec<_>> = any.iter().map(|one| types(root, one, depth + 1)).collect();
        return Some(each?.concat());
    }
    match (&schema["type"], &schema["const"], schema["enum"].as_array()) {
        (Value::String(one), ..) => Some(vec![one]),
        (Value::Array(several), ..) => several.iter().map(Value::as_str).collect(),
        (_, Value::String(_), _) => Some(vec!["string"]),
        (_, _, Some(words)) if words.iter().all(Value::is_string) => Some(vec!["string"]),
        _ => None,
    }
}

fn is_of(value: &Value, json_type: &str) -> bool {
    match json_type {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        // Unknown to us: no reason to call anything wrong.
        _ => true,
    }
}

/// Values just outside what a property's schema admits.
fn outside(property: &Value) -> Vec<Value> {
    let whole = property["type"] == "integer" || property["type"][0] == "integer";
    let number = |x: f64| if whole && x.abs() < 9e15 { json!(x as i64) } else { json!(x) };
    let mut all = Vec::new();
    let mut add = |key: &str, off: f64| {
        if let Some(bound) = property[key].as_f64() {
            all.push(number(bound + off));
        }
    };
    add("minimum", -1.0);
    add("maximum", 1.0);
    add("exclusiveMinimum", 0.0);
    add("exclusiveMaximum", 0.0);
    if property["enum"].is_array() {
        all.push(json!("no-such-word"));
    }
    all
}

fn random(rng: &mut Rng, depth: usize) -> Value {
    match rng.below(if depth == 0 { 7 } else { 9 }) {
        0 => Value::Null,
        1 => json!(rng.below(2) == 0),
        2 => json!(rng.bits() as i64),
        3 => json!(rng.bits()),
        4 => json!(f64::from_bits(rng.bits())),
        5 => json!(rng.below(5) as i64 - 2),
        6 => json!(
            (0..rng.below(12)).map(|_| char::from_u32(rng.below(0x3000) as u32).unwrap_or('x')).collect::<String>()
        ),
        7 => json!((0..rng.below(4)).map(|_| random(rng, depth - 1)).collect::<Vec<_>>()),
        _ => Value::Object((0..rng.below(4)).map(|i| (format!("k{i}"), random(rng, depth - 1))).collect::<Map<_, _>>()),
    }
}

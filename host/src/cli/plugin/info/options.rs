//! A JSON schema of options as a table for people: name, type, default, bounds, description.

use serde_json::Value;

/// The table, indented; it says so where there are no options.
pub fn table(schema: &Value) -> String {
    let Some(properties) = schema["properties"].as_object().filter(|p| !p.is_empty()) else {
        return "  no options".into();
    };
    let required = |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|r| r == name));
    let mut rows = vec![["option", "type", "default", "bounds"].map(str::to_owned)];
    let mut notes = vec![String::new()];
    for (name, option) in properties {
        let resolved = resolve(schema, option);
        let default = match option.get("default") {
            _ if required(name) => "required".into(),
            None | Some(Value::Null) => "none".into(),
            Some(default) => default.to_string(),
        };
        rows.push([name.clone(), type_of(schema, option), default, bounds(resolved)]);
        let said = option["description"].as_str().or(resolved["description"].as_str()).unwrap_or_default();
        notes.push(said.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    let width = |column: usize| rows.iter().map(|r| r[column].chars().count()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2), width(3)];
    let mut lines = Vec::new();
    for (row, note) in rows.iter().zip(notes) {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect::<Vec<_>>();
        lines.push(format!("  {}", cells.join("  ")).trim_end().to_owned());
        if !note.is_empty() {
            lines.push(format!("      {note}"));
        }
    }
    lines.join("\n")
}

/// What a reference within the schema stands for, also where it is the one alternative to null.
fn resolve<'a>(schema: &'a Value, option: &'a Value) -> &'a Value {
    if let Some(place) = option["$ref"].as_str().and_then(|r| r.strip_prefix('#')) {
        return schema.pointer(place).map_or(option, |found| resolve(schema, found));
    }
    let mut others = option["anyOf"].as_array().into_iter().flatten().filter(|one| one["type"] != "null");
    match (others.next(), others.next()) {
        (Some(only), None) => resolve(schema, only),
        _ => option,
    }
}

fn type_of(schema: &Value, option: &Value) -> String {
    let option = resolve(schema, option);
    if let Some(value) = option.get("const") {
        return value.to_string();
    }
    if let Some(values) = option["enum"].as_array() {
        return values.iter().map(Value::to_string).collect::<Vec<_>>().join(" | ");
    }
    if let Some(alternatives) = option["oneOf"].as_array().or(option["anyOf"].as_array()) {
        return alternatives.iter().map(|one| type_of(schema, one)).collect::<Vec<_>>().join(" | ");
    }
    match &option["type"] {
        Value::String(name) if name == "array" => format!("list of {}", type_of(schema, &option["items"])),
        Value::String(name) => name.clone(),
        Value::Array(names) => {
            names.iter().filter_map(Value::as_str).filter(|n| *n != "null").collect::<Vec<_>>().join(" | ")
        }
        _ => "any".into(),
    }
}

/// `0..=1`, `> 0`, `>= 4`; empty where there is none.
fn bounds(option: &Value) -> String {
    let of = |key: &str| option.get(key).filter(|v| v.is_number());
    if let (Some(min), Some(max)) = (of("minimum"), of("maximum")) {
        return format!("{min}..={max}");
    }
    let signs = [("exclusiveMinimum", ">"), ("minimum", ">="), ("exclusiveMaximum", "<"), ("maximum", "<=")];
    let all = signs.iter().filter_map(|(key, sign)| Some(format!("{sign} {}", of(key)?)));
    all.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn types_defaults_and_bounds_are_shown() {
        let schema = json!({
            "$defs": {
                "Pool": {"oneOf": [{"const": "mean", "description": "Mean."}, {"const": "last", "description": "Last."}]},
                "Layer": {"anyOf": [{"$ref": "#/$defs/Pool"}, {"type": "integer"}]}
            },
            "properties": {
                "dir": {"type": "string", "description": "Where the\nmodel lies."},
                "scale": {"type": "number", "default": 0.1, "minimum": 0.001, "maximum": 1000.0},
                "max": {"type": ["number", "null"], "default": null, "exclusiveMinimum": 0.0},
                "pool": {"$ref": "#/$defs/Pool", "default": "mean"},
                "layers": {"type": "array", "items": {"$ref": "#/$defs/Layer"}, "default": [1]},
                "other": {"anyOf": [{"$ref": "#/$defs/Pool"}, {"type": "null"}]}
            },
            "required": ["dir"]
        });
        let expected = "  option  type                               default   bounds
  dir     string                             required
      Where the model lies.
  scale   number                             0.1       0.001..=1000.0
  max     number                             none      > 0.0
  pool    \"mean\" | \"last\"                    \"mean\"
  layers  list of \"mean\" | \"last\" | integer  [1]
  other   \"mean\" | \"last\"                    none";
        assert_eq!(table(&schema), expected);
        assert_eq!(table(&json!({"type": "object"})), "  no options");
    }
}

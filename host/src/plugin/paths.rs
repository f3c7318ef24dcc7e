//! Options that name files and programs, by the `format` in the options' schema: relative ones start at the directory
//! of the config, wherever the program was started, and what lies there is recorded.
//!
//! `path` is a file or directory, `script` one that is code, each alone or in a list; `program` is what is looked for
//! on the `PATH` unless it has a `/`, and of a `command` that is the first word.

use super::PluginRecord;
use crate::{
    Code, Error, Result,
    config::at_home,
    files::{HashedPath, hash_path},
};
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};

/// A text of the options with its key: of a list, `files[0]`.
struct Named<'a> {
    key: String,
    format: &'a str,
    text: &'a mut Value,
}

/// The texts of options whose schema gives them a format.
fn named<'a>(options: &'a mut Value, schema: &'a Value) -> Vec<Named<'a>> {
    let mut all = Vec::new();
    for (key, value) in options.as_object_mut().into_iter().flatten() {
        let of = &schema["properties"][key];
        match (value, of["format"].as_str(), of["items"]["format"].as_str()) {
            (Value::Array(words), Some("command"), _) => {
                let first = words.first_mut();
                all.extend(first.map(|text| Named { key: format!("{key}[0]"), format: "program", text }));
            }
            (Value::Array(items), _, Some(format)) => {
                let key = |i| format!("{key}[{i}]");
                all.extend(items.iter_mut().enumerate().map(|(i, text)| Named { key: key(i), format, text }));
            }
            (text @ Value::String(_), Some(format), _) => all.push(Named { key: key.clone(), format, text }),
            _ => {}
        }
    }
    all
}

/// Makes the paths of options absolute.
pub(super) fn settle(options: &mut Value, schema: &Value, base: &Path) {
    for Named { format, text, .. } in named(options, schema) {
        let Some(path) = text.as_str().filter(|path| !path.is_empty()) else { continue };
        let is_path = matches!(format, "path" | "script") || format == "program" && path.contains('/');
        if is_path && let Ok(absolute) = std::path::absolute(base.join(at_home(path))) {
            *text = absolute.to_string_lossy().into_owned().into();
        }
    }
}

/// What the settled options name, by key. `locked` refuses code that no lock file pins.
pub(super) fn hashed(record: &PluginRecord, schema: &Value, locked: bool) -> Result<BTreeMap<String, HashedPath>> {
    let mut options = record.options.clone();
    let mut files = BTreeMap::new();
    for Named { key, format, text } in named(&mut options, schema) {
        let Some(path) = text.as_str().map(Path::new) else { continue };
        if format == "script" && locked {
            let what = format!("{record} would run {}, which is not in the lock file", path.display());
            return Err(Error::new(Code::PluginUntrusted, what)
                .hint("without --locked (or locked: true) it is used, and the run's manifest has its hash"));
        }
        if matches!(format, "path" | "script") {
            let sha256 = hash_path(path).map_err(|e| e.at(format!("{record}: option {key}")))?;
            files.insert(key, HashedPath { path: path.to_owned(), sha256 });
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn schema() -> Value {
        json!({ "properties": {
            "model": { "type": ["string", "null"], "format": "path" },
            "files": { "type": "array", "items": { "type": "string", "format": "script" } },
            "python": { "type": "string", "format": "program" },
            "command": { "type": ["array", "null"], "format": "command", "items": { "type": "string" } },
            "name": { "type": "string" },
        }})
    }

    #[test]
    fn paths_start_at_the_base_and_other_texts_stay() {
        let mut options = json!({
            "model": "m/x", "files": ["a.py", "/b.py"], "python": "python3", "command": ["./run", "a/b"], "name": "n/n",
        });
        settle(&mut options, &schema(), Path::new("/base"));
        let expected = json!({
            "model": "/base/m/x", "files": ["/base/a.py", "/b.py"], "python": "python3", "command": ["/base/run", "a/b"],
            "name": "n/n",
        });
        assert_eq!(options, expected);
        let mut odd =
            json!({ "model": null, "files": [1], "python": ".venv/bin/python", "command": [], "more": "x/y" });
        settle(&mut odd, &schema(), Path::new("/base"));
        let expected = json!({
            "model": null, "files": [1], "python": "/base/.venv/bin/python", "command": [], "more": "x/y",
        });
        assert_eq!(odd, expected);
    }

    #[test]
    fn contents_are_hashed_by_key_and_code_is_refused_where_locked() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.py"), "1").unwrap();
        let options = json!({ "files": [dir.path().join("a.py")], "model": dir.path(), "python": "/usr/bin/python3" });
        let record = json!({ "kind": "distance", "id": "d", "name": "d", "version": "1", "sha256": "0123456789abcdef",
            "origin": { "state": "local" }, "options": options });
        let record: PluginRecord = serde_json::from_value(record).unwrap();
        let files = hashed(&record, &schema(), false).unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["files[0]", "model"]);
        assert_eq!(files["files[0]"].sha256, crate::files::sha256(b"1"));
        let e = hashed(&record, &schema(), true).unwrap_err();
        assert_eq!(e.code(), Code::PluginUntrusted);
        assert!(e.message().contains("a.py, which is not in the lock file"), "{e}");
        std::fs::remove_file(dir.path().join("a.py")).unwrap();
        let e = hashed(&record, &schema(), false).unwrap_err();
        assert!(e.to_string().contains("option files[0]"), "{e}");
    }
}

//! Who vouches for a plugin that a name leads to, whatever the environment says, and `--locked`.
#![allow(clippy::unwrap_used)]

use ldalign_tests::{built, runs};
use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Output};

/// `ldalign check` of a small run; `plugins` is a value of the variable LDALIGN_PLUGINS.
fn check(dir: &Path, plugins: Option<&Path>, args: &[&str]) -> Output {
    let mut command = runs::command("check", &runs::config(dir, "generate: { max_new_tokens: 8 }"), &[]);
    command.arg("--json").args(args).env_remove("LDALIGN_PLUGINS");
    if let Some(plugins) = plugins {
        command.env("LDALIGN_PLUGINS", plugins);
    }
    command.output().unwrap()
}

/// What is said to vouch for the distance, and what was said on stderr.
fn state(out: &Output) -> (String, String) {
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{text}");
    let found: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    (found["plugins"][1]["origin"]["state"].as_str().unwrap().to_owned(), text)
}

#[test]
fn only_what_came_with_the_program_is_bundled() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(state(&check(dir.path(), None, &[])).0, "bundled");
    assert_eq!(state(&check(dir.path(), None, &["--locked"])).0, "bundled");
    assert_eq!(state(&check(dir.path(), Some(built()), &[])).0, "local");
    let out = check(dir.path(), Some(built()), &["--locked"]);
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(1) && text.contains("error[plugin/untrusted]"), "{text}");
    assert!(text.contains("neither bundled nor in the lock file"), "{text}");
}

#[test]
fn a_directory_open_to_all_is_warned_of_and_refused_where_plugins_are_locked() {
    let dir = tempfile::tempdir().unwrap();
    let open = dir.path().join("open");
    fs::create_dir(&open).unwrap();
    let name = "libldalign_distance_euclidean.so";
    fs::copy(built().join(name), open.join(name)).unwrap();
    let set = format!("plugin_path=[{}]", open.display());
    let warns = |mode| {
        fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
        let (state, text) = state(&check(dir.path(), None, &["--set", &set]));
        assert_eq!(state, "local");
        text.contains("everybody may write: whoever does decides what is run")
    };
    assert!(warns(0o777) && !warns(0o755));
    let out = check(dir.path(), None, &["--set", &set, "--locked"]);
    assert_eq!(out.status.code(), Some(1), "{}", String::from_utf8_lossy(&out.stderr));
}

//! Plugin crates outside the workspace, built as their authors would build them.

use crate::workspace_root;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Where crates outside the workspace are built; one directory, so that what they depend on is compiled once.
pub fn target() -> PathBuf {
    workspace_root().join("target/outside")
}

/// What tells cargo to write no debug information, for crates that nobody debugs.
pub const NO_DEBUG: (&str, &str) = ("CARGO_PROFILE_DEV_DEBUG", "false");

/// Cargo as the tests run it on crates outside the workspace.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.env(NO_DEBUG.0, NO_DEBUG.1);
    cargo
}

/// Builds the crate in a directory and returns its library. `profile` is `dev` or `release`.
pub fn build(crate_dir: &Path, profile: &str) -> PathBuf {
    let library = |artifact: &serde_json::Value| {
        let files = artifact["filenames"].as_array()?;
        files.iter().find_map(|f| f.as_str().filter(|f| f.ends_with(".so"))).map(PathBuf::from)
    };
    built(crate_dir, profile, library)
        .unwrap_or_else(|| panic!("{} does not make a shared library", crate_dir.display()))
}

/// Builds the crate in a directory as [`build`] does and returns its library and its only program.
pub fn build_with_program(crate_dir: &Path) -> (PathBuf, PathBuf) {
    let program = |artifact: &serde_json::Value| artifact["executable"].as_str().map(PathBuf::from);
    let library = build(crate_dir, "dev");
    let program = built(crate_dir, "dev", program);
    (library, program.unwrap_or_else(|| panic!("{} makes no program", crate_dir.display())))
}

/// Runs cargo and returns what `select` finds in the last of the crate's artifacts that has it.
fn built(crate_dir: &Path, profile: &str, select: impl Fn(&serde_json::Value) -> Option<PathBuf>) -> Option<PathBuf> {
    // The workspace's versions: nothing to download, and no drift from what was tested.
    let lock = crate_dir.join("Cargo.lock");
    if !lock.exists() {
        fs::copy(workspace_root().join("Cargo.lock"), &lock).expect("the lock file can be copied");
    }
    let manifest = crate_dir.join("Cargo.toml");
    let out = cargo()
        .current_dir(crate_dir)
        .args(["build", "--profile", profile, "--message-format=json-render-diagnostics", "--target-dir"])
        .arg(target())
        .output()
        .expect("cargo starts");
    assert!(out.status.success(), "{} does not build:\n{}", manifest.display(), String::from_utf8_lossy(&out.stderr));
    let manifest = manifest.canonicalize().expect("the manifest was just built");
    String::from_utf8_lossy(&out.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|m| m["reason"] == "compiler-artifact" && m["manifest_path"].as_str().map(Path::new) == Some(&manifest))
        .filter_map(|m| select(&m))
        .next_back()
}

/// The zoo of misbehaving plugins.
pub fn zoo() -> PathBuf {
    build(&workspace_root().join("tests/zoo"), "dev")
}

/// The zoo built against a changed boundary: each edit replaces a text that must be in the file once.
pub fn zoo_with_changed_sdk(name: &str, edits: &[(&str, &str, &str)]) -> PathBuf {
    let (from, to) = (workspace_root(), target().join("changed").join(name));
    let mut edits_made = 0;
    for part in ["Cargo.toml", "sdk", "tests/zoo"] {
        for path in files(&from.join(part)) {
            let relative = path.strip_prefix(from).expect("the copy is of the workspace");
            let mut text = fs::read_to_string(&path).expect("sources are text");
            if relative == Path::new("Cargo.toml") {
                let members =
                    text.lines().find(|l| l.starts_with("members")).expect("a workspace has members").to_owned();
                text = text.replace(&members, "members = [\"sdk\", \"sdk/abi\"]");
            }
            if relative == Path::new("tests/zoo/Cargo.toml") {
                // Libraries of one name in one target directory would replace each other.
                text = text.replace("name = \"zoo\"", &format!("name = \"zoo-{name}\""));
            }
            edits_made += apply(edits, relative, &mut text);
            write_if_changed(&to.join(relative), &text);
        }
    }
    assert_eq!(edits_made, edits.len(), "an edit names a file that is not there");
    build(&to.join("tests/zoo"), "dev")
}

/// Makes the edits of one file of a copy, each of which replaces a text that must be in it once; how many there were.
pub(crate) fn apply(edits: &[(&str, &str, &str)], file: &Path, text: &mut String) -> usize {
    let here: Vec<_> = edits.iter().filter(|(of, ..)| file == Path::new(of)).collect();
    for (_, old, new) in &here {
        assert_eq!(text.matches(old).count(), 1, "{old:?} in {}", file.display());
        *text = text.replace(old, new);
    }
    here.len()
}

/// A fresh time stamp would make cargo build it all again.
pub(crate) fn write_if_changed(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return;
    }
    fs::create_dir_all(path.parent().expect("a file has a directory")).expect("the directory can be made");
    fs::write(path, text).expect("the copy can be written");
}

pub(crate) fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).expect("a directory of sources can be listed");
    let entries = entries.map(|e| e.expect("an entry can be read").path());
    entries.filter(|p| !p.ends_with("Cargo.lock") && !p.ends_with("target")).flat_map(|p| files(&p)).collect()
}

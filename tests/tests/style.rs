//! What rustfmt leaves alone: the width of comment lines.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Columns of a line, as rustfmt.toml has them for code.
const WIDTH: usize = 120;

/// Folders left out: build outputs, and sources whose every byte is recorded with a version of the boundary
/// (sdk/abi/versions.txt).
const LEFT_OUT: [&str; 3] = ["target", "tests/frozen", "sdk/abi/src"];

#[test]
fn comment_lines_fit_the_width() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut sources = Vec::new();
    for folder in ["host", "sdk", "plugins", "tests", "tools", "examples"] {
        collect(root, &root.join(folder), &mut sources);
    }
    assert!(sources.len() > 300, "only {} sources were found", sources.len());
    let mut wide = Vec::new();
    for path in sources {
        let text = fs::read_to_string(&path).unwrap();
        wide.extend(too_wide(&text).map(|line| format!("{}:{line}", path.strip_prefix(root).unwrap().display())));
    }
    assert!(wide.is_empty(), "comments beyond {WIDTH} columns:\n{}", wide.join("\n"));
}

#[test]
fn a_wide_comment_is_found() {
    let (fits, wide) = ("é".repeat(WIDTH - 7), "e".repeat(WIDTH - 6));
    let text = format!("let code = \"{wide}\";\n    // {fits}\n    // {wide}\n//! {fits}\n    /// {fits}\n");
    assert_eq!(too_wide(&text).collect::<Vec<_>>(), [3, 5]);
}

/// Numbers of the lines, from 1, that are nothing but a comment and too wide.
fn too_wide(text: &str) -> impl Iterator<Item = usize> {
    let lines = text.lines().zip(1..);
    lines.filter(|(line, _)| line.trim_start().starts_with("//") && line.chars().count() > WIDTH).map(|(_, n)| n)
}

fn collect(root: &Path, folder: &Path, sources: &mut Vec<PathBuf>) {
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let left_out = LEFT_OUT.iter().any(|name| path.strip_prefix(root).unwrap().ends_with(name));
        if path.is_dir() && !left_out {
            collect(root, &path, sources);
        } else if path.extension().is_some_and(|e| e == "rs") {
            sources.push(path);
        }
    }
}

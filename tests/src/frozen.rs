//! The plugins and the hosts of past boundaries, as they are, and those of 1.0 changed.

use crate::{
    outside::{self, apply, files, write_if_changed},
    workspace_root,
};
use std::{fs, path::PathBuf};

/// Where those of a boundary (`1.0`) lie.
pub fn dir(version: &str) -> PathBuf {
    workspace_root().join("tests/frozen").join(format!("abi-{version}"))
}

/// A copy of those of 1.0 under another name, for libraries of one name in one target directory would replace each
/// other. Each edit replaces a text that must be in the file once.
pub fn changed(name: &str, edits: &[(&str, &str, &str)]) -> PathBuf {
    let (from, to) = (dir("1.0"), outside::target().join("changed").join(format!("frozen-{name}")));
    let rename = [
        ("Cargo.toml", "name = \"frozen-abi-1-0\"", format!("name = \"frozen-abi-1-0-{name}\"")),
        ("Cargo.toml", "[lib]\n", format!("[[bin]]\nname = \"host-{name}\"\npath = \"src/bin/host.rs\"\n\n[lib]\n")),
    ];
    let edits: Vec<(&str, &str, &str)> =
        rename.iter().map(|(file, old, new)| (*file, *old, new.as_str())).chain(edits.iter().copied()).collect();
    let mut edits_made = 0;
    for path in files(&from) {
        let relative = path.strip_prefix(&from).expect("the copy is of this folder");
        let mut text = fs::read_to_string(&path).expect("sources are text");
        edits_made += apply(&edits, relative, &mut text);
        write_if_changed(&to.join(relative), &text);
    }
    assert_eq!(edits_made, edits.len(), "an edit names a file that is not there");
    to
}

//! Ids of plugins and the file names of their libraries: `ldalign-<kind>-<id>` and, with several kinds, `ldalign-<id>`
//! are bundled; any other is a library's own name.

use crate::library::Kind;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// The file names that a library of an id may have, in the order in which they are looked for.
pub(super) fn files(kind: Kind, id: &str) -> [String; 3] {
    let stem = id.replace('-', "_");
    [format!("libldalign_{kind}_{stem}.so"), format!("libldalign_{stem}.so"), format!("lib{stem}.so")]
}

/// Ids by the file names of bundled libraries of a kind, and of several kinds.
pub(super) fn known(kind: Kind, directories: &[PathBuf]) -> BTreeSet<String> {
    let entries = directories.iter().filter_map(|d| d.read_dir().ok()).flatten().flatten();
    let is_known = |(of, _): &(Option<Kind>, String)| of.is_none_or(|of| of == kind);
    entries.filter_map(|e| bundled(e.file_name().to_str()?)).filter(is_known).map(|(_, id)| id).collect()
}

/// The kind, unless it has several, and the id that the file name of a bundled library tells.
fn bundled(file: &str) -> Option<(Option<Kind>, String)> {
    let stem = file.strip_prefix("libldalign_")?.strip_suffix(".so")?;
    let of_kind = |kind: &Kind| Some((Some(*kind), stem.strip_prefix(kind.name())?.strip_prefix('_')?));
    let (kind, id) = Kind::ALL.iter().find_map(of_kind).unwrap_or((None, stem));
    Some((kind, id.replace('_', "-")))
}

/// The name by which a config finds a library file in a directory of plugins; None for a file that it does not find.
pub fn name_of(library: &Path) -> Option<String> {
    let file = library.file_name()?.to_str()?;
    let stem = || Some(file.strip_prefix("lib")?.strip_suffix(".so")?.replace('_', "-"));
    bundled(file).map(|(_, id)| id).or_else(stem)
}

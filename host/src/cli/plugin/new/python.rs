//! What `plugin new --python` makes: a script with its tests.

use ldalign::library::Kind;

/// The script's name without its ending. With the kind, so that it is no module of Python's own.
pub fn module(name: &str, kind: Kind) -> String {
    let stem = name.strip_suffix(kind.name()).map_or(name, |stem| stem.trim_end_matches('-')).replace('-', "_");
    if stem.is_empty() { format!("my_{kind}") } else { format!("{stem}_{kind}") }
}

/// The files, by their names, with gaps.
pub fn files(name: &str, kind: Kind) -> [(String, &'static str); 3] {
    let module = module(name, kind);
    let (script, test) = match kind {
        Kind::Encoder => (include_str!("python/encoder.py"), include_str!("python/test_encoder.py")),
        Kind::Distance => (include_str!("python/distance.py"), include_str!("python/test_distance.py")),
        Kind::Schedule => (include_str!("python/schedule.py"), include_str!("python/test_schedule.py")),
    };
    let readme = include_str!("python/README.md.txt");
    [(format!("{module}.py"), script), (format!("test_{module}.py"), test), ("README.md".into(), readme)]
}

//! Commands on shared plugins: one team that publishes and another that installs, in a directory that is set up anew
//! for each case.

use super::{Scene, copy};
use crate::built;
use ldalign::library;
use std::fs;

/// A command on shared plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shared {
    /// `plugin install`, where nothing is installed.
    Install,
    /// `plugin update` of what is installed.
    Update,
    /// `plugin pack`.
    Pack,
    /// `plugin sign`.
    Sign,
    /// `plugin publish` into a registry that has an older version.
    Publish,
}

impl Scene {
    /// A command on plugins of one team that publishes and another that installs; see [`Shared`].
    pub fn shared(of: Shared) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let output = dir.path().join("world");
        let at = |team: &str| output.join(team);
        for team in ["a", "b"] {
            fs::create_dir_all(at(team).join("home")).expect("a directory can be made");
        }
        let scene = |team: &str, args: &[&str]| Scene {
            dir: tempfile::tempdir().expect("a temporary directory"),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            output: output.clone(),
            at: at(team),
            before: None,
        };
        let does = |team: &str, args: &[&str]| {
            let out = scene(team, args).start(None, None);
            assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        };
        let versions = ["0.1.0", "0.1.1"].map(library_of);
        let package = |i: usize| format!("{}-0.1.{i}-{}.ldp", versions[0].0, library::target());
        let (old, new) = (package(0), package(1));
        let sign = ["plugin", "sign", &new, "--key", "key"];
        let publish = |package: &str| {
            ["plugin", "publish", package, "--registry", "../registry", "--key", "key.pub"].map(str::to_owned)
        };
        let name = versions[0].0.as_str();
        does("a", &["plugin", "keygen", "key", "--no-password"]);
        for (i, (_, bytes)) in versions.iter().enumerate() {
            fs::write(at("a").join(format!("{i}.so")), bytes).expect("a library can be written");
        }
        does("a", &["plugin", "pack", "0.so"]);
        does("a", &["plugin", "sign", &old, "--key", "key"]);
        does("a", &publish(&old).each_ref().map(String::as_str));
        does("b", &["plugin", "trust", "../registry", "--key", "../a/key.pub"]);
        let last = match of {
            Shared::Install => scene("b", &["plugin", "install", name]),
            Shared::Update => {
                does("b", &["plugin", "install", name]);
                does("a", &["plugin", "pack", "1.so"]);
                does("a", &sign);
                does("a", &publish(&new).each_ref().map(String::as_str));
                scene("b", &["plugin", "update"])
            }
            Shared::Pack => scene("a", &["plugin", "pack", "1.so"]),
            Shared::Sign | Shared::Publish => {
                does("a", &["plugin", "pack", "1.so"]);
                match of {
                    Shared::Sign => scene("a", &sign),
                    _ => {
                        does("a", &sign);
                        scene("a", &publish(&new).each_ref().map(String::as_str))
                    }
                }
            }
        };
        let before = dir.path().join("before");
        copy(&output, &before);
        Self { dir, before: Some(before), ..last }
    }
}

/// Name and bytes of a bundled plugin as if it had been built with a version: its metadata are text in the file.
fn library_of(version: &str) -> (String, Vec<u8>) {
    let path = built().join("libldalign_distance_euclidean.so");
    let name = library::inspect(&path).expect("a bundled plugin").metadata.name;
    let mut bytes = fs::read(path).expect("a bundled plugin can be read");
    let (old, new) = (format!("\"version\":\"{}\"", env!("CARGO_PKG_VERSION")), format!("\"version\":\"{version}\""));
    assert_eq!(old.len(), new.len(), "the text must not move");
    let places: Vec<usize> = (0..bytes.len() - old.len()).filter(|i| bytes[*i..].starts_with(old.as_bytes())).collect();
    assert!(!places.is_empty(), "the library does not say its version");
    places.iter().for_each(|at| bytes[*at..at + new.len()].copy_from_slice(new.as_bytes()));
    (name, bytes)
}

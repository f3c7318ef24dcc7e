//! The graph of rooms: between modules of the host no imports run in a circle, other than those of a parent and its
//! children, and ARCHITECTURE.md has every room that there is.
#![allow(clippy::unwrap_used)]

mod graph;
mod source;

use graph::circles;
use ldalign_tests::workspace_root;
use source::Tree;
use std::{collections::BTreeSet, fs};

fn host() -> Tree {
    Tree::read(&workspace_root().join("host/src"), "ldalign")
}

#[test]
fn imports_between_the_rooms_of_the_host_make_no_circle() {
    let circles = circles(&host());
    assert!(circles.is_empty(), "\n{}", circles.concat());
}

#[test]
fn the_architecture_names_every_room() {
    let text = fs::read_to_string(workspace_root().join("ARCHITECTURE.md")).unwrap();
    let (_, section) = text.split_once("\n## The host").expect("a section about the host");
    let section = section.split("\n## ").next().unwrap();
    // The first cells of the tables' rows: names in backticks.
    let cells = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let named: BTreeSet<&str> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    let host = host();
    assert_eq!(named, host.rooms().into_iter().collect(), "left: ARCHITECTURE.md, right: host/src");
}

/// A crate of some files, and the circles in it.
fn circles_in(files: &[(&str, &str)]) -> Vec<String> {
    let src = tempfile::tempdir().unwrap();
    for (file, text) in files {
        let path = src.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    circles(&Tree::read(src.path(), "house"))
}

const ROOMS: (&str, &str) = ("lib.rs", "pub mod kitchen;\nmod hall;\npub use kitchen::Oven;\n");

#[test]
fn what_runs_one_way_is_no_circle() {
    let none: [&str; 0] = [];
    for (kitchen, hall) in [
        ("pub struct Oven;", "use crate::kitchen::Oven;"),
        // Parent and child use each other.
        ("mod oven;\npub use oven::Oven;\nfn size() -> usize { oven::size() }", "fn f() { crate::Oven; }"),
        // Tests, comments and strings import nothing.
        ("pub struct Oven;\n#[cfg(test)]\nuse crate::hall;", "use crate::Oven;"),
        ("pub struct Oven;\n#[cfg(all(test, unix))]\nmod tests { use crate::hall; }", "use crate::Oven;"),
        ("/// crate::hall::f()\npub struct Oven; // crate::hall\nconst S: &str = \"crate::hall\";", "use crate::Oven;"),
        // Somebody else's hall.
        ("pub struct Oven;\nuse other::hall;\nfn f() { hall::f(); ::hall::f() }", "use crate::Oven;"),
        ("pub struct Oven { hall: u8 }\nfn f(o: Oven) -> u8 { o.hall }", "use crate::Oven;"),
    ] {
        let oven = "use super::*;\npub struct Oven;\npub fn size() -> usize { super::f() }";
        let files = [ROOMS, ("kitchen.rs", kitchen), ("kitchen/oven.rs", oven), ("hall.rs", hall)];
        assert_eq!(circles_in(&files), none, "{kitchen}");
    }
}

#[test]
fn a_circle_is_found_however_it_is_written() {
    let hall = "pub struct Door;\npub fn f() {}\nuse crate::kitchen::Oven;";
    for kitchen in [
        "pub struct Oven;\nuse crate::hall::Door;",
        "pub struct Oven;\nuse crate::{hall::{self, Door as D}, other};",
        "pub struct Oven;\nuse super::hall;",
        "pub struct Oven;\nfn g() { crate::hall::f() }",
        "pub struct Oven;\nfn g() { println!(\"{}\", super::hall::f()) }",
        "pub struct Oven;\nfn g() -> Vec<house::hall::Door> { todo!() }",
        "pub struct Oven;\n#[derive(X)]\n#[x(with = crate::hall::f)]\nstruct Y;",
        "pub struct Oven;\n#[cfg(any(test, unix))]\nuse crate::hall;",
        "pub struct Oven;\nmod inner { fn g() { super::super::hall::f() } }",
        "pub struct Oven;\nuse super::*;\nfn g() { hall::f() }",
    ] {
        let circles = circles_in(&[ROOMS, ("kitchen.rs", kitchen), ("hall.rs", hall)]);
        assert_eq!(circles.len(), 1, "{kitchen}\n{circles:?}");
        assert!(circles[0].starts_with("a circle in the crate:\n"), "{circles:?}");
        assert!(circles[0].contains("hall imports kitchen: hall.rs:3"), "{circles:?}");
        assert!(circles[0].contains("kitchen imports hall: kitchen.rs:"), "{circles:?}");
    }
}

#[test]
fn a_circle_is_found_behind_names_of_others_and_inside_a_room() {
    // The root's and a facade's names are those of the modules that define them.
    let through_the_root = [
        ("lib.rs", "mod kitchen;\nmod hall;\npub use hall::Door;\n"),
        ("kitchen.rs", "use crate::Door;\npub struct Oven;"),
        ("hall.rs", "use super::kitchen;\npub struct Door;"),
    ];
    let in_a_room = [
        ("lib.rs", "mod kitchen;\n"),
        ("kitchen.rs", "mod oven;\nmod sink;\nmod tap;\npub use oven::Oven;\nuse {sink::Sink, tap::Tap};"),
        ("kitchen/oven.rs", "use super::Sink;\npub struct Oven;"),
        ("kitchen/sink.rs", "use crate::kitchen;\npub struct Sink;\nfn f(_: kitchen::tap::Tap) {}"),
        ("kitchen/tap.rs", "#[path = \"elsewhere.rs\"]\nmod water;\npub struct Tap;"),
        ("kitchen/elsewhere.rs", "fn f(_: crate::kitchen::Oven) {}"),
    ];
    assert_eq!(
        circles_in(&through_the_root),
        ["a circle in the crate:\n  hall imports kitchen: hall.rs:1\n  kitchen imports hall: kitchen.rs:1\n"]
    );
    assert_eq!(
        circles_in(&in_a_room),
        ["a circle in kitchen:\n  oven imports sink: kitchen/oven.rs:1\n  sink imports tap: kitchen/sink.rs:3\n  \
          tap imports oven: kitchen/elsewhere.rs:1\n"]
    );
}

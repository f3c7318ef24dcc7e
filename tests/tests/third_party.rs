//! Plugins from outside the workspace, in real runs: the README's, the example's, and ones that fail in the middle.

use ldalign_tests::{outside, runs, workspace_root};
use std::{
    fs,
    path::{Path, PathBuf},
};

const SHORT: &str = "generate: { samples: 1, max_new_tokens: 8 }\ntrain: { max_steps: 2 }\n";

/// The code block of the README after the line that starts with `mark`.
fn readme_block(mark: &str) -> String {
    let readme = fs::read_to_string(workspace_root().join("README.md")).expect("there is a README");
    let (_, rest) = readme.split_once(mark).unwrap_or_else(|| panic!("the README lacks {mark:?}"));
    let (_, rest) = rest.split_once("```").expect("a code block follows");
    let (_, rest) = rest.split_once('\n').expect("a code block has lines");
    rest.split_once("```").expect("a code block ends").0.to_owned()
}

/// The README's plugin, as its reader would lay it out.
fn readme_plugin() -> PathBuf {
    let dir = workspace_root().join("target/outside/readme-plugin");
    fs::create_dir_all(dir.join("src")).expect("a directory can be made");
    // A directory inside the workspace's would be taken for a member: its own table makes it a workspace.
    let manifest = readme_block("`Cargo.toml`:").replace("LDALIGN", &workspace_root().display().to_string());
    fs::write(dir.join("Cargo.toml"), manifest + "\n[workspace]\n").expect("the manifest can be written");
    fs::write(dir.join("src/lib.rs"), readme_block("`src/lib.rs`:")).expect("the source can be written");
    dir
}

fn run(distance: &str) -> (tempfile::TempDir, std::process::Output) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = runs::config(dir.path(), &format!("{SHORT}distance: {distance}\n"));
    let out = runs::command("run", &config, &[]).output().expect("the binary starts");
    (dir, out)
}

fn distances(dir: &Path) -> Vec<f64> {
    let scores = fs::read_to_string(dir.join("run/round-1/scores.jsonl")).expect("the run has scores");
    let value =
        |line| serde_json::from_str::<serde_json::Value>(line).expect("a score line is JSON")["distance"].as_f64();
    scores.lines().map(|line| value(line).expect("a distance was measured")).collect()
}

#[test]
fn the_readme_s_plugin_works_in_debug_and_in_release() {
    let crate_dir = readme_plugin();
    let by = |profile| {
        let library = outside::build(&crate_dir, profile);
        let (dir, out) = run(library.to_str().expect("paths here are UTF-8"));
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let manifest = fs::read_to_string(dir.path().join("run/manifest.json")).expect("there is a manifest");
        assert!(manifest.contains("\"id\": \"manhattan\""), "{manifest}");
        distances(dir.path())
    };
    let debug = by("dev");
    assert!(debug.iter().any(|d| *d > 0.0));
    assert_eq!(debug, by("release"));
}

#[test]
fn the_example_takes_options() {
    let library = outside::build(&workspace_root().join("examples/third-party-distance"), "release");
    let with = |p: f64| {
        let (dir, out) = run(&format!("{{ plugin: {}, options: {{ p: {p} }} }}", library.display()));
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        distances(dir.path())
    };
    let euclidean = {
        let (dir, out) = run("euclidean");
        assert!(out.status.success());
        distances(dir.path())
    };
    let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-5 * b.abs());
    assert!(close(&with(2.0), &euclidean), "p = 2 is not Euclidean");
    assert!(!close(&with(1.0), &euclidean));
}

#[test]
fn a_plugin_that_fails_in_the_middle_ends_the_run_and_loses_nothing() {
    let zoo = outside::zoo();
    for (id, code, said) in [
        ("panics-in-call", 1, "panicked"),
        ("panics-in-drop-once-used", 1, "panicked"),
        ("exits-in-call", 70, "exit"),
        ("aborts-in-call", -1, "aborted in distances"),
        ("crashes-in-call", -1, "in distances"),
    ] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config = runs::config(dir.path(), &format!("{SHORT}distance: {{ plugin: {}, id: {id} }}\n", zoo.display()));
        let run = || runs::command("run", &config, &[]).output().expect("the binary starts");
        let out = run();
        let message = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code().unwrap_or(-1), code, "{id}: {message}");
        assert!(message.contains(id) && message.contains(said), "{id}: {message}");
        // What was done stays done, and the next start meets the same plugin without doing it again.
        let done = runs::bytes(&dir.path().join("run"));
        assert!(done.contains_key(Path::new("round-1/candidates.bin")), "{id}: {done:?}");
        assert!(!dir.path().join("run/round-1/done/score.json").exists(), "{id}");
        assert_eq!(run().status.code().unwrap_or(-1), code, "{id}");
        assert_eq!(runs::bytes(&dir.path().join("run")), done, "{id}");
    }
}

//! Scripts as plugins: they do what plugins in Rust do, in whole runs, and what is wrong with one is said with its
//! file, line and method. They need `python3` with NumPy on the PATH, and say so.
#![allow(clippy::unwrap_used)]

mod calls;
mod whole;

use ldalign::{
    Code, Error,
    config::PluginChoice,
    library::Kind,
    plugin::{Distance, Finder, Plugin, Services},
};
use ldalign_sdk::{LatentShape, Level};
use ldalign_tests::{Bare, built, host_binary, runs, workspace_root};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, Mutex, Once},
    time::{Duration, Instant},
};

const SHORT: &str = "generate: { samples: 1, max_new_tokens: 8 }\ntrain: { max_steps: 2 }\n";
const PAIR: LatentShape = LatentShape { slots: 1, dim: 2 };

/// A directory for scripts, once it is known that they can be run.
fn dir() -> tempfile::TempDir {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let out = Command::new("python3").args(["-c", "import numpy"]).output();
        let there = out.is_ok_and(|out| out.status.success());
        assert!(there, "these tests need python3 with NumPy on the PATH: apt-get install python3-numpy");
    });
    tempfile::tempdir().unwrap()
}

fn finder() -> Finder {
    Finder {
        search_path: vec![built().to_owned()],
        probe_program: env!("CARGO_BIN_EXE_plugin-driver").into(),
        // Python and NumPy are started in it, on a busy machine too.
        probe_limit: Duration::from_secs(60),
        ..Finder::new(&[])
    }
}

/// Writes a script and has it loaded, with more options.
fn load(dir: &Path, script: &str, more: Value) -> Result<Plugin, Error> {
    fs::write(dir.join("my.py"), script).unwrap();
    let mut options = more.as_object().unwrap().clone();
    options.entry("script").or_insert(dir.join("my.py").to_str().unwrap().into());
    finder().load(Kind::Distance, &PluginChoice { options, ..PluginChoice::bundled("python") })
}

fn distance(dir: &Path, script: &str, more: Value) -> Distance {
    load(dir, script, more).unwrap().distance(Arc::new(Bare)).unwrap()
}

fn measure(distance: &Distance) -> Result<Vec<f32>, Error> {
    distance.distances(&[0.0, 0.0, 1.0, 1.0], &[3.0, 4.0, 1.0, 1.0], PAIR)
}

/// A class Distance with a body of `distances`.
fn class(body: &str) -> String {
    let body: String = body.lines().map(|line| format!("        {line}\n")).collect();
    format!("import os, sys, time\nimport numpy as np\n\nclass Distance:\n    def distances(self, a, b):\n{body}")
}

/// What a message says after the plugin's name.
fn text(e: &Error) -> String {
    let text = format!("error[{}]: {e:#}", e.code());
    let (before, after) = text.split_once("distance `python` of ldalign-python").unwrap_or(("", &text));
    format!("{before}{}", after.split_once(") ").map_or(after, |(_, after)| after))
}

fn said(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

fn scores(run: &Path) -> Vec<f64> {
    let lines = fs::read_to_string(run.join("round-1/scores.jsonl")).unwrap();
    let of = |line| serde_json::from_str::<Value>(line).unwrap()["distance"].as_f64().unwrap();
    lines.lines().map(of).collect()
}

const EUCLIDEAN: &str = "import numpy as np

class Distance:
    def distances(self, a, b):
        return np.sqrt(((a.astype(np.float64) - b) ** 2).sum(axis=(1, 2)))
";

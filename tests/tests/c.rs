//! Plugins in C and C++, compiled as their authors would: they keep every rule and give the right figures, and what
//! does not fit the header is refused in words. They need `cc`, and those for C++ `c++`.
#![allow(clippy::unwrap_used)]

use ldalign::{
    Error,
    config::PluginChoice,
    library::Kind,
    plugin::{Finder, Plugin},
};
use ldalign_sdk::LatentShape;
use ldalign_tests::{Bare, built, host_binary, runs, workspace_root};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
};

fn said(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// Compiles a source into a library in `dir`, with the header in `include`.
fn compile(dir: &Path, source: &Path, include: &Path) -> PathBuf {
    let stem = source.file_stem().unwrap().to_str().unwrap();
    let library = dir.join(format!("lib{stem}.so"));
    let is_c = source.extension().unwrap() == "c";
    let mut compiler = Command::new(if is_c { "cc" } else { "c++" });
    compiler.args([if is_c { "-std=c99" } else { "-std=c++17" }, "-Wall", "-Wextra", "-Werror", "-O2"]);
    compiler.args(["-shared", "-fPIC", "-I"]).arg(include).arg("-o").arg(&library).arg(source).arg("-lm");
    let out = compiler.output().unwrap_or_else(|e| panic!("these tests need a compiler of C and one of C++: {e}"));
    assert!(out.status.success(), "{}", said(&out));
    library
}

fn include() -> PathBuf {
    workspace_root().join("sdk/c/include")
}

fn example(dir: &Path, name: &str) -> PathBuf {
    compile(dir, &workspace_root().join("sdk/c").join(name), &include())
}

fn load(kind: Kind, library: &Path, args: Value) -> Result<Plugin, Error> {
    let finder = Finder {
        search_path: vec![built().to_owned()],
        probe_program: env!("CARGO_BIN_EXE_plugin-driver").into(),
        ..Finder::new(&[])
    };
    let options = json!({ "library": library, "args": args }).as_object().unwrap().clone();
    finder.load(kind, &PluginChoice { options, ..PluginChoice::bundled("c") })
}

fn keeps_every_rule(name: &str, passed: usize) {
    let dir = tempfile::tempdir().unwrap();
    let library = example(dir.path(), name);
    let out = Command::new(host_binary()).args(["plugin", "check", "--json"]).arg(&library).output().unwrap();
    assert!(out.status.success(), "{}", said(&out));
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    let passes = report["checks"].as_array().unwrap().iter().filter(|check| check["verdict"] == "pass").count();
    assert!(passes >= passed, "{name}: {passes} checks passed");
}

#[test]
fn the_example_in_c_keeps_every_rule() {
    keeps_every_rule("hellinger.c", 35);
}

#[test]
#[ignore = "needs a compiler of C++: make test-languages"]
fn the_example_in_cpp_keeps_every_rule() {
    keeps_every_rule("centred.cpp", 70);
}

#[test]
fn a_distance_in_c_has_the_figures_of_its_formula() {
    let dir = tempfile::tempdir().unwrap();
    let library = example(dir.path(), "hellinger.c");
    let plugin = load(Kind::Distance, &library, json!({ "temperature": 0.5 })).unwrap();
    assert_eq!(plugin.record().files["library"].sha256, ldalign::files::sha256_file(&library).unwrap());
    let distance = plugin.distance(Arc::new(Bare)).unwrap();
    // exp(x / 0.5): 1 and 1 beside 3 and 1, shares 1/2 and 1/2 beside 3/4 and 1/4.
    let (a, b) = ([0.0, 0.0, 5.0, 5.0], [0.5 * 3f32.ln(), 0.0, 5.0, 5.0]);
    let got = distance.distances(&a, &b, LatentShape { slots: 1, dim: 2 }).unwrap();
    let half = |p: f64, q: f64| (p.sqrt() - q.sqrt()).powi(2);
    let expected = ((half(0.5, 0.75) + half(0.5, 0.25)) / 2.0).sqrt();
    assert!((f64::from(got[0]) - expected).abs() < 1e-6 && got[1] == 0.0, "{got:?}, not {expected}");
    distance.close().unwrap();
}

#[test]
#[ignore = "needs a compiler of C++: make test-languages"]
fn an_encoder_and_a_schedule_in_cpp_serve_a_run() {
    let dir = tempfile::tempdir().unwrap();
    example(dir.path(), "centred.cpp");
    let short = "generate: { samples: 1, max_new_tokens: 8 }\ntrain: { max_steps: 2 }\n";
    let distances = |more: &str| -> Vec<f64> {
        let config = runs::config(dir.path(), &format!("{short}{more}"));
        runs::succeed(runs::command("run", &config, &[]));
        let scores = fs::read_to_string(dir.path().join("run/round-1/scores.jsonl")).unwrap();
        fs::remove_dir_all(dir.path().join("run")).unwrap();
        let of = |line| serde_json::from_str::<Value>(line).unwrap()["distance"].as_f64().unwrap();
        scores.lines().map(of).collect()
    };
    let bundled = distances("");
    let ours = distances(
        "schedule: { plugin: c, options: { library: libcentred.so, args: { least: 0.1 } } }\n\
         encoder: { plugin: c, options: { library: libcentred.so } }\n",
    );
    // Euclidean distances do not see what is taken off all latents, though the last bits do.
    assert_eq!((bundled.len(), ours.len()), (24, 24));
    assert_ne!(bundled, ours);
    for (bundled, ours) in bundled.iter().zip(&ours) {
        assert!((bundled - ours).abs() < 1e-4 * bundled.max(1.0), "{bundled} {ours}");
    }
}

#[test]
fn what_does_not_fit_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let hellinger = example(dir.path(), "hellinger.c");
    let refused = |kind: Kind, library: &Path, args: Value| {
        let told = format!("{kind} of {} with {args}", library.display());
        let e = load(kind, library, args).err().unwrap_or_else(|| panic!("{told} is not refused"));
        format!("{e:#}")
    };
    // A header that has grown in its own way.
    let grown = dir.path().join("grown");
    fs::create_dir(&grown).unwrap();
    let header = fs::read_to_string(include().join("ldalign.h")).unwrap();
    let header = header.replace("  void (*destroy)(void *self);\n", "  void (*destroy)(void *self);\n  void *more;\n");
    fs::write(grown.join("ldalign.h"), header).unwrap();
    let source = fs::read_to_string(workspace_root().join("sdk/c/hellinger.c")).unwrap();
    let other = |name: &str, from: &str, to: &str, include: &Path| {
        assert!(source.contains(from), "{from}");
        let path = dir.path().join(name);
        fs::write(&path, source.replace(from, to)).unwrap();
        compile(dir.path(), &path, include)
    };
    let none = json!({});
    for (library, kind, args, message) in [
        (
            other("grown.c", "table", "table", &grown),
            Kind::Distance,
            none.clone(),
            "libgrown.so: its table of the distance has 64 bytes, and this program's has 56: compile it with this program's ldalign.h",
        ),
        (
            other("unsized.c", ".size = sizeof table, ", "", &include()),
            Kind::Distance,
            none.clone(),
            "has 0 bytes, and this program's has 56",
        ),
        (
            other("half.c", ".distances = distances, ", ".distances = 1 ? 0 : distances, ", &include()),
            Kind::Distance,
            none.clone(),
            "its table of the distance has no function `distances`",
        ),
        (
            hellinger.clone(),
            Kind::Schedule,
            none.clone(),
            "libhellinger.so: it exports no `ldalign_schedule_1`, and so has no schedule",
        ),
        (
            hellinger.clone(),
            Kind::Distance,
            json!({"temprature": 2}),
            "args: the library asks for the number `temperature`, and not for the number `temprature`",
        ),
        (hellinger.clone(), Kind::Distance, json!({"temperature": "warm"}), "not for the text `temperature`"),
        (
            hellinger,
            Kind::Distance,
            json!({"temperature": 0}),
            "libhellinger.so: temperature must be greater than 0, not 0",
        ),
        ("/nowhere/lib.so".into(), Kind::Distance, none.clone(), "library: there is no file /nowhere/lib.so"),
        (workspace_root().join("README.md"), Kind::Distance, none, "README.md: it cannot be loaded"),
    ] {
        let got = refused(kind, &library, args);
        assert!(got.contains(message), "{message}\n{got}");
    }
}

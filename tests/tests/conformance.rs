//! The conformance suite: the bundled plugins pass it, and whoever breaks a rule fails the check of that rule.
#![allow(clippy::unwrap_used)]

use ldalign_tests::{built, host_binary, outside, workspace_root};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

fn zoo() -> &'static Path {
    static ZOO: OnceLock<PathBuf> = OnceLock::new();
    ZOO.get_or_init(outside::zoo)
}

fn check(library: &Path, args: &[&str]) -> Output {
    Command::new(host_binary()).args(["plugin", "check"]).arg(library).args(args).output().unwrap()
}

/// (check, what was found) of every failed check of a plugin in the zoo.
fn failures(id: &str, args: &[&str]) -> Vec<(String, String)> {
    let out = check(zoo(), &[&["--id", id, "--json"], args].concat());
    let report: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{out:?}"));
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let failed: Vec<(String, String)> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|c| c["verdict"] == "fail")
        .map(|c| (text(&c["check"]), text(&c["found"])))
        .collect();
    assert_eq!(out.status.code(), Some(i32::from(!failed.is_empty())), "{out:?}");
    failed
}

#[test]
fn the_bundled_plugins_conform() {
    let libraries = built().read_dir().unwrap().map(|e| e.unwrap().path());
    let is_plugin = |p: &PathBuf| {
        let name = p.file_name().unwrap().to_string_lossy().into_owned();
        name.ends_with(".so") && ["distance", "schedule"].iter().any(|k| name.starts_with(&format!("libldalign_{k}_")))
    };
    let mut checked = 0;
    for library in libraries.filter(is_plugin) {
        let out = check(&library, &[]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
        checked += 1;
    }
    assert!(checked >= 8);
    // Encoders with options that make them quick, or that they need. What they learn takes its time where other
    // programs have the processors.
    let model = workspace_root().join("plugins/encoder-sentence/fixtures/model");
    let sentence = serde_json::json!({ "model_dir": model, "max_tokens": 16 }).to_string();
    for (name, options) in [
        ("policy_states", "{}"),
        ("autoencoder", r#"{"steps": 2, "dim": 16, "layers": 1, "max_tokens": 32}"#),
        ("guided", r#"{"steps": 2, "dim": 16, "max_tokens": 32}"#),
        ("sentence", sentence.as_str()),
    ] {
        let library = built().join(format!("libldalign_encoder_{name}.so"));
        let out = check(&library, &["--options", options, "--time-limit", "1200"]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
    }
}

/// One property of a sound distance is broken in each mutant: the suite finds that one.
#[test]
fn every_broken_property_is_found() {
    assert_eq!(failures("sound", &[]), []);
    for (mutant, check, found) in [
        ("asymmetric", "distance/symmetric", "d(a, b) = "),
        ("no-triangle", "distance/triangle", "d(a, b) = "),
        ("nonzero-on-equal", "distance/zero-on-equal", "for a = [0]"),
        ("nan-on-zero", "distance/ordinary-extremes", "d(a, b) = NaN"),
        ("hides-nan", "distance/not-a-number", "d(a, b) = 0"),
        ("batch-unlike-singles", "calls/batch-equals-singles", "input 1 of a batch of 2 gives "),
        ("random", "calls/repeatable", "the same call again gave "),
        ("counts-calls", "calls/repeatable", "the same call again gave "),
        ("leaks", "instance/memory", "bytes behind"),
        ("forgets-state", "state/restores", "the restored instance gave "),
        ("writes-beside", "calls/outputs-only", "a batch of 1 changes 1 numbers beside its output"),
        ("reads-beyond", "calls/inside-the-slices", "touched memory it does not own (SIGSEGV) in distances"),
        ("scribbles-on-inputs", "calls/inputs-unchanged", "an input was changed"),
        ("spawns-threads", "instance/threads-end", "threads stayed"),
        ("prints", "instance/prints-nothing", "it printed \"measured "),
        ("flushes-denormals", "instance/leaves-process-alone", "changed the floating-point mode"),
        ("overflows-stack", "calls/every-number", "aborted (SIGABRT) in distances; it said: "),
        ("aligned-only", "calls/alignment", "4 bytes on gave "),
        ("nan-in-tail", "distance/nonnegative", "pair 8 of a batch of 9 is at distance NaN, alone it is sound"),
        ("refuses-far", "distance/symmetric", "it gave an error in distances: too far for a = "),
    ] {
        let group = format!("{}/*", check.split('/').next().unwrap());
        let failed = failures(mutant, &["--filter", &group]);
        assert!(failed.iter().any(|(c, f)| c == check && f.contains(found)), "{mutant}: {failed:#?}");
    }
}

/// What is plainly wrong fails the check of it, by its reason.
#[test]
fn the_zoo_fails_each_for_its_reason() {
    let life = ["--filter", "instance/life", "--time-limit", "2"];
    for (id, found) in [
        ("panics-in-new", "it panicked in new: no new today"),
        ("panics-in-call", "it panicked in distances: no "),
        ("panics-in-drop", "it panicked in Drop: no end today"),
        ("exits-in-new", "it called exit(0) in new"),
        ("exits-in-call", "it called exit(0) in distances"),
        ("exits-in-drop", "it called exit(0) in Drop"),
        ("aborts-in-new", "it aborted (SIGABRT) in new"),
        ("aborts-in-call", "it aborted (SIGABRT) in distances"),
        ("hangs-in-new", "it did not return from new in 2s"),
        ("crashes-in-call", "it touched memory it does not own (SIGSEGV) in distances"),
        ("panics-in-drop-once-used", "it panicked in Drop: no end today"),
        (
            "fails-in-call",
            "it refuses latents of every shape tried: name one that it takes; of the last, it gave an error in distances",
        ),
        ("unsupported", "there is no instance: it gave an error in new: no such machine"),
    ] {
        let failed = failures(id, &life);
        assert!(matches!(&failed[..], [(_, f)] if f.starts_with(found)), "{id}: {failed:?}");
    }
    for (id, check, found) in [
        ("prints-without-end", "instance/life", "it wrote more than 256 MiB in distances"),
        ("gives-nan", "calls/every-number", "number 0 of 33 is NaN"),
        ("gives-negative", "distance/nonnegative", "d(a, b) = -1.5 for a = [0], b = [0] (1 x 1)"),
        ("writes-nothing", "calls/every-number", "number 0 of 33 is NaN"),
    ] {
        let failed = failures(id, &["--filter", check]);
        assert!(matches!(&failed[..], [(_, f)] if f.starts_with(found)), "{id}: {failed:?}");
    }
    for (on_load, check, found) in [
        ("exit", "load/again", "called exit(0) in loading"),
        ("abort", "load/again", "aborted (SIGABRT) in loading"),
        ("hang", "load/again", "did not return from loading in 4s"),
        ("print", "load/prints-nothing", "it printed \"hello from the zoo\""),
        ("move", "load/leaves-process-alone", "loading changed the working directory"),
        ("thread", "load/leaves-process-alone", "loading started 1 threads"),
        ("flush", "load/leaves-process-alone", "loading changed the floating-point mode"),
    ] {
        let mut command = Command::new(host_binary());
        command.args(["plugin", "check", "--filter", check, "--time-limit", "4"]).arg(zoo());
        let out = command.env("ZOO_ON_LOAD", on_load).output().unwrap();
        let report = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.code() == Some(1) && report.contains(found), "{on_load}: {report}");
    }
}

#[test]
fn reports_are_the_same_each_time_and_name_what_is_asked_for() {
    let euclidean = built().join("libldalign_distance_euclidean.so");
    let of = |args: &[&str]| String::from_utf8(check(&euclidean, args).stdout).unwrap();
    let args = ["--filter", "distance/*", "--seed", "7", "--json"];
    assert_eq!(of(&args), of(&args));
    let report: Value = serde_json::from_str(&of(&args)).unwrap();
    let ids: BTreeSet<&str> =
        report["checks"].as_array().unwrap().iter().map(|c| c["check"].as_str().unwrap()).collect();
    assert!(ids.contains("distance/symmetric") && ids.iter().all(|id| id.starts_with("distance/")), "{ids:?}");
    let in_process = of(&["--filter", "distance/symmetric", "--in-process", "--options", r#"{"squared": true}"#]);
    assert!(
        in_process.contains("distance `euclidean` with {\"squared\":true}\n  pass  distance/symmetric"),
        "{in_process}"
    );
    for (args, said) in [
        (&["--id", "manhattan"][..], "the library provides nothing of that kind and id"),
        (&["--filter", "distance/symetric"], "no check of these plugins matches `distance/symetric`"),
        (&["--options", "[1]"], "expected a JSON object"),
    ] {
        let out = check(&euclidean, args);
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && text.contains(said), "{text}");
    }
}

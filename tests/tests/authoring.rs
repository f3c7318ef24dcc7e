//! What an author meets: `plugin new`, the ten-minute guide, `plugin info` and `plugin why-not`, and plugins made
//! outside in real runs.
#![allow(clippy::unwrap_used)]

use ldalign_tests::{built, host_binary, outside, runs, workspace_root};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn ldalign(dir: &Path, args: &[&str]) -> Output {
    Command::new(host_binary()).args(args).current_dir(dir).output().unwrap()
}

fn said(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// Lets a new crate build as its author would, but with the workspace's versions and where such crates are built here.
fn settle(crate_dir: &Path) {
    fs::copy(workspace_root().join("Cargo.lock"), crate_dir.join("Cargo.lock")).unwrap();
    fs::create_dir_all(outside::target()).unwrap();
    std::os::unix::fs::symlink(outside::target(), crate_dir.join("target")).unwrap();
}

/// The guide's code blocks in order: language and text.
fn blocks(guide: &str) -> Vec<(&str, &str)> {
    guide.split("```").skip(1).step_by(2).filter_map(|block| block.split_once('\n')).collect()
}

#[test]
fn the_ten_minute_guide_works_as_written() {
    let guide = fs::read_to_string(workspace_root().join("docs/write-a-distance-plugin.md")).unwrap();
    let guide = guide.replace("LDALIGN", &workspace_root().display().to_string());
    let dir = tempfile::tempdir().unwrap();
    let path = format!("{}:{}", built().display(), std::env::var("PATH").unwrap());
    let mut commands = 0;
    for (language, text) in blocks(&guide) {
        match language {
            "sh" => {
                for command in text.lines() {
                    let mut shell = Command::new("sh");
                    shell.args(["-c", command]).current_dir(dir.path()).env("PATH", &path);
                    let out = shell.output().unwrap();
                    assert!(out.status.success(), "{command}:\n{}", said(&out));
                    commands += 1;
                    if command.contains("plugin new") {
                        settle(&dir.path().join("chord"));
                    }
                }
            }
            "rust" => fs::write(dir.path().join("chord/src/lib.rs"), text).unwrap(),
            "yaml" => fs::write(dir.path().join("run.yaml"), text).unwrap(),
            other => panic!("nobody knows what to do with a block of {other}"),
        }
    }
    assert_eq!(commands, 5, "the guide promises five commands");
    let manifest = fs::read_to_string(dir.path().join("run/manifest.json")).unwrap();
    assert!(manifest.contains("\"id\": \"chord\"") && manifest.contains("0.001"), "{manifest}");
    for line in fs::read_to_string(dir.path().join("run/round-1/scores.jsonl")).unwrap().lines() {
        let distance = serde_json::from_str::<Value>(line).unwrap()["distance"].as_f64().unwrap();
        assert!((0.0..=2.0 + 1e-6).contains(&distance), "{distance} is no chord of the unit sphere");
    }
}

#[test]
fn a_new_crate_of_each_kind_passes_its_tests_and_serves_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = String::from("generate: { samples: 1, max_new_tokens: 8 }\ntrain: { max_steps: 2 }\n");
    for kind in ["encoder", "distance", "schedule"] {
        let name = format!("first-{kind}");
        let out = ldalign(dir.path(), &["plugin", "new", &name, "--kind", kind]);
        assert!(out.status.success(), "{}", said(&out));
        let crate_dir = dir.path().join(&name);
        settle(&crate_dir);
        let test = outside::cargo().args(["test", "--quiet"]).current_dir(&crate_dir).output().unwrap();
        assert!(test.status.success(), "{name}:\n{}", said(&test));
        assert!(said(&test).contains("3 passed"), "two tests of its own and the suite: {}", said(&test));
        let library = outside::build(&crate_dir, "release");
        let metadata = ldalign::library::inspect(&library).unwrap().metadata;
        assert_eq!((metadata.license.as_str(), metadata.provides[0].id.as_str()), ("MIT", name.as_str()));
        config += &format!("{kind}: {}\n", library.display());
    }
    let config = runs::config(dir.path(), &config);
    runs::succeed(runs::command("run", &config, &[]));
    let manifest = fs::read_to_string(dir.path().join("run/manifest.json")).unwrap();
    assert!(["encoder", "distance", "schedule"].iter().all(|kind| manifest.contains(&format!("\"first-{kind}\""))));
}

#[test]
fn what_cannot_be_made_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("there")).unwrap();
    let refused = |args: &[&str], message: &str| {
        let out = ldalign(dir.path(), &[&["plugin", "new"], args].concat());
        assert_eq!(out.status.code(), Some(1), "{}", said(&out));
        assert!(said(&out).contains(message), "{}", said(&out));
    };
    refused(&["there", "--kind", "distance"], "error[plugin/new]: there is there already");
    refused(&["new", "--dir", "there", "--kind", "distance"], "error[plugin/new]: there is there already");
    refused(&["No", "--kind", "distance"], "`No` is no name for a plugin: it must begin with a letter from a to z");
    refused(&["../up", "--kind", "distance"], "no name for a plugin");
    refused(&["new", "--sdk", "there", "--kind", "distance"], "error[file/io]: cannot read there/Cargo.toml");
    let wrong = workspace_root().join("host").display().to_string();
    refused(&["new", "--sdk", &wrong, "--kind", "distance"], "is not the SDK's source");
    let left: Vec<PathBuf> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(left, [dir.path().join("there")]);

    let args = ["plugin", "new", "both", "--kind", "schedule", "--license", "mit-or-apache-2.0", "--dir", "deep/down"];
    assert!(ldalign(dir.path(), &args).status.success());
    let made = dir.path().join("deep/down");
    assert!(fs::read_to_string(made.join("Cargo.toml")).unwrap().contains("license = \"MIT OR Apache-2.0\""));
    assert!(fs::read_to_string(made.join("LICENSE-MIT")).unwrap().contains("Copyright (c) The both authors"));
    assert!(made.join("LICENSE-APACHE").is_file());
    for file in ["Cargo.toml", "README.md", "src/lib.rs"] {
        assert!(!fs::read_to_string(made.join(file)).unwrap().contains("__"), "{file} has a gap that was not filled");
    }
}

#[test]
fn info_and_why_not_run_no_plugin_code_unless_asked() {
    let dir = tempfile::tempdir().unwrap();
    let zoo = outside::zoo().display().to_string();
    let with_abort = |args: &[&str]| {
        let mut command = Command::new(host_binary());
        command.args(args).env("ZOO_ON_LOAD", "abort").current_dir(dir.path()).output().unwrap()
    };
    let out = with_abort(&["plugin", "info", &zoo]);
    assert!(out.status.success() && said(&out).contains("distance well: "), "{}", said(&out));
    let out = with_abort(&["plugin", "why-not", &zoo]);
    assert!(out.status.success() && said(&out).contains("nothing here would refuse it"), "{}", said(&out));
    let out = with_abort(&["plugin", "info", "--options", &zoo]);
    assert_eq!(out.status.code(), Some(1));
    assert!(said(&out).contains("aborted (SIGABRT) in loading"), "{}", said(&out));

    let library = built().join("libldalign_distance_sinkhorn.so").display().to_string();
    let out = said(&ldalign(dir.path(), &["plugin", "info", "--options", &library]));
    for line in [
        "distance sinkhorn: debiased Sinkhorn divergence between the slots of two latents",
        "  properties: symmetric, zero_on_equal, not triangle",
        "  option          type     default  bounds",
        "  epsilon         number   0.1      0.001..=1000.0",
        "  max_iterations  integer  500      >= 1",
        "      Iterations at most, at least 1.",
    ] {
        assert!(out.lines().any(|l| l == line), "{line:?} in\n{out}");
    }
    let out = ldalign(dir.path(), &["plugin", "info", "--options", "--json", &library]);
    let all: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(all["name"], "ldalign-distance-sinkhorn");
    assert_eq!(all["options"][1]["properties"]["epsilon"]["maximum"], 1000.0);
}

#[test]
fn why_not_tells_every_reason_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = fs::read(built().join("libldalign_distance_cosine.so")).unwrap();
    for (old, new) in [(&b"\"abi\":\"1."[..], &b"\"abi\":\"2."[..]), (b"\"target\":\"x86_64", b"\"target\":\"x86_65")] {
        let at = bytes.windows(old.len()).position(|w| w == old).expect("the metadata is text");
        bytes[at..at + old.len()].copy_from_slice(new);
    }
    fs::write(dir.path().join("libodd.so"), bytes).unwrap();
    let out = ldalign(dir.path(), &["plugin", "why-not", "./libodd.so", "--kind", "schedule", "--json"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(said(&out).contains("would be refused for the 3 reasons above"), "{}", said(&out));
    let steps: Vec<Value> = serde_json::from_slice(&out.stdout).unwrap();
    let no: Vec<&str> = steps.iter().filter(|s| s["ok"] == false).map(|s| s["step"].as_str().unwrap()).collect();
    assert_eq!(no, ["abi", "target", "kind"]);
    assert_eq!(steps.last().unwrap()["said"], "distance `cosine`: symmetric, zero_on_equal, not triangle");

    let out = said(&ldalign(dir.path(), &["plugin", "why-not", "sinkhrn", "--kind", "distance"]));
    assert!(out.contains("did you mean `sinkhorn`?"), "{out}");
    fs::write(dir.path().join("text.so"), "hello").unwrap();
    let out = said(&ldalign(dir.path(), &["plugin", "why-not", "./text.so"]));
    assert!(out.contains("no  file        not a shared library: the file begins with \"hello\""), "{out}");
    assert!(said(&ldalign(dir.path(), &["plugin", "why-not", "sinkhorn"])).contains("nothing here would refuse it"));
}

#[test]
fn the_examples_pass_their_tests() {
    for example in ["third-party-distance", "third-party-encoder"] {
        let mut cargo = outside::cargo();
        cargo.args(["test", "--quiet", "--locked", "--target-dir"]).arg(outside::target());
        let out = cargo.current_dir(workspace_root().join("examples").join(example)).output().unwrap();
        assert!(out.status.success() && said(&out).contains("test result: ok"), "{example}:\n{}", said(&out));
    }
}

#[test]
fn the_example_encoder_s_slots_are_compared_by_transport_and_clipped() {
    let library = outside::build(&workspace_root().join("examples/third-party-encoder"), "release");
    let dir = tempfile::tempdir().unwrap();
    let config = runs::config(
        dir.path(),
        &format!(
            "generate: {{ samples: 1, max_new_tokens: 8 }}\ntrain: {{ max_steps: 2 }}\nencoder: {}\ndistance: sinkhorn\nschedule: quantile-clip\n",
            library.display()
        ),
    );
    runs::succeed(runs::command("run", &config, &[]));
    let about: Value = serde_json::from_slice(&fs::read(dir.path().join("run/round-1/encoder.json")).unwrap()).unwrap();
    assert_eq!(about["shape"][0], 2);
    assert!(about["fit"]["largest_deviation"].as_f64().unwrap() > 0.0);
}

/// The way the README of `learned` goes: annotated responses through the run's own encoder, twice, then a run.
#[test]
fn a_metric_is_learned_from_two_scored_files() {
    let dir = tempfile::tempdir().unwrap();
    let rows = fs::read_to_string(workspace_root().join("examples/clean-golden/golden.jsonl")).unwrap();
    let annotated = |name: &str, losing: fn(&str) -> String| {
        let mut text = String::new();
        for row in rows.lines().take(24).map(|l| serde_json::from_str::<Value>(l).unwrap()) {
            let (prompt, golden) = (&row["prompt"], row["completion"].as_str().unwrap());
            text += &format!("{}\n", json!({"prompt": prompt, "chosen": golden, "rejected": losing(golden)}));
        }
        let rows = dir.path().join(format!("{name}.jsonl"));
        fs::write(&rows, text).unwrap();
        let model = workspace_root().join("examples/clean-golden/model");
        let (model, rows) = (model.display(), rows.display());
        let config = dir.path().join(format!("{name}.yaml"));
        fs::write(
            &config,
            format!("model: {model}\noutput_dir: {name}\nthreads: 1\ndata: {{ path: {rows}, max_length: 96 }}\n"),
        )
        .unwrap();
        runs::succeed(runs::command("score", &config, &[]));
        dir.path().join(name).join("round-1/latents.safetensors").display().to_string()
    };
    let better = annotated("better", |golden| format!("{golden}q"));
    let worse = annotated("worse", |_| "no idea".to_owned());
    let config = runs::config(
        dir.path(),
        &format!(
            "generate: {{ samples: 1, max_new_tokens: 8 }}\ntrain: {{ max_steps: 2 }}\n\
             distance: {{ plugin: learned, options: {{ better: {better}, worse: {worse} }} }}\nschedule: focal\n"
        ),
    );
    let out = runs::command("run", &config, &[]).output().unwrap();
    assert!(out.status.success(), "{}", said(&out));
    assert!(said(&out).contains("of 24 triplets"), "{}", said(&out));
}

//! `ldalign compare` through the real program: arms and seeds, figures and their files, resume, failures, and input
//! that cannot be used.
#![allow(clippy::unwrap_used)]

use ldalign_tests::{runs, workspace_root};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Writes a base run and a comparison of it in `dir`; returns the comparison's path.
fn config(dir: &Path, arms: &str) -> PathBuf {
    let held_out = workspace_root().join("examples/clean-golden/test.jsonl");
    let more = format!(
        "rounds: 2\ngenerate: {{ samples: 1, max_new_tokens: 16, batch_size: 8 }}\n\
         train: {{ learning_rate: 2.0e-4, beta: 1.0, max_steps: 2, per_device_train_batch_size: 12, gradient_accumulation_steps: 1 }}\n\
         eval: {{ data: {{ path: {}, max_rows: 16, max_length: 96 }} }}",
        held_out.display()
    );
    runs::config(dir, &more);
    let path = dir.join("compare.yaml");
    fs::write(&path, format!("output_dir: out\nbase: config.yaml\nseeds: [1, 2]\narms:\n{arms}")).unwrap();
    path
}

const ARMS: &str = "  spin: { set: { schedule: uniform } }\n  sft: { method: sft }\n";

fn compare(config: &Path, sets: &[&str]) -> Command {
    let mut command = runs::command("compare", config, sets);
    command.arg("--json");
    command
}

fn parsed(out: &Output) -> Value {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn figures_are_those_of_the_rows_and_a_second_time_does_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), &format!("{ARMS}  again: {{ set: {{ schedule: uniform }} }}\n"));
    let first = parsed(&compare(&config, &[]).output().unwrap());
    let out = dir.path().join("out");
    assert_eq!((&first["rows"], &first["seeds"], &first["reference"]), (&json!(16), &json!([1, 2]), &json!("spin")));

    // Every figure again, from what each run wrote of its rows.
    let share = |run: &str, name: &str| {
        let rows = lines(&out.join(run).join("eval-2.jsonl"));
        rows.iter().filter(|row| row[name]["right"] == json!(true)).count() as f64 / rows.len() as f64
    };
    let nll = |run: &str| {
        let rows = lines(&out.join(run).join("eval-2.jsonl"));
        let sum = |name: &str| rows.iter().map(|row| row[name].as_f64().unwrap()).sum::<f64>();
        sum("nll") / sum("tokens")
    };
    let close = |found: &Value, expected: f64| {
        let found = found.as_f64().unwrap();
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    };
    for (at, arm) in ["spin", "sft", "again"].into_iter().enumerate() {
        let found = &first["arms"][at];
        assert_eq!(found["name"], json!(arm));
        for (metric, name) in [("sampled-accuracy", "sampled"), ("greedy-accuracy", "greedy")] {
            let [one, two] = [1, 2].map(|seed| share(&format!("{arm}/seed-{seed}"), name));
            close(&found["runs"][0]["figures"][metric], one);
            close(&found["figures"][metric]["value"], (one + two) / 2.0);
        }
        let [one, two] = [1, 2].map(|seed| nll(&format!("{arm}/seed-{seed}")));
        close(&found["figures"]["held-out-nll"]["value"], (one + two) / 2.0);
        let eval: Value = serde_json::from_slice(&fs::read(out.join(arm).join("seed-1/eval-2.json")).unwrap()).unwrap();
        close(&found["runs"][0]["figures"]["held-out-nll"], eval["nll"].as_f64().unwrap());
        // All start from the same model, and answer the same rows alike before they are trained.
        let start = |arm: &str| lines(&out.join(arm).join("seed-1/eval-0.jsonl"));
        assert_eq!(start(arm), start("spin"));
    }
    let value = |at: usize| first["arms"][at]["figures"]["held-out-nll"]["value"].as_f64().unwrap();
    close(&first["arms"][1]["differences"]["held-out-nll"]["value"], value(1) - value(0));
    assert!(value(1) < value(0), "more SFT does not lower the likelihood's loss: {first}");
    close(&first["start"]["nearer-than-start"]["value"], 0.5);
    // Of two steps the last quarter is the last.
    let steps = lines(&out.join("spin/seed-1/round-2/train/metrics.jsonl"));
    close(&first["arms"][0]["runs"][0]["figures"]["reward-margin"], steps[1]["rewards/margins"].as_f64().unwrap());
    assert!(first["arms"][1]["figures"].get("reward-margin").is_none(), "SFT has no rewards");
    // An arm and its like.
    assert_eq!(first["arms"][2]["differences"]["sampled-accuracy"], json!({"value": 0.0, "interval": [0.0, 0.0]}));
    let verdict = first["verdict"].as_str().unwrap();
    assert!(verdict.contains("no difference shown: ") && verdict.contains("again (+0.0 points, +0.0 to +0.0)"));

    let written: Value = serde_json::from_slice(&fs::read(out.join("compare.json")).unwrap()).unwrap();
    assert_eq!(written, first);
    let html = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(html.contains("<svg") && html.contains("href=\"sft/seed-2/report.html\"") && !html.contains("<script"));
    assert!(out.join("sft/seed-2/report.html").exists());

    let before = runs::bytes(&out);
    let again = runs::command("compare", &config, &[]).output().unwrap();
    let said = String::from_utf8_lossy(&again.stderr);
    assert!(!said.contains("generate:") && !said.contains("eval after"), "something was done again: {said}");
    assert_eq!(runs::bytes(&out), before);
    let table = String::from_utf8(again.stdout).unwrap();
    assert!(table.contains("Less spin: difference [95 % interval]") && table.contains("2/2"), "{table}");
}

#[test]
fn killed_and_started_again_it_ends_in_the_same_bits() {
    let whole = tempfile::tempdir().unwrap();
    parsed(&compare(&config(whole.path(), ARMS), &[]).output().unwrap());
    let killed = tempfile::tempdir().unwrap();
    let config = config(killed.path(), ARMS);
    let out = killed.path().join("out");
    for moment in [
        "spin/seed-1/round-1/done/pairs.json",
        "sft/seed-1/round-1/model",
        "sft/seed-1/eval-1.jsonl",
        "sft/seed-1/round-2/train",
        "spin/seed-2/round-2/done/score.json",
    ] {
        let mut child = compare(&config, &[]).spawn().unwrap();
        let hit = runs::kill_when(&mut child, || out.join(moment).exists());
        assert!(hit && !out.join("compare.json").exists(), "it ended before {moment}");
    }
    parsed(&compare(&config, &[]).output().unwrap());
    assert_eq!(same_elsewhere(&out), same_elsewhere(&whole.path().join("out")));
}

/// Files of a comparison or of one of its runs that are the same wherever it lies: manifests and configs name the
/// directory, and reports show them and the seconds that were needed.
fn same_elsewhere(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut files = runs::bytes(dir);
    let elsewhere = |name: &str| ["config.yaml", "manifest.json", "report.html"].contains(&name);
    files.retain(|name, _| !elsewhere(name.file_name().unwrap().to_str().unwrap()));
    files
}

#[test]
fn what_arms_have_in_common_is_done_once_in_the_bits_of_an_arm_alone() {
    let lora = ["seeds=[1]", "set.train.lora.r=4", "set.train.lora.target_modules=[all-linear]"];
    let sets: Vec<&str> = lora.iter().flat_map(|set| ["--set", set]).collect();
    let made = |dir: &Path, arms: &str| {
        let out = compare(&config(dir, arms), &[]).args(&sets).output().unwrap();
        parsed(&out);
        (dir.join("out"), String::from_utf8(out.stderr).unwrap())
    };
    let cosine = "  cosine: { set: { distance: cosine } }\n";
    let warm = "  warm: { set: { generate: { temperature: 0.5 } } }\n";
    let together = tempfile::tempdir().unwrap();
    let (all, said) = made(together.path(), &format!("{ARMS}{cosine}{warm}"));
    // The last one samples otherwise, its responses to held-out rows too.
    let copied = |what: &str| said.matches(what).count();
    assert_eq!(copied("the start is measured already"), 2, "{said}");
    assert_eq!(copied("round 1 is sampled already"), 1, "{said}");
    for (arm, config) in [("sft", "  sft: { method: sft }\n"), ("cosine", cosine), ("warm", warm)] {
        let alone = tempfile::tempdir().unwrap();
        let (one, said) = made(alone.path(), config);
        assert!(!said.contains("already"), "{said}");
        assert_eq!(same_elsewhere(&all.join(arm)), same_elsewhere(&one.join(arm)), "{arm}");
    }
    // What it costs does not depend on whose work it was.
    let stages = |arm: &str| {
        let lines = lines(&all.join(arm).join("seed-1/round-1/timing.jsonl")).into_iter();
        lines.filter(|line| line["stage"] == "generate").filter_map(|line| line["seconds"].as_f64()).collect::<Vec<_>>()
    };
    assert_eq!(stages("cosine")[0], stages("spin")[0]);
}

#[test]
fn sft_goes_on_with_its_adapter_from_round_to_round() {
    let dir = tempfile::tempdir().unwrap();
    let sets = ["seeds=[1]", "set.train.lora={r: 4}", "set.train.learning_rate=2e-3"];
    parsed(&compare(&config(dir.path(), "  sft: { method: sft }\n"), &sets).output().unwrap());
    let run = dir.path().join("out/sft/seed-1");
    let nll = [0, 1, 2].map(|round| {
        let eval: Value = serde_json::from_slice(&fs::read(run.join(format!("eval-{round}.json"))).unwrap()).unwrap();
        eval["nll"].as_f64().unwrap()
    });
    let gains = [nll[0] - nll[1], nll[1] - nll[2]];
    // A second round that began anew would end about where the first has.
    assert!(gains[0] > 0.0 && gains[1] > 0.3 * gains[0], "{nll:?}");
    assert!(run.join("round-2/model/adapter_config.json").exists());
}

#[test]
fn a_run_that_fails_is_named_and_the_others_are_made() {
    let dir = tempfile::tempdir().unwrap();
    let arms = "  spin: { set: { schedule: uniform } }\n  deep: { set: { encoder: { plugin: policy-states, options: { layer: 99 } } } }\n";
    let out = compare(&config(dir.path(), arms), &["seeds=[1]", "set.rounds=1"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("error[compare/failed]: 1 of 2 runs have failed") && stderr.contains("deep/seed-1: "),
        "{stderr}"
    );
    let found: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(found["arms"][1]["runs"][0]["failure"].as_str().unwrap().contains("layer 99 does not exist"), "{found}");
    assert!(found["arms"][0]["figures"]["sampled-accuracy"]["value"].is_number());
    assert!(found["verdict"].as_str().unwrap().contains("1 run failed"), "{found}");
    assert!(fs::read_to_string(dir.path().join("out/report.html")).unwrap().contains("layer 99 does not exist"));
}

#[test]
fn permuted_distances_are_the_same_ones_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let config = runs::config(dir.path(), "generate: { samples: 1, max_new_tokens: 16 }\ntrain: { max_steps: 1 }\n");
    runs::succeed(runs::command("score", &config, &["output_dir=plain"]));
    runs::succeed(runs::command("score", &config, &["output_dir=permuted", "permute_distances=true"]));
    let scores = |run: &str| lines(&dir.path().join(run).join("round-1/scores.jsonl"));
    let (plain, permuted) = (scores("plain"), scores("permuted"));
    let distances = |scores: &[Value]| -> Vec<f64> { scores.iter().map(|s| s["distance"].as_f64().unwrap()).collect() };
    let sorted = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values
    };
    assert_ne!(distances(&plain), distances(&permuted));
    assert_eq!(sorted(distances(&plain)), sorted(distances(&permuted)));
    for (plain, permuted) in plain.iter().zip(&permuted).filter(|(plain, _)| plain["chosen"] == plain["rejected"]) {
        assert_eq!((&plain["distance"], &plain["weight"]), (&permuted["distance"], &permuted["weight"]));
    }
    let manifest = |run: &str| fs::read_to_string(dir.path().join(run).join("manifest.json")).unwrap();
    assert!(manifest("permuted").contains("\"permute_distances\": true") && !manifest("plain").contains("permute"));
}

#[test]
fn what_cannot_be_compared_is_refused_before_anything_is_trained() {
    let refuse = |sets: &[&str], expected: &str| {
        let dir = tempfile::tempdir().unwrap();
        let out = compare(&config(dir.path(), ARMS), sets).output().unwrap();
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.code() == Some(1) && stderr.contains(expected), "{stderr}");
        assert!(out.stdout.is_empty() && !dir.path().join("out").exists());
    };
    refuse(&["arms.spin.set.distance=euclid"], "error[plugin/find]: arm spin: no distance called `euclid`");
    refuse(&["arms.spin.set.train.bta=1"], "arms.spin.set.train.bta (--set): unknown key; did you mean `beta`?");
    refuse(&["nearness.encoder=nothing"], "error[plugin/find]: nearness: no encoder called `nothing`");
    refuse(
        &["set.eval.checker={regex: '('}"],
        "set.eval.checker.regex (--set): `(` is not a regular expression: unclosed group",
    );
}

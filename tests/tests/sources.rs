//! Several data files in one run, through the real program.
#![allow(clippy::unwrap_used)]

use ldalign_tests::{runs, workspace_root};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

const RUN: &str = "
rounds: 1
generate: { samples: 1, max_new_tokens: 8, batch_size: 8 }
train: { learning_rate: 1.0e-4, per_device_train_batch_size: 4, gradient_accumulation_steps: 1, max_steps: 2 }
";

/// Two files with other names of their fields, and a config of them in `data`'s place.
fn config(dir: &Path) -> PathBuf {
    let golden = fs::read_to_string(workspace_root().join("examples/clean-golden/golden.jsonl")).unwrap();
    let rows: Vec<Value> = golden.lines().take(6).map(|line| serde_json::from_str(line).unwrap()).collect();
    let text = |rows: &[Value]| rows.iter().map(|row| format!("{row}\n")).collect::<String>();
    let renamed = |row: &Value| serde_json::json!({"question": row["prompt"], "answer": row["completion"]});
    fs::write(dir.join("a.jsonl"), text(&rows[..4])).unwrap();
    fs::write(dir.join("b.jsonl"), text(&rows[4..].iter().map(renamed).collect::<Vec<_>>())).unwrap();
    let path = runs::config(dir, RUN);
    let single = fs::read_to_string(&path).unwrap();
    let data = single.lines().find(|line| line.starts_with("data:")).unwrap().to_owned();
    let list = "data:\n  - { path: a.jsonl, max_length: 96 }\n  - { path: b.jsonl, max_length: 96, repeat: 2, \
                fields: { prompt: question, completion: answer } }";
    fs::write(&path, single.replace(&data, list)).unwrap();
    path
}

fn run(what: &str, config: &Path, sets: &[&str]) -> Output {
    runs::command(what, config, sets).output().unwrap()
}

fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
fn a_run_of_two_files_has_the_rows_of_both_and_belongs_to_their_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let out = run("check", &config, &[]);
    assert!(out.status.success(), "{}", said(&out));
    let shown = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(shown.contains("data     8 rows") && shown.contains("a.jsonl, line 1, turn 0"), "{shown}");
    let out = run("run", &config, &[]);
    assert!(out.status.success(), "{}", said(&out));
    let output = dir.path().join("run");
    let scores: Vec<Value> = fs::read_to_string(output.join("round-1/scores.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let places: Vec<[u64; 2]> = scores.iter().map(|s| ["file", "line"].map(|key| s[key].as_u64().unwrap())).collect();
    assert_eq!(places, [[0, 1], [0, 2], [0, 3], [0, 4], [1, 1], [1, 2], [1, 1], [1, 2]]);
    let manifest: Value = serde_json::from_slice(&fs::read(output.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["data"].as_array().unwrap().len(), 2);
    assert!(fs::read_to_string(output.join("report.html")).unwrap().contains("a.jsonl, b.jsonl"));
    // Nothing to do; then another share, and other bytes of the second file.
    assert!(run("run", &config, &[]).status.success());
    let e = said(&run("run", &config, &["data.1.repeat=1"]));
    assert!(e.contains("config.data[1].repeat was 2, is null"), "{e}");
    let b = fs::read_to_string(dir.path().join("b.jsonl")).unwrap();
    fs::write(dir.path().join("b.jsonl"), b.replace("answer\":\"", "answer\":\"x")).unwrap();
    let e = said(&run("run", &config, &[]));
    assert!(e.contains("data[1].sha256 was ") && !e.contains("data[0]"), "{e}");
}

/// Row 0 of a list of one file is the same row as without the list: the same samples, pairs and bytes.
#[test]
fn a_list_of_one_file_is_that_file_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    let path = runs::config(dir.path(), RUN);
    let single = fs::read_to_string(&path).unwrap();
    let list = single.replace("data: {", "data: [{").replace("max_length: 96 }", "max_length: 96 }]");
    assert_ne!(single, list);
    let bytes = |text: &str| {
        fs::write(&path, text).unwrap();
        runs::succeed(runs::command("run", &path, &[]));
        let mut bytes = runs::bytes(&dir.path().join("run"));
        // It shows how long stages took.
        assert!(bytes.remove(Path::new("report.html")).is_some());
        fs::remove_dir_all(dir.path().join("run")).unwrap();
        bytes
    };
    assert_eq!(bytes(&single), bytes(&list));
}

#[test]
fn sft_trains_on_both_and_weighs_their_rows() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let out = run("sft", &config, &["output_dir=plain"]);
    assert!(out.status.success(), "{}", said(&out));
    let weigh = |name: &str, weights: [&str; 2]| {
        let lines = fs::read_to_string(dir.path().join(name)).unwrap();
        let lines = lines.lines().enumerate();
        let weighed =
            lines.map(|(i, line)| format!("{},\"weight\":{}}}\n", line.trim_end_matches('}'), weights[i % 2]));
        fs::write(dir.path().join(name), weighed.collect::<String>()).unwrap();
    };
    weigh("a.jsonl", ["2", "0.5"]);
    let e = said(&run("sft", &config, &["output_dir=half"]));
    assert!(e.contains("a.jsonl brings weights") && e.contains("b.jsonl does not"), "{e}");
    weigh("b.jsonl", ["1", "0"]);
    let out = run("sft", &config, &["output_dir=weighed"]);
    assert!(out.status.success(), "{}", said(&out));
    let metrics = |run: &str| fs::read_to_string(dir.path().join(run).join("train/metrics.jsonl")).unwrap();
    assert!(metrics("weighed").contains("weights/mean") && !metrics("plain").contains("weights/"));
    let e = said(&run("check", &config, &["train.loss_type=sft", "train.sft_weight=1"]));
    assert!(e.contains("the rows bring weights, and loss_type: sft has no pairs to weigh"), "{e}");
}

//! What of a config may change after a run was done: more rounds end in the bits of a run that had them from the start,
//! another evaluation measures every model again, and what was changed is remembered.
#![allow(clippy::unwrap_used)]

use ldalign_tests::{runs, workspace_root};
use std::{collections::BTreeMap, fs, path::PathBuf};

const RUN: &str = "
generate: { samples: 2, max_new_tokens: 8, batch_size: 8 }
train: { learning_rate: 1.0e-3, per_device_train_batch_size: 4, gradient_accumulation_steps: 1, max_steps: 12, save_steps: 1 }
";

/// The files of rounds, which name no directory.
fn rounds(run: &std::path::Path) -> BTreeMap<PathBuf, String> {
    let mut files = runs::bytes(run);
    files.retain(|path, _| path.starts_with("round-1") || path.starts_with("round-2") || path.starts_with("round-3"));
    files
}

#[test]
fn rounds_grow_and_threads_change() {
    let (grown, whole) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = runs::config(grown.path(), RUN);
    // In the middle of a round, and after the last.
    let run = grown.path().join("run");
    let mut child = runs::command("run", &config, &["rounds=1"]).spawn().unwrap();
    assert!(runs::kill_when(&mut child, || run.join("round-1/train/checkpoint-1").exists()), "the round was over");
    let mut quiet = runs::command("run", &config, &["rounds=2"]);
    quiet.arg("--quiet");
    let out = quiet.output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said.lines().all(|line| line.contains("WARN")), "{said}");
    assert!(run.join("report.html").exists());
    runs::succeed(runs::command("run", &config, &["rounds=3", "threads=2"]));
    let manifest = fs::read_to_string(run.join("manifest.json")).unwrap();
    assert!(
        manifest.contains("config.rounds was 1, is 2")
            && manifest.contains("config.rounds was 2, is 3")
            && manifest.contains("config.threads was 1, is 2")
    );
    assert!(fs::read_to_string(run.join("config.yaml")).unwrap().contains("rounds: 3"));

    let config = runs::config(whole.path(), RUN);
    runs::succeed(runs::command("run", &config, &["rounds=3"]));
    let expected = rounds(&whole.path().join("run"));
    assert!(expected.keys().any(|path| path.starts_with("round-3/model")));
    assert_eq!(rounds(&run), expected);

    // What was done is not thrown away, and nothing else may change.
    let config = grown.path().join("config.yaml");
    for (set, says) in [("rounds=2", "rounds is 2, and round 3 of "), ("seed=5", "config.seed was 0, is 5")] {
        let out = runs::command("run", &config, &[set, "threads=2"]).output().unwrap();
        let text = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.code() == Some(1) && text.contains("run/changed") && text.contains(says), "{text}");
    }
}

#[test]
fn another_evaluation_measures_every_model_again() {
    let dir = tempfile::tempdir().unwrap();
    let (config, held_out) = (runs::config(dir.path(), RUN), workspace_root().join("examples/clean-golden/test.jsonl"));
    let eval =
        |rows: usize| format!("eval={{data: {{path: {}, max_rows: {rows}, max_length: 96}}}}", held_out.display());
    runs::succeed(runs::command("run", &config, &["rounds=1"]));
    let run = dir.path().join("run");
    let lines =
        |round: usize| fs::read_to_string(run.join(format!("eval-{round}.jsonl"))).map_or(0, |t| t.lines().count());
    assert_eq!([lines(0), lines(1)], [0, 0]);
    let model = runs::model_hash(&run, 1);
    for rows in [3, 5] {
        runs::succeed(runs::command("run", &config, &["rounds=1", &eval(rows)]));
        assert_eq!([lines(0), lines(1)], [rows, rows]);
    }
    assert_eq!(runs::model_hash(&run, 1), model);
}

//! All weights 1 is plain DPO, which with the model's own responses rejected is SPIN: to the bit, through the whole
//! program.

use ldalign_tests::runs;
use serde_json::{Value, json};
use std::{fs, path::Path};

const TRAIN: &str = "
generate: { samples: 1, max_new_tokens: 64 }
pairs: golden-over-own
train: { learning_rate: 3.0e-4, per_device_train_batch_size: 4, gradient_accumulation_steps: 2, num_train_epochs: 2 }
";

/// Runs with the given schedule and returns the model's hash.
fn run(dir: &Path, more: &str, sets: &[&str]) -> String {
    let config = runs::config(dir, &format!("{TRAIN}{more}"));
    runs::succeed(runs::command("run", &config, sets));
    runs::model_hash(&dir.join("run"), 1)
}

/// The pairs a run trained on, as preference rows with the given weight.
fn preference_rows(run: &Path, weight: impl Fn(usize) -> f64) -> String {
    let text = fs::read_to_string(run.join("round-1/scores.jsonl")).expect("the run has scores");
    let rows = text.lines().enumerate().map(|(i, line)| {
        let s: Value = serde_json::from_str(line).expect("a score line is JSON");
        let row = json!({"prompt": s["prompt"], "chosen": s["chosen"], "rejected": s["rejected"], "weight": weight(i)});
        format!("{row}\n")
    });
    rows.collect()
}

#[test]
fn spin_equals_dpo_on_the_same_pairs() {
    let spin = tempfile::tempdir().expect("a temporary directory");
    let one = run(spin.path(), "schedule: uniform", &[]);
    let given = |weight: &dyn Fn(usize) -> f64| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let rows = dir.path().join("pairs.jsonl");
        fs::write(&rows, preference_rows(&spin.path().join("run"), weight)).expect("rows can be written");
        run(dir.path(), "", &[&format!("data.path={}", rows.display())])
    };
    assert_eq!(one, given(&|_| 1.0), "weights of 1 are not plain DPO");
    // The comparison can fail, and weights matter.
    assert_ne!(one, given(&|i| if i % 2 == 0 { 1.5 } else { 0.5 }));
}

#[test]
fn distances_change_the_model_and_only_through_weights() {
    let dir = || tempfile::tempdir().expect("a temporary directory");
    let uniform = run(dir().path(), "schedule: uniform", &[]);
    let linear = run(dir().path(), "schedule: linear", &[]);
    assert_ne!(uniform, linear);
    // Curriculum that has not begun to move is uniform.
    assert_eq!(linear, run(dir().path(), "schedule: linear", &[]), "the same run twice gives the same bits");
}

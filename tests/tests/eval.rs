//! `ldalign eval` on files of its own through the real program: what it prints and writes, and input that cannot be
//! used.
#![allow(clippy::unwrap_used)]

use ldalign_tests::{host_binary, workspace_root};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

/// `ldalign eval --model MODEL ...` in a directory.
fn eval(dir: &Path, args: &[&str]) -> Output {
    let model = workspace_root().join("examples/clean-golden/model");
    Command::new(host_binary()).current_dir(dir).arg("eval").arg("--model").arg(model).args(args).output().unwrap()
}

fn said(out: &Output) -> String {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout.clone()).unwrap()
}

fn refused(out: &Output) -> String {
    assert_eq!(out.status.code(), Some(1), "{}", String::from_utf8_lossy(&out.stdout));
    String::from_utf8(out.stderr.clone()).unwrap()
}

#[test]
fn choices_are_measured_into_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let questions = workspace_root().join("tests/fixtures/choices/questions.jsonl");
    let questions = questions.to_str().unwrap();
    let text = said(&eval(dir.path(), &["--choices", questions]));
    assert!(text.contains("acc             0.2000  [0.0362, 0.6245]"), "{text}");
    assert_eq!(fs::read_to_string(dir.path().join("eval-run/choices.jsonl")).unwrap().lines().count(), 5);
    let json: Value =
        serde_json::from_str(&said(&eval(dir.path(), &["--choices", questions, "--chat", "--out", "chat", "--json"])))
            .unwrap();
    assert_eq!(json["choices"]["acc"]["value"], 0.8);
    // The directory belongs to what it was begun with.
    let text = refused(&eval(dir.path(), &["--choices", questions, "--chat"]));
    assert!(text.contains("error[eval/changed]") && text.contains("choose another --out"), "{text}");
}

#[test]
fn mt_bench_is_answered_the_same_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let row = r#"{"question_id": 81, "category": "writing", "turns": ["Reverse loper.", "Say it two times."]}"#;
    fs::write(dir.path().join("q.jsonl"), row).unwrap();
    let args = ["--mt-bench", "q.jsonl", "--max-new-tokens", "12", "--out"];
    let answers = |out: &str| {
        said(&eval(dir.path(), &[&args[..], &[out]].concat()));
        fs::read_to_string(dir.path().join(out).join("model_answer/model.jsonl")).unwrap()
    };
    let first = answers("a");
    assert_eq!(first, answers("b"));
    let answer: Value = serde_json::from_str(&first).unwrap();
    assert_eq!((&answer["question_id"], &answer["model_id"]), (&81.into(), &"model".into()));
    assert_eq!(answer["choices"][0]["turns"].as_array().unwrap().len(), 2);
}

#[test]
fn a_directory_is_measured_into_by_one_process_and_no_question_counts_twice() {
    let dir = tempfile::tempdir().unwrap();
    let questions = workspace_root().join("tests/fixtures/choices/questions.jsonl");
    let measure = || eval(dir.path(), &["--choices", questions.to_str().unwrap(), "--out", "out"]);
    let out = dir.path().join("out");
    let first = said(&measure());
    let lines = fs::read_to_string(out.join("choices.jsonl")).unwrap();

    let held = fs::File::open(out.join(".lock")).unwrap();
    held.try_lock().unwrap();
    assert!(refused(&measure()).contains("error[run/locked]"));
    drop(held);

    // As two that wrote at once, unlocked, would have left it; then with an answer to no question.
    let begun = |lines: &[Value]| {
        for name in ["choices.jsonl", "choices.json", "done/choices.json"] {
            fs::remove_file(out.join(name)).unwrap();
        }
        let mut journal = ldalign::files::Sealed::open(&out.join("choices.partial.jsonl"), |_, _| Ok(())).unwrap();
        for line in lines {
            journal.push(line).unwrap();
        }
    };
    let mut twice: Vec<Value> = lines.lines().chain(lines.lines()).map(|l| serde_json::from_str(l).unwrap()).collect();
    begun(&twice);
    assert_eq!(said(&measure()), first);
    assert_eq!(fs::read_to_string(out.join("choices.jsonl")).unwrap(), lines);
    twice[0]["line"] = 99.into();
    begun(&twice[..5]);
    let text = refused(&measure());
    assert!(text.contains("error[run/damaged]") && text.contains("has answers to 6 questions of 5"), "{text}");
}

#[test]
fn what_cannot_be_measured_is_said() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("q.jsonl"), "{\"question\": \"q\", \"choices\": [\"a\", \"b\"], \"answer\": \"c\"}\n")
        .unwrap();
    let text = refused(&eval(dir.path(), &["--choices", "q.jsonl"]));
    assert!(text.contains("q.jsonl, line 1: `answer`: expected which choice is right, found \"c\""), "{text}");
    let text = refused(&eval(dir.path(), &["--mt-bench", "q.jsonl"]));
    assert!(text.contains("q.jsonl, line 1: `category`: expected a string, found nothing"), "{text}");
    let text = refused(&eval(dir.path(), &["--mt-bench", "none.jsonl"]));
    assert!(text.contains("none.jsonl"), "{text}");
    let text = refused(&eval(dir.path(), &[]));
    assert!(text.contains("--choices or --mt-bench FILE"), "{text}");
    // Without the feature nobody can be asked, and with it this is not an address: either way before the questions are
    // answered.
    let row = r#"{"question_id": 1, "category": "math", "turns": ["q"]}"#;
    fs::write(dir.path().join("mt.jsonl"), row).unwrap();
    let text = refused(&eval(dir.path(), &["--mt-bench", "mt.jsonl", "--judge", "localhost:1", "--judge-model", "m"]));
    assert!(text.contains("error[eval/feature]") || text.contains("error[eval/judge]"), "{text}");
    assert!(!dir.path().join("eval-run/model_answer").exists());
    let usage = eval(dir.path(), &["--mt-bench", "q.jsonl", "--judge", "http://127.0.0.1:1"]);
    assert_eq!(usage.status.code(), Some(2));
}

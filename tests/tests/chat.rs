//! `ldalign chat` through the real program, its lines from a pipe.
#![allow(clippy::unwrap_used)]

use ldalign_tests::{host_binary, workspace_root};
use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

/// Says these lines to the tests' model, which has 128 positions.
fn chat(lines: &[String]) -> Output {
    let model = workspace_root().join("examples/clean-golden/model");
    let mut command = Command::new(host_binary());
    command.arg("chat").arg(model).args(["--max-new-tokens", "24", "--temperature", "0"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let said: String = lines.iter().map(|line| format!("{line}\n")).collect();
    child.stdin.take().unwrap().write_all(said.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_full_context_forgets_its_oldest_turns() {
    let words = ["loper", "bukar", "viribo", "mosuv", "rezu", "vomopo", "durono", "sipivo", "loper"];
    let lines: Vec<String> = words.iter().map(|word| format!("Reverse {word}.")).collect();
    let out = chat(&lines);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said.contains("turns are forgotten"), "{said}");
    assert_eq!(String::from_utf8_lossy(&out.stdout).lines().count(), lines.len());
    // A conversation that fits forgets nothing.
    let out = chat(&lines[..1]);
    assert!(out.status.success() && !String::from_utf8_lossy(&out.stderr).contains("forgotten"));
}

#[test]
fn a_line_too_long_for_the_model_is_refused() {
    let out = chat(&["Reverse loper. ".repeat(40)]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && said.contains("error[generate/length]"), "{said}");
}

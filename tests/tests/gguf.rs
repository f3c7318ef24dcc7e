//! Runs on GGUF files: the bits of runs on what they are imported to.
#![allow(clippy::unwrap_used)]

use ldalign_tests::{host_binary, runs, workspace_root};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const TWO_ROUNDS: &str = "
rounds: 2
generate: { samples: 2, max_new_tokens: 8 }
pairs: all
train: { learning_rate: 1.0e-2, per_device_train_batch_size: 2, gradient_accumulation_steps: 1 }
";

fn with_lora() -> String {
    TWO_ROUNDS.replace("train: { ", "train: { lora: { r: 2 }, ")
}

/// A file that the gguf package has made; its tokenizer knows the letters.
fn file(arch: &str) -> PathBuf {
    workspace_root().join(format!("tests/fixtures/import/{arch}.gguf"))
}

fn ldalign(dir: &Path, args: &[&str]) -> Output {
    Command::new(host_binary()).current_dir(dir).args(args).output().unwrap()
}

fn stdout(dir: &Path, args: &[&str]) -> String {
    let out = ldalign(dir, args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn config(dir: &Path, model: &Path, more: &str) -> PathBuf {
    let rows = ["say abc", "say hello", "turn abc", "turn me", "say so", "go on"];
    let rows = rows.iter().map(|prompt| format!("{{\"prompt\": \"{prompt}\", \"completion\": \" so it is\"}}\n"));
    fs::write(dir.join("rows.jsonl"), rows.collect::<String>()).unwrap();
    let path = dir.join("config.yaml");
    let model = model.display();
    fs::write(
        &path,
        format!("model: {model}\noutput_dir: run\nthreads: 1\ndata: {{ path: rows.jsonl, max_length: 48 }}\n{more}"),
    )
    .unwrap();
    path
}

/// Hashes of what a run on a model made, but for what names the model.
fn made(model: &Path, more: &str) -> std::collections::BTreeMap<PathBuf, String> {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), model, more);
    runs::succeed(runs::command("run", &config, &[]));
    let mut bytes = runs::bytes(&dir.path().join("run"));
    for name in ["manifest.json", "config.yaml", "report.html"] {
        bytes.remove(Path::new(name)).unwrap();
    }
    // An adapter names its base, and records of finished work have its hash.
    bytes.retain(|name, _| !name.ends_with("adapter_config.json") && !name.iter().any(|part| part == "done"));
    bytes
}

#[test]
fn two_rounds_on_a_file_are_those_on_its_import_to_the_bit() {
    // The first two have their matrices in blocks.
    let runs = [("llama", true), ("llama", false), ("gemma3", true), ("gemma3", false), ("qwen3moe", true)];
    for (arch, lora) in runs.into_iter().chain([("qwen3moe", false)]) {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        stdout(dir.path(), &["import", file(arch).to_str().unwrap(), out.to_str().unwrap()]);
        let more = if lora { with_lora() } else { TWO_ROUNDS.to_owned() };
        let (of_file, of_import) = (made(&file(arch), &more), made(&out, &more));
        assert!(of_file.keys().any(|name| name.ends_with("round-2/model/tokenizer.json")), "{of_file:?}");
        let differ: Vec<_> = of_file.iter().filter(|(name, hash)| of_import.get(*name) != Some(hash)).collect();
        assert!(differ.is_empty() && of_file.len() == of_import.len(), "{arch} {lora}: {differ:?}");
    }
}

#[test]
fn every_command_takes_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("q.gguf");
    fs::copy(file("llama"), &model).unwrap();
    let d = dir.path();
    config(d, Path::new("q.gguf"), &with_lora());
    assert!(stdout(d, &["check", "config.yaml"]).contains("q.gguf, 0.0 M parameters"));
    let trained = stdout(d, &["sft", "config.yaml", "--set", "output_dir=sft"]);
    let adapter = trained.trim().lines().last().unwrap();
    stdout(d, &["merge", adapter, "merged"]);
    assert!(d.join("merged/model.safetensors").is_file() && d.join("merged/tokenizer.json").is_file());
    stdout(d, &["bench", "--model", "q.gguf", "--stages", "reference", "--max-length", "16", "--batch", "1"]);
    stdout(d, &["run", "config.yaml"]);
    // The file is part of what the run is made of, whatever it is called.
    let moved = d.join("moved.gguf");
    fs::rename(&model, &moved).unwrap();
    stdout(d, &["run", "config.yaml", "--set", "model=moved.gguf"]);
    let mut bytes = fs::read(&moved).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&moved, bytes).unwrap();
    let out = ldalign(d, &["run", "config.yaml", "--set", "model=moved.gguf"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && said.contains("error[run/changed]") && said.contains("model.gguf"), "{said}");
}

//! The n-th file operation of a command fails, is torn or is its last: started again, the command ends in the bytes of
//! one that was left alone.
//!
//! Some operations of each command by default, all of them where the variable `LDALIGN_FAULTS` is `all` (`make
//! test-faults`), which takes hours.
#![allow(clippy::unwrap_used)]

use ldalign::{files, rundir::Layout};
use ldalign_tests::{host_binary, outside, runs, workspace_root};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

const MODES: [&str; 5] = ["eio", "enospc", "kill", "done", "torn"];

fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| outside::build(&workspace_root().join("tests/shim"), "dev"))
}

/// A command and the directory that it writes in, which is not there before.
struct Scene {
    dir: tempfile::TempDir,
    args: Vec<String>,
    output: &'static str,
}

impl Scene {
    fn new(args: &[&str], output: &'static str) -> Self {
        let (dir, example) = (tempfile::tempdir().unwrap(), workspace_root().join("examples/clean-golden"));
        let more = format!(
            "rounds: 2\ngenerate: {{ samples: 1, max_new_tokens: 4, batch_size: 4 }}\n\
             train: {{ learning_rate: 1.0e-3, per_device_train_batch_size: 4, gradient_accumulation_steps: 1, max_steps: 3, save_steps: 1 }}\n\
             eval: {{ data: {{ path: {}, max_rows: 2, max_length: 96 }} }}\n\
             validate: {{ data: {{ path: annotated.jsonl, max_length: 96 }} }}",
            example.join("test.jsonl").display()
        );
        let config = runs::config(dir.path(), &more);
        let text = fs::read_to_string(&config).unwrap().replace("max_rows: 24", "max_rows: 6");
        fs::write(&config, text).unwrap();
        let annotated = r#"{"prompt": "Reverse loper.", "golden": "repol", "better": "repol", "worse": "loper"}"#;
        fs::write(dir.path().join("annotated.jsonl"), format!("{annotated}\n")).unwrap();
        let question = |q: &str| format!("{{\"question\": \"{q}\", \"choices\": [\"a\", \"b\"], \"answer\": 0}}\n");
        fs::write(dir.path().join("q.jsonl"), ["x", "y", "z"].map(question).concat()).unwrap();
        let arms =
            "output_dir: run\nbase: config.yaml\nset: { rounds: 1 }\nseeds: [1]\narms: { a: {}, b: { method: sft } }\n";
        fs::write(dir.path().join("compare.yaml"), arms).unwrap();
        let model = example.join("model").display().to_string();
        let given = |arg: &&str| match *arg {
            "MODEL" => model.clone(),
            // Absolute, as the shim knows it.
            "OUTPUT" => dir.path().join(output).display().to_string(),
            arg => arg.to_owned(),
        };
        let args = args.iter().map(given).collect();
        Self { dir, args, output }
    }

    fn at(&self) -> PathBuf {
        self.dir.path().join(self.output)
    }

    /// Runs the command, with a fault of a mode in its n-th operation where there is one.
    fn run(&self, fault: Option<(&str, usize)>, log: Option<&Path>) -> Output {
        let mut command = Command::new(host_binary());
        command.current_dir(self.dir.path()).args(&self.args).env("RAYON_NUM_THREADS", "1").env("NO_COLOR", "1");
        if fault.is_some() || log.is_some() {
            command.env("LD_PRELOAD", shim()).env("FAULT_DIR", self.at());
        }
        if let Some((mode, n)) = fault {
            command.env("FAULT_MODE", mode).env("FAULT_N", n.to_string());
        }
        if let Some(log) = log {
            command.env("FAULT_LOG", log);
        }
        command.output().unwrap()
    }

    fn clear(&self) {
        files::remove_dir(&self.at()).unwrap();
    }

    fn bytes(&self) -> BTreeMap<PathBuf, String> {
        let mut all = runs::bytes(&self.at());
        // Pages show times.
        all.retain(|path, _| !path.ends_with("report.html") && !path.ends_with("compare.json"));
        all
    }

    /// The file operations of the command, and the bytes that it ends in.
    fn whole(&self) -> (Vec<String>, BTreeMap<PathBuf, String>) {
        let log = self.dir.path().join("operations");
        let out = self.run(None, Some(&log));
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let bytes = self.bytes();
        self.clear();
        let operations: Vec<String> = fs::read_to_string(&log).unwrap().lines().map(str::to_owned).collect();
        for operation in ["open ", "write ", "fsync ", "rename ", "mkdir "] {
            assert!(operations.iter().any(|o| o.starts_with(operation)), "{operation} is not seen");
        }
        assert!(!bytes.is_empty());
        (operations, bytes)
    }

    /// What is wrong after a fault and another start; None where nothing is.
    fn wrong(&self, mode: &str, n: usize, whole: &BTreeMap<PathBuf, String>) -> Option<String> {
        self.clear();
        let out = self.run(Some((mode, n)), None);
        let text = String::from_utf8_lossy(&out.stderr);
        let killed = out.status.signal() == Some(libc::SIGKILL);
        if text.contains("panicked") || out.status.signal().is_some_and(|_| !killed) {
            return Some(format!("{}: {text}", out.status));
        }
        if out.status.success() && self.bytes() != *whole {
            return Some("it ended well, in other bytes".into());
        }
        let out = self.run(None, None);
        if !out.status.success() {
            return Some(format!("started again: {}", String::from_utf8_lossy(&out.stderr)));
        }
        let bytes = self.bytes();
        let differ = whole.keys().chain(bytes.keys()).filter(|path| whole.get(*path) != bytes.get(*path));
        let differ: Vec<_> = differ.map(|path| path.display().to_string()).collect();
        (!differ.is_empty()).then(|| format!("started again: other bytes in {}", differ.join(", ")))
    }
}

/// Lets `some` operations of a command go wrong, chosen by a seed, or all.
fn faults(args: &[&str], output: &'static str, some: usize) {
    let scene = Scene::new(args, output);
    let (operations, whole) = scene.whole();
    let all = std::env::var("LDALIGN_FAULTS").is_ok_and(|v| v == "all");
    let mut wrong = Vec::new();
    let (mut tried, mut state) = (0, 0x9e37_79b9_7f4a_7c15u64);
    for (mode, n) in MODES.iter().flat_map(|mode| (1..=operations.len()).map(move |n| (mode, n))) {
        // xorshift64 (Marsaglia 2003)
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if all || state % ((MODES.len() * operations.len()) as u64) < some as u64 {
            tried += 1;
            let found = scene.wrong(mode, n, &whole);
            wrong.extend(found.map(|what| format!("{mode} at {n}, {}: {what}", operations[n - 1])));
        }
    }
    eprintln!("{args:?}: {tried} faults of {} operations in {} ways", operations.len(), MODES.len());
    assert!(tried > 0 && wrong.is_empty(), "{} of {tried}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn run() {
    faults(&["run", "config.yaml"], "run", 16);
}

#[test]
fn sft() {
    faults(&["sft", "config.yaml"], "run", 8);
}

#[test]
fn compare() {
    faults(&["compare", "compare.yaml"], "run", 8);
}

#[test]
fn validate() {
    faults(&["validate", "config.yaml", "--output", "OUTPUT"], "found", 8);
}

#[test]
fn eval() {
    faults(&["eval", "--model", "MODEL", "--choices", "q.jsonl", "--out", "OUTPUT"], "out", 8);
}

/// The tests above can fail: a disk that loses a write and does not say so is seen in the bytes, or refused.
#[test]
fn a_write_that_is_lost_is_seen() {
    let scene = Scene::new(&["run", "config.yaml"], "run");
    let (operations, whole) = scene.whole();
    let generations = Layout::new(&scene.at()).round(1).generations().into_path();
    let name = generations.file_name().unwrap().to_str().unwrap();
    let n = operations.iter().position(|o| o.starts_with("write ") && o.contains(&format!(".{name}."))).unwrap() + 1;
    assert!(scene.wrong("lost", n, &whole).is_some());
}

//! Runs of the real binary on the tiny model of `examples/clean-golden`, and their bytes.

use crate::{host_binary, workspace_root};
use ldalign::rundir;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Writes a config for a small run in `dir` and returns its path. `more` is YAML appended to it.
pub fn config(dir: &Path, more: &str) -> PathBuf {
    let clean_golden = workspace_root().join("examples/clean-golden");
    let text = format!(
        "model: {model}\noutput_dir: run\nthreads: 1\ndata: {{ path: {rows}, max_rows: 24, max_length: 96 }}\n{more}\n",
        model = clean_golden.join("model").display(),
        rows = clean_golden.join("golden.jsonl").display(),
    );
    let path = dir.join("config.yaml");
    fs::write(&path, text).expect("the config can be written");
    path
}

/// `ldalign COMMAND CONFIG [--set ...]`, its output piped.
pub fn command(command: &str, config: &Path, sets: &[&str]) -> Command {
    let mut c = Command::new(host_binary());
    c.arg(command).arg(config).args(sets.iter().flat_map(|s| ["--set", s]));
    c.stdout(Stdio::piped()).stderr(Stdio::piped());
    c
}

/// Runs to the end and fails the test otherwise.
pub fn succeed(mut command: Command) {
    let out = command.output().expect("the binary starts");
    assert!(out.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&out.stderr));
}

/// Kills the child with SIGKILL as soon as `now` holds; false if it ended before.
pub fn kill_when(child: &mut Child, now: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if now() {
            child.kill().expect("a running child can be killed");
            child.wait().expect("a killed child can be waited for");
            return true;
        }
        if child.try_wait().expect("a child can be asked").is_some() {
            return false;
        }
        assert!(start.elapsed() < Duration::from_secs(120), "neither the moment nor the end came");
        std::thread::sleep(Duration::from_micros(300));
    }
}

/// Every file below a directory with its bytes.
pub fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a directory can be listed") {
        let path = entry.expect("an entry can be read").path();
        match path.is_dir() {
            true => all.extend(files(&path)),
            false => drop(all.insert(path.clone(), fs::read(&path).expect("a file can be read"))),
        }
    }
    all
}

/// SHA-256 of every file of a run but those that hold wall-clock times.
pub fn bytes(run: &Path) -> BTreeMap<PathBuf, String> {
    fn walk(dir: &Path, root: &Path, out: &mut BTreeMap<PathBuf, String>) {
        for entry in fs::read_dir(dir).expect("a run directory can be listed") {
            let path = entry.expect("an entry can be read").path();
            if path.ends_with("tensorboard") {
                continue;
            }
            if path.is_dir() {
                walk(&path, root, out);
            } else if !path.ends_with("timing.jsonl") && !path.ends_with(".lock") {
                let name = path.strip_prefix(root).expect("inside the root").to_owned();
                out.insert(name, ldalign::files::sha256_file(&path).expect("a file can be read"));
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(run, run, &mut out);
    out
}

/// Hash of a round's model.
pub fn model_hash(run: &Path, round: u64) -> String {
    rundir::hash_path(&run.join(format!("round-{round}/model"))).expect("the round's model is there")
}

//! Files of runs, which anybody may have changed between two starts.

use super::{folder, model, put, taken};
use ldalign::{
    Result,
    config::TrainConfig,
    data::tokens::TokenStore,
    files::{self, Sealed},
    model::Policy,
    pipeline, report,
    rundir::{Layout, Record, TrainLayout, hash_path},
    train::{self, SftData},
};
use serde_json::{Map, Value};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The directory of a small finished run, made by whoever makes the corpus.
pub(super) fn whole() -> PathBuf {
    super::corpus::directory().join("run")
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-aT").args([from, to]).status().expect("cp starts");
    assert!(status.success(), "{} cannot be copied: tests/hostile.rs makes it", from.display());
}

/// A run in which one file is replaced: the first line names it, the rest is what it holds.
pub fn file(bytes: &[u8]) -> bool {
    let run = folder("run", |run| copy(&whole(), run));
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return false };
    let Ok(name) = std::str::from_utf8(&bytes[..end]) else { return false };
    // A file that is there, of the run's own.
    let (path, was) = (run.join(name), whole().join(name));
    if name.contains("..") || name.starts_with('/') || !was.is_file() {
        return false;
    }
    let bytes = &bytes[end + 1..];
    let reads = |bytes: &[u8]| {
        put(&path, bytes);
        let all = [report::write(&run).map(drop), strictly(&run, &path)];
        fs::copy(&was, &path).expect("a file of the run can be put back");
        all.into_iter().fold(true, |all, read| taken(read) & all)
    };
    resealed(bytes).is_none_or(|bytes| reads(&bytes)) & reads(bytes)
}

/// Objects, one or a line each, with checksums that fit: what lies behind the checksum must bear anything, too.
fn resealed(bytes: &[u8]) -> Option<Vec<u8>> {
    let object = |text: &str| {
        let mut object: Map<String, Value> = serde_json::from_str(text).ok()?;
        object.remove("checksum")?;
        Some(files::seal(&Value::Object(object).to_string()))
    };
    let text = std::str::from_utf8(bytes).ok()?;
    object(text).or_else(|| text.lines().map(|line| Some(object(line)? + "\n")).collect()).map(String::into_bytes)
}

/// Reads a file of a run as its work would.
fn strictly(run: &Path, path: &Path) -> Result<()> {
    let (round, stem) = (Layout::new(run).round(1), path.file_stem().unwrap_or_default().to_string_lossy());
    if path == Layout::new(run).manifest().path() {
        return Layout::new(run).manifest().read().map(drop);
    }
    if path == round.reference().path() {
        return round.reference().read().map(drop);
    }
    if path == round.encoder().path() {
        return round.encoder().read().map(drop);
    }
    if path.parent().is_some_and(|parent| parent.ends_with("done")) {
        let root = path.ancestors().nth(2).unwrap_or(run);
        return Record::new(root, &stem).made().map(drop);
    }
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("bin") => (1..4).try_for_each(|columns| TokenStore::open(path, columns).map(drop).or(Ok(()))),
        // Damaged lines are removed, so of a copy.
        Some("jsonl") => {
            let journal = path.with_extension("copy");
            fs::copy(path, &journal).expect("a file can be copied");
            Sealed::open(&journal, |_, _| Ok(())).map(drop)
        }
        _ => Ok(()),
    }
}

/// A training whose newest checkpoint has this state: it ends in the same weights whatever that says.
pub fn checkpoint(state: &[u8]) -> bool {
    let config = TrainConfig { max_steps: 2, save_steps: 1, ..Default::default() };
    let rows = folder("rows-to-train", |folder| {
        let row = |i: u32| Ok([vec![2, 3 + i, 4], vec![5 + i, 6, 1]]);
        TokenStore::write(&folder.join("rows.bin"), (0..4).map(row)).expect("rows can be written");
    });
    let rows = TokenStore::open(&rows.join("rows.bin"), 2).expect("the rows were just written");
    let trained = |dir: &Path| -> Result<Vec<Vec<u8>>> {
        let mut policy = Policy::load(&model::llama(), &pipeline::device("cpu")?)?;
        train::sft(&mut policy, &SftData { rows: &rows, weights: None }, &config, 1, dir)?;
        let bits = |t: ldalign::model::Trainable| {
            let numbers: Vec<f32> = t.var.flatten_all().and_then(|t| t.to_vec1()).expect("a tensor can be read");
            numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
        };
        Ok(policy.trainable().into_iter().map(bits).collect())
    };
    static WHOLE: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let done = folder("trained", |_| ());
    let whole = WHOLE.get_or_init(|| trained(&done).expect("two steps can be trained"));
    let dir = folder("training", |_| ());
    fs::remove_dir_all(&dir).expect("a directory can be removed");
    copy(&done, &dir);
    let file = dir.join("checkpoint-2/state.json");
    if let Some(state) = resealed(state) {
        put(&file, &state);
        taken(trained(&dir));
        fs::remove_dir_all(&dir).expect("a directory can be removed");
        copy(&done, &dir);
    }
    put(&file, state);
    let metrics = hash_path(TrainLayout::new(&dir).metrics().path());
    match trained(&dir) {
        Ok(weights) => {
            assert!(weights == *whole, "a changed state leads to other weights");
            assert!(hash_path(TrainLayout::new(&dir).metrics().path()).ok() == metrics.ok(), "other metrics");
            true
        }
        Err(e) => taken::<()>(Err(e)),
    }
}

/// The state of the training that [`checkpoint`] goes on with.
pub(super) fn state() -> Vec<u8> {
    checkpoint(b"{}");
    fs::read(folder("trained", |_| ()).join("checkpoint-2/state.json")).expect("the training was just done")
}

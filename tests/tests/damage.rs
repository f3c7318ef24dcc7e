//! Files of an unfinished run that are deleted or changed: the run ends in the bits of one that was left alone, or
//! refuses and names the file.
#![allow(clippy::unwrap_used)]

use ldalign_tests::{runs, workspace_root};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Output,
};

const STEPS: usize = 12;

/// A run's config with held-out rows and a checkpoint after every step.
fn config(dir: &Path, rounds: usize) -> PathBuf {
    let held_out = workspace_root().join("examples/clean-golden/test.jsonl");
    let more = format!(
        "rounds: {rounds}\ngenerate: {{ samples: 1, max_new_tokens: 12, batch_size: 4, temperature: 0.8 }}\n\
         train: {{ learning_rate: 1.0e-3, per_device_train_batch_size: 2, gradient_accumulation_steps: 1, max_steps: {STEPS}, save_steps: 1 }}\n\
         eval: {{ data: {{ path: {}, max_rows: 4, max_length: 96 }} }}",
        held_out.display()
    );
    runs::config(dir, &more)
}

/// Everything that a run wrote but what names its place.
fn bytes(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut bytes = runs::bytes(&dir.join("run"));
    ["config.yaml", "manifest.json", "report.html"].iter().for_each(|name| drop(bytes.remove(Path::new(name))));
    bytes
}

/// Runs with `--set`s, whole and killed.
struct Case {
    sets: Vec<&'static str>,
    whole: BTreeMap<PathBuf, String>,
}

impl Case {
    fn new(sets: &[&'static str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        runs::succeed(runs::command("run", &config(dir.path(), 1), sets));
        Self { sets: sets.to_vec(), whole: bytes(dir.path()) }
    }

    /// Kills a run when `now` holds of its directory, spoils that, and starts it again.
    fn spoilt(&self, now: impl Fn(&Path) -> bool, spoil: impl Fn(&Path)) -> (tempfile::TempDir, Output) {
        let dir = tempfile::tempdir().unwrap();
        let (config, run) = (config(dir.path(), 1), dir.path().join("run"));
        let mut child = runs::command("run", &config, &self.sets).spawn().unwrap();
        assert!(runs::kill_when(&mut child, || now(&run)), "the run ended before it could be killed");
        spoil(&run);
        let out = runs::command("run", &config, &self.sets).output().unwrap();
        (dir, out)
    }

    /// The run ends in the bits of the whole one, having said `says`.
    fn recovers(&self, now: impl Fn(&Path) -> bool, spoil: impl Fn(&Path), says: &str) {
        let (dir, out) = self.spoilt(now, spoil);
        let text = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && text.contains(says), "{says:?}: {text}");
        assert_eq!(bytes(dir.path()), self.whole, "{says:?}");
    }
}

fn training(run: &Path) -> bool {
    (3..8).any(|n| run.join(format!("round-1/train/checkpoint-{n}")).exists())
}

fn edit(path: &Path, change: impl Fn(&str) -> String) {
    let text = fs::read_to_string(path).unwrap();
    let changed = change(&text);
    assert_ne!(text, changed, "{} was not changed", path.display());
    fs::write(path, changed).unwrap();
}

fn checkpoint(run: &Path, step: usize) -> PathBuf {
    run.join(format!("round-1/train/checkpoint-{step}"))
}

fn newest(run: &Path) -> usize {
    (1..=STEPS).rev().find(|step| checkpoint(run, *step).exists()).unwrap()
}

#[test]
fn what_hints_say_to_delete_is_made_again_whatever_the_number_format() {
    let lora = "train.lora={ r: 4, lora_alpha: 8, target_modules: [all-linear] }";
    for sets in [&["bf16=true"][..], &["bf16=true", lora], &[]] {
        let case = Case::new(sets);
        for name in ["round-1/reference.json", "eval-0.json", "eval-0.jsonl", "round-1/done/score.json"] {
            case.recovers(training, |run| fs::remove_file(run.join(name)).unwrap(), "");
        }
    }
}

#[test]
fn what_training_goes_on_by_is_not_believed_where_it_was_changed() {
    let case = Case::new(&[]);
    let state = |run: &Path| checkpoint(run, newest(run)).join("state.json");
    let far = |text: &str| {
        let at = text.find("\"step\": ").unwrap() + 8;
        format!("{}{}{}", &text[..at], 1u64 << 62, text[at..].trim_start_matches(|c: char| c.is_ascii_digit()))
    };
    case.recovers(training, |run| edit(&state(run), far), "is damaged");
    let metrics = |run: &Path| run.join("round-1/train/metrics.jsonl");
    // The history is in the checkpoint too: nothing is trained again.
    for spoil in [
        &(|path: &Path| fs::remove_file(path).unwrap()) as &dyn Fn(&Path),
        &|path| edit(path, |text| text.replacen("\"loss\":", "\"loss\":1", 1)),
        &|path| fs::write(path, "").unwrap(),
    ] {
        let timing = |run: &Path| fs::read_to_string(run.join("round-1/train/timing.jsonl")).unwrap();
        let before = RefCell::new(String::new());
        let spoil = |run: &Path| {
            spoil(&metrics(run));
            before.replace(timing(run).split_inclusive('\n').take(newest(run)).collect());
        };
        let (dir, out) = case.spoilt(training, spoil);
        let text = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && text.contains("its lines are the checkpoint's again"), "{text}");
        assert!(timing(&dir.path().join("run")).starts_with(before.borrow().as_str()), "{text}");
        assert_eq!(bytes(dir.path()), case.whole);
    }
    // Without its checksum too.
    case.recovers(training, |run| edit(&state(run), |t| t[..t.rfind(',').unwrap()].to_owned() + "\n}\n"), "is damaged");
}

#[test]
fn evaluations_and_half_done_stages_are_not_believed_where_they_were_changed() {
    let case = Case::new(&[]);
    let nll = |text: &str| text.replacen("\"nll\":", "\"nll\":9", 1);
    case.recovers(
        training,
        |run| edit(&run.join("eval-0.jsonl"), nll),
        "eval-0.jsonl is missing or not what was written",
    );
    let nll = |text: &str| text.replacen("\"nll\": ", "\"nll\": 9", 1);
    case.recovers(
        training,
        |run| edit(&run.join("eval-0.json"), nll),
        "eval-0.json is missing or not what was written",
    );
    let partial = |run: &Path| run.join("round-1/generations.partial.jsonl");
    let generating = |run: &Path| fs::read_to_string(partial(run)).is_ok_and(|t| t.lines().count() >= 8);
    let other = |text: &str| text.replacen("\"ids\":[", "\"ids\":[5,", 3);
    case.recovers(generating, |run| edit(&partial(run), other), "3 lines are not what was written there");

    // Where nothing can tell how it was, the file is named.
    let reference = |run: &Path| run.join("round-1/reference.json");
    let (_dir, out) =
        case.spoilt(|run| reference(run).exists(), |run| edit(&reference(run), |t| t.replacen("    -", "    -1", 1)));
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(1) && text.contains("reference.json is not what was written there"), "{text}");
    let record = |run: &Path| run.join("round-1/done/generate.json");
    let (_dir, out) = case.spoilt(training, |run| edit(&record(run), |_| "{}".into()));
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(1) && text.contains("done/generate.json is missing or not"), "{text}");
}

/// The tests above can fail: a run of another seed ends in other bits.
#[test]
fn other_bits_are_seen() {
    assert_ne!(Case::new(&["seed=1"]).whole, Case::new(&[]).whole);
}

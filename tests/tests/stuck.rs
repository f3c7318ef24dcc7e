//! Plugins that do not return, end the process, or keep its signals, in a run: each is named, no run ends as if it were
//! finished, and what is finished stays.
#![allow(clippy::unwrap_used)]

use ldalign_tests::{outside, runs};
use std::{
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Output},
    time::{Duration, Instant},
};

/// Starts a run whose distance is one of the zoo's, in a directory, with `--set`s.
fn start(dir: &Path, id: &str, sets: &[&str]) -> Child {
    let zoo: PathBuf = outside::zoo();
    let more = format!(
        "rounds: 1\nplugin_timeout: 0\ngenerate: {{ samples: 1, max_new_tokens: 8, batch_size: 8 }}\n\
         distance: {{ plugin: {}, id: {id} }}\n\
         train: {{ learning_rate: 1.0e-3, per_device_train_batch_size: 2, gradient_accumulation_steps: 1, max_steps: 400 }}",
        zoo.display()
    );
    runs::command("run", &runs::config(dir, &more), sets).spawn().unwrap()
}

fn done(dir: &Path, stage: &str) -> bool {
    dir.join(format!("run/round-1/done/{stage}.json")).exists()
}

fn wait_until(now: impl Fn() -> bool) {
    let start = Instant::now();
    while !now() {
        assert!(start.elapsed() < Duration::from_secs(120), "the moment did not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The run's end, with what it said.
fn end(child: Child) -> (Output, String) {
    let out = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    (out, text)
}

#[test]
fn a_plugin_that_does_not_return_is_named_after_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let begin = Instant::now();
    let (out, text) = end(start(dir.path(), "hangs-in-call", &["plugin_timeout=2"]));
    assert_eq!(out.status.code(), Some(70), "{text}");
    assert!(text.contains("error[plugin/timeout]: distance `hangs-in-call` of zoo 9.8.7 (sha256 "), "{text}");
    assert!(
        text.contains("has not returned from distances nor asked anything for 2 s; finished work of a run is kept")
    );
    assert!(begin.elapsed() < Duration::from_secs(100));
    assert!(done(dir.path(), "candidates") && !done(dir.path(), "score"));
}

#[test]
fn a_plugin_that_takes_memory_without_end_is_named_at_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    let (out, text) = end(start(dir.path(), "allocates-in-call", &["plugin_memory=1500"]));
    assert_eq!((out.status.code(), out.status.signal()), (Some(70), None), "{text}");
    assert!(text.contains("error[plugin/memory]: distance `allocates-in-call` of zoo 9.8.7 (sha256 "), "{text}");
    assert!(text.contains("is in distances, and the process holds more than the 1.5 GiB of plugin_memory"), "{text}");
    assert!(done(dir.path(), "candidates") && !done(dir.path(), "score"));
    // One that takes none is not stopped by it, and what it does is the same.
    let (out, text) = end(start(dir.path(), "well", &["plugin_memory=1500", "output_dir=well", "train.max_steps=1"]));
    assert!(out.status.success(), "{text}");
}

#[test]
fn a_plugin_that_closes_the_hosts_descriptors_is_named_and_nothing_is_written_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let (out, text) = end(start(dir.path(), "closes-descriptors-in-call", &[]));
    assert_eq!((out.status.code(), out.status.signal()), (Some(70), None), "{text}");
    assert!(text.contains("error[plugin/descriptors]: distance `closes-descriptors-in-call` of zoo"), "{text}");
    assert!(text.contains("closed descriptors that are not its own in distances"), "{text}");
    assert!(done(dir.path(), "candidates") && !done(dir.path(), "score"));
}

#[test]
fn a_stop_is_heard_although_a_plugin_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let child = start(dir.path(), "hangs-in-call", &[]);
    wait_until(|| dir.path().join("run/round-1/encoder.state").exists());
    // The call comes at once.
    std::thread::sleep(Duration::from_secs(2));
    // SAFETY: the child is ours and has not been waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    let (out, text) = end(child);
    assert_eq!(out.status.code(), Some(130), "{text}");
    assert!(
        text.contains("stopping: distance `hangs-in-call` of zoo") && text.contains("is still in distances"),
        "{text}"
    );
    assert!(text.contains("did not hear that a stop was asked for, in distances"), "{text}");
}

#[test]
fn a_plugin_that_ends_the_process_does_not_end_the_run_as_finished() {
    let cases = [
        ("exits-in-call", "called exit in distances"),
        ("ends-in-call", "called _exit in distances"),
        ("exits-in-a-thread", "error[plugin/exit]: "),
    ];
    for (id, says) in cases {
        let dir = tempfile::tempdir().unwrap();
        let (out, text) = end(start(dir.path(), id, &[]));
        assert_eq!((out.status.code(), out.status.signal()), (Some(70), None), "{id}: {text}");
        assert!(text.contains(says) && text.contains("finished work of a run is kept"), "{id}: {text}");
        assert!(!done(dir.path(), "train"), "{id}");
    }
    // One that does nothing of the kind ends well.
    let dir = tempfile::tempdir().unwrap();
    let (out, text) = end(start(dir.path(), "well", &["train.max_steps=2"]));
    assert!(out.status.success() && done(dir.path(), "train"), "{text}");
}

#[test]
fn a_plugins_umask_is_put_back_and_its_limit_on_files_is_an_error() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (out, text) = end(start(dir.path(), "changes-the-umask", &["train.max_steps=1"]));
    assert!(out.status.success(), "{text}");
    let mode = |name: &str| dir.path().join("run").join(name).metadata().unwrap().permissions().mode();
    assert_eq!(mode("round-1/train/metrics.jsonl"), mode("manifest.json"));

    let dir = tempfile::tempdir().unwrap();
    let (out, text) = end(start(dir.path(), "limits-files", &["train.max_steps=1"]));
    assert_eq!((out.status.code(), out.status.signal()), (Some(1), None), "{text}");
    assert!(text.contains("error[file/io]") && text.contains("ulimit -f"), "{text}");
    assert!(done(dir.path(), "candidates") && !done(dir.path(), "train"));
}

#[test]
fn signals_that_a_plugin_ignores_are_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let child = start(dir.path(), "ignores-signals", &[]);
    wait_until(|| done(dir.path(), "pairs"));
    // SAFETY: the child is ours and has not been waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
    let (out, text) = end(child);
    assert_eq!(out.status.code(), Some(130), "{text}");
    assert!(!done(dir.path(), "train"));
}

#[test]
fn a_long_message_is_cut_and_drives_no_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let (out, text) = end(start(dir.path(), "complains-at-length", &[]));
    assert_eq!(out.status.code(), Some(1), "{text}");
    assert!(text.contains("\\u001b[2Jxxx") && text.contains("... (10485764 bytes in all)"), "{}", text.len());
    assert!(text.len() < 20_000 && !text.contains('\x1b'));
}

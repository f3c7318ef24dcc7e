//! Memory of the real program does not grow with the rows.
#![allow(clippy::unwrap_used)]

use ldalign_tests::runs;
use std::{fs, path::Path};

/// The most bytes that `ldalign score` held at once, on so many rows that bring their rejected responses.
#[allow(clippy::zombie_processes, reason = "wait4 waits for it, and tells its memory")]
fn peak(dir: &Path, rows: usize) -> u64 {
    let line = |i| format!("{{\"prompt\": \"Reverse w{i}.\", \"chosen\": \"c{i}\", \"rejected\": \"r{i} x\"}}\n");
    fs::write(dir.join("rows.jsonl"), (0..rows).map(line).collect::<String>()).unwrap();
    let output = format!("output_dir=run-{rows}");
    let sets = [output.as_str(), "data={ path: rows.jsonl, max_length: 96 }", "rounds=1"];
    let mut command = runs::command("score", &runs::config(dir, "encoder: length"), &sets);
    let child = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut status = 0;
    // SAFETY: an all-zero rusage is valid; the child is ours and is waited for here alone.
    let used = unsafe {
        let mut used: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::wait4(child.id() as i32, &mut status, 0, &mut used), child.id() as i32);
        used
    };
    assert_eq!(status, 0);
    used.ru_maxrss as u64 * 1024
}

#[test]
fn scoring_holds_as_much_on_ten_times_the_rows() {
    let dir = tempfile::tempdir().unwrap();
    let [few, many] = [2_000, 20_000].map(|rows| peak(dir.path(), rows));
    // 400 bytes a row would be seen.
    assert!(few > 4 << 20 && many < few + (7 << 20), "{few} bytes on 2000 rows, {many} on 20000");
}

//! Files of other people with thousands of changes: each is taken or refused in one message, within bounds of time and
//! memory, by the entry points of [`ldalign_tests::hostile`].
//!
//! `LDALIGN_INPUTS` says how many inputs each of them gets, `LDALIGN_SEED` chooses others (`make test-hostile`). What
//! is found lies in `target/hostile/found/`.
#![allow(clippy::unwrap_used)]

use ldalign_tests::{
    hostile::{BROKEN, SECONDS, TARGETS, Target, corpus, mutated},
    random::seed,
    workspace_root,
};
use std::{collections::BTreeSet, fs, os::unix::process::ExitStatusExt, path::Path, process::Command, time::Instant};

/// Inputs of each entry point in a day's tests.
const INPUTS: u64 = 160;

/// What came of some inputs.
#[derive(Default)]
struct Found {
    taken: BTreeSet<u64>,
    refused: usize,
    /// Inputs with what they did.
    broke: Vec<(u64, String)>,
}

/// Processes that an entry point's inputs may end before no more are read: one that hangs takes long each time.
const ENDED: usize = 8;

/// Has processes read inputs 0 to `to` of an entry point; one that an input ends is followed by another.
fn read(target: &Target, to: u64, seconds: u32) -> Found {
    // In memory, where there is such a place: most of the time would go into syncing.
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let dir = tempfile::tempdir_in(place).unwrap();
    let (mut found, mut from, mut ended) = (Found::default(), 0, 0);
    while from < to && ended < ENDED {
        let mut driver = Command::new(env!("CARGO_BIN_EXE_hostile-driver"));
        driver.arg(target.name).args([seed(), from, to, seconds.into()].map(|n| n.to_string()));
        let out = driver.env("TMPDIR", dir.path()).env("RAYON_NUM_THREADS", "1").output().unwrap();
        let (text, mut at) = (String::from_utf8(out.stdout).unwrap(), None);
        for line in text.lines() {
            let mut words = line.splitn(3, ' ');
            let (what, n) = (words.next().unwrap(), words.next().unwrap().parse().unwrap());
            match what {
                "at" => at = Some(n),
                "taken" => drop(found.taken.insert(n)),
                "refused" => found.refused += 1,
                "panic" => found.broke.push((n, line.to_owned())),
                other => panic!("the driver says {other}"),
            }
        }
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        from = match out.status.signal() {
            None => {
                assert!(out.status.success(), "{}: {said}", target.name);
                to
            }
            Some(signal) => {
                let n = at.unwrap_or_else(|| panic!("{}: it died before an input: {said}", target.name));
                let what = match signal {
                    libc::SIGPROF => format!("more than {seconds} s of the processor"),
                    libc::SIGALRM => "no end".into(),
                    signal => format!("signal {signal}: {said}"),
                };
                found.broke.push((n, what));
                ended += 1;
                n + 1
            }
        };
    }
    found
}

/// Keeps what broke an entry point, as files.
fn keep(target: &Target, found: &Found) {
    let dir = corpus::directory().join("found").join(target.name);
    let (corpus, _) = corpus::of(target.name);
    for (n, what) in &found.broke {
        fs::create_dir_all(&dir).unwrap();
        let input = corpus.get(*n as usize).cloned().unwrap_or_else(|| mutated(&corpus, seed(), *n));
        fs::write(dir.join(n.to_string()), input).unwrap();
        eprintln!("{} {n}: {what:.1000}", target.name);
    }
}

#[test]
fn mutated_files_are_taken_or_refused() {
    corpus::make();
    let inputs = std::env::var("LDALIGN_INPUTS").map_or(INPUTS, |n| n.parse().unwrap());
    let mut broken = Vec::new();
    for target in TARGETS {
        let (corpus, good) = corpus::of(target.name);
        let begin = Instant::now();
        let found = read(target, corpus.len() as u64 + inputs, SECONDS);
        let (taken, broke, seconds) = (found.taken.len(), found.broke.len(), begin.elapsed().as_secs_f32());
        let name = target.name;
        eprintln!("{name}: {taken} taken, {} refused, {broke} broke it, {seconds:.1} s", found.refused);
        keep(target, &found);
        // What is refused before it is looked at proves nothing.
        let refused: Vec<u64> = (0..good as u64).filter(|n| !found.taken.contains(n)).collect();
        assert!(refused.is_empty() && good > 0, "{name}: good files {refused:?} of {good} are refused");
        if broke > 0 {
            broken.push(format!("{name}: {broke}"));
        }
    }
    assert!(broken.is_empty(), "seed {}: {}", seed(), broken.join(", "));
}

/// The test above can fail: panics, deep recursion, hunger and endlessness are each seen, and what follows is read.
#[test]
fn what_breaks_a_bound_is_found() {
    let dir = corpus::directory().join("corpus").join(BROKEN.name);
    let inputs = ["panics", "recurses", "allocates", "spins", "does well"];
    // Beside the corpus of the others, which is made at the same time.
    let made = |dir: &Path| {
        fs::create_dir_all(dir).unwrap();
        inputs.iter().enumerate().for_each(|(i, text)| fs::write(dir.join(format!("{i}")), text).unwrap());
    };
    made(&dir);
    let found = read(&BROKEN, inputs.len() as u64, 1);
    let broke: Vec<(u64, bool)> = found
        .broke
        .iter()
        .zip(["as asked", "signal 6", "signal 6", "more than 1 s"])
        .map(|((n, what), says)| (*n, what.contains(says)))
        .collect();
    assert_eq!(broke, [(0, true), (1, true), (2, true), (3, true)], "{:?}", found.broke);
    assert_eq!(found.taken, BTreeSet::from([4]));
}

#[test]
fn libfuzzer_has_the_same_entry_points() {
    let folder = workspace_root().join("fuzz/fuzz_targets").read_dir().unwrap();
    let files: BTreeSet<String> = folder.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let names: BTreeSet<String> = TARGETS.iter().map(|target| format!("{}.rs", target.name)).collect();
    assert_eq!(files, names);
    let manifest = fs::read_to_string(workspace_root().join("fuzz/Cargo.toml")).unwrap();
    let paths = manifest.lines().filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")?.strip_suffix('"'));
    assert_eq!(paths.map(str::to_owned).collect::<BTreeSet<_>>(), names);
    for file in names {
        let text = fs::read_to_string(workspace_root().join("fuzz/fuzz_targets").join(&file)).unwrap();
        let call = format!("read(\"{}\", data)", file.trim_end_matches(".rs"));
        assert!(text.contains(&call), "{file} does not call {call}");
    }
}

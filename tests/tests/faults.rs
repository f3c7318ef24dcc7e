//! The n-th file operation of a command fails, is torn or is its last, or the disk is full: started again, the command
//! ends in the bytes of one that was left alone.
//!
//! A few cases of each command by default; [`ldalign_tests::campaign`] says how more are asked for (`make
//! test-faults`).
#![allow(clippy::unwrap_used)]

use ldalign::rundir::Layout;
use ldalign_tests::{
    campaign::{Fault, Scene, Shared, Whole, chosen, some},
    random::{self, Random},
};

const MODES: [&str; 5] = ["eio", "enospc", "kill", "done", "torn"];

/// Lets some operations of a command go wrong, or all.
fn faults(scene: &Scene, few: usize) {
    let whole = scene.whole();
    let n = whole.operations.len();
    let all = MODES.iter().flat_map(|mode| (1..=n).map(|n| Fault::At(mode, n))).collect();
    tried(scene, &whole, &chosen(all, few), |fault| match fault {
        Fault::At(mode, n) => format!("{mode} at {n}, {}", whole.operations[n - 1]),
        Fault::Full(_) => unreachable!("operations go wrong here"),
    });
}

/// Fills the disk up at some sizes between nothing and what the command writes.
fn full_disk(scene: &Scene, few: usize) {
    let whole = scene.whole();
    let written =
        whole.operations.iter().filter_map(|o| o.strip_prefix("write ")?.split_once(' ')?.0.parse::<u64>().ok());
    let written: u64 = written.sum();
    let (sizes, mut random) = (some(few).unwrap_or(50), Random::new(random::seed()));
    // One in each of as many ranges.
    let size = |i: usize| (written as f64 * (i as f64 + random.below(1000) as f64 / 1000.0) / sizes as f64) as u64;
    let sizes: Vec<Fault> = (0..sizes).map(size).map(Fault::Full).collect();
    tried(scene, &whole, &sizes, |fault| format!("{fault:?} of {written}"));
}

fn tried(scene: &Scene, whole: &Whole, faults: &[Fault], name: impl Fn(Fault) -> String) {
    let found = faults.iter().filter_map(|fault| Some(format!("{}: {}", name(*fault), scene.wrong(*fault, whole)?)));
    let wrong: Vec<String> = found.collect();
    let what = if matches!(faults.first(), Some(Fault::Full(_))) { "full disks" } else { "faults" };
    eprintln!(
        "{}: {} {what}, {} operations, {} wrong",
        scene.name(),
        faults.len(),
        whole.operations.len(),
        wrong.len()
    );
    assert!(!faults.is_empty() && wrong.is_empty(), "{} of {}:\n{}", wrong.len(), faults.len(), wrong.join("\n"));
}

#[test]
fn run() {
    faults(&Scene::run(), 16);
}

#[test]
fn sft() {
    faults(&Scene::sft(), 8);
}

#[test]
fn compare() {
    faults(&Scene::compare(), 8);
}

#[test]
fn validate() {
    faults(&Scene::validate(), 8);
}

#[test]
fn eval() {
    faults(&Scene::eval(), 8);
}

/// Registry, lock file and installed plugins are each as before or as after, too.
#[test]
fn shared_plugins() {
    for of in [Shared::Install, Shared::Update, Shared::Pack, Shared::Sign, Shared::Publish] {
        faults(&Scene::shared(of), 6);
    }
}

#[test]
fn full() {
    for scene in [Scene::run(), Scene::sft(), Scene::compare(), Scene::validate(), Scene::eval()] {
        full_disk(&scene, 3);
    }
}

/// The tests above can fail: a disk that loses a write and does not say so is seen in the bytes, or refused.
#[test]
fn a_write_that_is_lost_is_seen() {
    let scene = Scene::run();
    let whole = scene.whole();
    let generations = Layout::new(scene.output()).round(1).generations().into_path();
    let name = generations.file_name().unwrap().to_str().unwrap();
    let is_it = |o: &String| o.starts_with("write ") && o.contains(&format!(".{name}."));
    let n = whole.operations.iter().position(is_it).unwrap() + 1;
    assert!(scene.wrong(Fault::At("lost", n), &whole).is_some());
}

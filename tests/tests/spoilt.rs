//! A command is killed at any time, or a file of what it has written is deleted, cut or changed by a bit: started again
//! it ends in the bytes of one that was left alone, or it refuses and names the file.
//!
//! A few cases of each command by default; [`ldalign_tests::campaign`] says how more are asked for (`make
//! test-faults`).
#![allow(clippy::unwrap_used)]

use ldalign_tests::{
    campaign::{Fault, Scene, Whole, some, unruly},
    random::{self, Random},
    runs,
};
use std::{fs, path::Path};

/// Cases where all are asked for, of which there is no end.
const ALL: usize = 500;

/// What came of a command that was spoilt, in words.
type Outcome = Result<&'static str, String>;

fn tried(scene: &Scene, what: &str, few: usize, mut case: impl FnMut(&mut Random, &Whole) -> Outcome) {
    let (whole, mut random) = (scene.whole(), Random::new(random::seed()));
    let cases = some(few).unwrap_or(ALL);
    let (mut counts, mut wrong) = (std::collections::BTreeMap::new(), Vec::new());
    for number in 0..cases {
        match case(&mut random, &whole) {
            Ok(outcome) => *counts.entry(outcome).or_insert(0) += 1,
            Err(found) => wrong.push(format!("{number}: {found}")),
        }
    }
    eprintln!("{}: {cases} {what}: {counts:?}, {} wrong", scene.name(), wrong.len());
    assert!(wrong.is_empty(), "{} of {cases}:\n{}", wrong.len(), wrong.join("\n"));
}

/// Kills the command at random times, some times in a row, then lets it end.
fn kills(scene: &Scene, few: usize) {
    let takes = scene.time();
    tried(scene, "kills", few, |random, whole| {
        scene.clear();
        let mut killed = 0;
        for _ in 0..=random.below(3) {
            let time = takes.mul_f64(random.below(1000) as f64 / 1000.0);
            match scene.killed_after(time) {
                Some(out) if !out.status.success() || unruly(&out).is_some() => {
                    return Err(format!("before it was killed: {}", String::from_utf8_lossy(&out.stderr)));
                }
                Some(_) => (),
                None => killed += 1,
            }
        }
        let of = ["done before any kill", "killed once", "killed twice", "killed three times"][killed];
        scene.ends_in(whole).map_or(Ok(of), Err)
    });
}

/// Deletes, cuts or flips a bit of a file.
fn spoil(path: &Path, random: &mut Random) -> String {
    let mut bytes = fs::read(path).unwrap();
    let way = random.below(if bytes.is_empty() { 1 } else { 4 });
    let how = match way {
        0 => {
            fs::remove_file(path).unwrap();
            return "deleted".into();
        }
        1 => {
            bytes.truncate(random.below(bytes.len()));
            format!("cut to {} bytes", bytes.len())
        }
        _ => {
            let (at, bit) = (random.below(bytes.len()), random.below(8));
            bytes[at] ^= 1 << bit;
            format!("bit {bit} of byte {at} changed")
        }
    };
    fs::write(path, bytes).unwrap();
    how
}

/// Spoils a file of the command when it was killed, or is done.
fn spoils(scene: &Scene, few: usize) {
    tried(scene, "spoilt files", few, |random, whole| {
        let n = 1 + random.below(2 * whole.operations.len());
        scene.clear();
        let killed = n <= whole.operations.len();
        let first = scene.start(killed.then_some(Fault::At("kill", n)), None);
        if first.status.success() == killed || unruly(&first).is_some() {
            return Err(format!("before it was spoilt: {}", String::from_utf8_lossy(&first.stderr)));
        }
        let files: Vec<_> = match scene.output().is_dir() {
            true => runs::files(scene.output()).into_keys().collect(),
            false => vec![],
        };
        if files.is_empty() {
            return Ok("there is no file yet");
        }
        let path = random.pick(&files);
        let how = spoil(path, random);
        let out = scene.start(None, None);
        let (text, within) = (String::from_utf8_lossy(&out.stderr), path.strip_prefix(scene.output()).unwrap());
        // The file, or the directory that it is part of, such as a model's.
        let named = [Some(within), within.parent()]
            .into_iter()
            .flatten()
            .any(|part| part != Path::new("") && text.contains(part.to_str().unwrap()));
        let when = if killed { format!("killed at {n}") } else { "done".into() };
        let wrong = |what: String| Err(format!("{when}, {} {how}: {what} {text}", within.display()));
        let differing = scene.differing(whole);
        match (unruly(&out), out.status.success()) {
            (Some(end), _) => wrong(end),
            (None, true) if differing.is_empty() && text.contains("WARN") => Ok("the same bytes, and said"),
            (None, true) if differing.is_empty() => Ok("the same bytes"),
            (None, true) if differing == [within] && is_idle(within) => Ok("only itself, which nothing reads"),
            (None, true) => wrong(format!("other bytes in {differing:?}")),
            (None, false) if text.contains("error[") && named => Ok("refused by name"),
            // What it was begun from, changed, looks like inputs that were: the refusal shows both.
            (None, false) if within.to_str().unwrap().ends_with("manifest.json") && text.contains("/changed]") => {
                Ok("refused as changed")
            }
            (None, false) => wrong("refused, and not named".into()),
        }
    });
}

/// Whether nothing goes on by a file, once its work is done: checkpoints of a training, the config that is kept for
/// people, and of a manifest what may change (places).
fn is_idle(path: &Path) -> bool {
    let checkpoint = path.iter().any(|part| part.to_str().unwrap().starts_with("checkpoint-"));
    checkpoint || ["config.yaml", "manifest.json"].iter().any(|name| path.ends_with(name))
}

#[test]
fn run() {
    kills(&Scene::run(), 4);
    spoils(&Scene::run(), 12);
}

#[test]
fn sft() {
    kills(&Scene::sft(), 3);
    spoils(&Scene::sft(), 8);
}

#[test]
fn compare() {
    kills(&Scene::compare(), 3);
    spoils(&Scene::compare(), 8);
}

#[test]
fn validate() {
    kills(&Scene::validate(), 3);
    spoils(&Scene::validate(), 8);
}

#[test]
fn eval() {
    kills(&Scene::eval(), 3);
    spoils(&Scene::eval(), 8);
}

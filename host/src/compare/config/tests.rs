#![allow(clippy::unwrap_used)]
use super::*;
use std::fs;

const BASE: &str = "model: model\noutput_dir: run\nrounds: 2\ndata: {path: data.jsonl}\neval: {data: {path: data.jsonl}}\n\
    encoder: {plugin: policy-states, options: {layer: 1}}\ndistance: euclidean\ntrain: {beta: 0.5, max_steps: 3}\n";

/// A directory with what configs may name.
fn place() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("sub/model")).unwrap();
    fs::write(dir.path().join("sub/data.jsonl"), "").unwrap();
    fs::write(dir.path().join("sub/base.yaml"), BASE).unwrap();
    dir
}

fn load(dir: &tempfile::TempDir, yaml: &str, set: &[&str]) -> Result<Plan> {
    let path = dir.path().join("compare.yaml");
    fs::write(&path, yaml).unwrap();
    Plan::load(&path, &set.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>())
}

/// The error's text and hint, the temporary directory written as DIR.
fn fails(yaml: &str, set: &[&str]) -> String {
    let dir = place();
    let e = load(&dir, yaml, set).unwrap_err();
    format!("{e:#}\nhint: {}\n", e.hint_text().unwrap_or("NONE")).replace(dir.path().to_str().unwrap(), "DIR")
}

const GOOD: &str = "\
output_dir: out
base: sub/base.yaml
seeds: [3, 1]
reference: spin
set: {rounds: 4}
arms:
  sft: {method: sft}
  spin: {set: {schedule: uniform}, note: Equal weights.}
  middle: {set: {encoder: {options: {pooling: last}}, train: {beta: 0.25}}}
  other: {set: {encoder: {plugin: autoencoder, options: {steps: 0}}, distance: {options: {x: 1}}}}
";

#[test]
fn arms_are_the_base_with_their_changes_in_the_files_order() {
    let dir = place();
    let plan = load(&dir, GOOD, &[]).unwrap();
    let names: Vec<&str> = plan.arms.iter().map(|arm| arm.name.as_str()).collect();
    assert_eq!(names, ["sft", "spin", "middle", "other"]);
    assert_eq!((plan.reference, &plan.seeds[..], plan.arms[0].method), (1, &[3, 1][..], Method::Sft));
    assert!(plan.arms.iter().all(|arm| arm.config.rounds == 4 && arm.config.model == dir.path().join("sub/model")));
    assert_eq!(plan.arms[1].config.schedule, PluginChoice::bundled("uniform"));
    // Maps are merged, a plugin that is named replaces the one there, a short form gets its options.
    let middle = &plan.arms[2].config;
    assert_eq!((middle.train.beta, middle.train.max_steps), (0.25, 3));
    assert_eq!(json!(middle.encoder.options), json!({"layer": 1, "pooling": "last"}));
    let other = &plan.arms[3].config;
    assert_eq!((other.encoder.plugin.as_str(), json!(other.encoder.options)), ("autoencoder", json!({"steps": 0})));
    assert_eq!((other.distance.plugin.as_str(), json!(other.distance.options)), ("euclidean", json!({"x": 1})));
    let run = plan.run(&plan.arms[1], 3);
    assert_eq!((run.seed, run.output_dir), (3, dir.path().join("out/spin/seed-3")));
}

#[test]
fn an_inline_base_is_the_same_and_set_reaches_everything() {
    let dir = place();
    let inline = BASE.replace("model: model", "model: sub/model").replace("data.jsonl", "sub/data.jsonl");
    let inline: String = inline.lines().map(|line| format!("  {line}\n")).collect();
    let yaml = format!("output_dir: out\nbase:\n{inline}arms:\n  one: {{}}\n");
    let sets = ["base.rounds=7", "arms.one.set.train.beta=0.125", "seeds=[5]", "nearness.distance=cosine"];
    let plan = load(&dir, &yaml, &sets).unwrap();
    let arm = &plan.arms[0].config;
    assert_eq!((arm.rounds, arm.train.beta, &plan.seeds[..]), (7, 0.125, &[5][..]));
    assert_eq!((plan.base.distance.plugin.as_str(), arm.distance.plugin.as_str()), ("cosine", "euclidean"));
}

#[test]
fn faults_are_named_by_their_keys_and_lines() {
    let cases: &[(&str, &[&str])] = &[
        ("output_dir: out\nbase: nowhere.yaml\nsed: [1]\narms: {a: {methd: sft}}\n", &[]),
        ("output_dir: out\nbase: [1]\nseeds: []\narms: {a: {method: dpo}}\n", &[]),
        (GOOD, &["reference=spn"]),
        (GOOD, &["seeds=[1, 1]", "arms.sft.set={seed: 1, model: x}", "set.output_dir=x"]),
        ("output_dir: out\nbase: sub/base.yaml\narms: {}\n", &[]),
        ("output_dir: out\nbase: sub/base.yaml\narms: {../x: {}}\n", &[]),
        (GOOD, &["arms.spin.set.train={bet: 1}", "arms.other.set.rounds=0"]),
        (GOOD, &["set.rounds=many"]),
        (GOOD, &["set.eval=null"]),
        ("output_dir: out\nbase: {model: sub/model}\narms: {a: {}}\n", &[]),
    ];
    let said: Vec<String> = cases.iter().map(|(yaml, set)| fails(yaml, set)).collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn faults_of_a_base_in_a_file_are_the_files() {
    let dir = place();
    fs::write(dir.path().join("sub/base.yaml"), BASE.replace("rounds: 2", "rounds: 0")).unwrap();
    let said = format!("{:#}", load(&dir, &GOOD.replace("set: {rounds: 4}\n", ""), &[]).unwrap_err());
    assert!(said.ends_with(
        "sub/base.yaml: rounds (line 3): expected a whole number of at least 1 and at most 1048576, found 0"
    ));
}

#[test]
fn set_mends_what_the_base_lacks() {
    let dir = place();
    fs::write(
        dir.path().join("sub/base.yaml"),
        BASE.replace("rounds: 2", "rounds: 0").replace("{path: data", "{path: no"),
    )
    .unwrap();
    let mended = GOOD
        .replace("set: {rounds: 4}", "set: {rounds: 4, data: {path: data.jsonl}, eval: {data: {path: data.jsonl}}}");
    assert_eq!(load(&dir, &mended, &[]).unwrap().arms[0].config.data[0].path, dir.path().join("sub/data.jsonl"));
    // What is left is the base's own fault, what `set` breaks is not.
    let said = format!("{:#}", load(&dir, GOOD, &[]).unwrap_err());
    assert!(said.contains("sub/base.yaml") && said.contains("data.path") && !said.contains("rounds"), "{said}");
    let said = format!("{:#}", load(&dir, &mended, &["set.rounds=many"]).unwrap_err());
    assert!(said.contains("set.rounds") && !said.contains("base.yaml"), "{said}");
}

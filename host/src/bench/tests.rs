//! The whole command's library side on the model of `examples/clean-golden`.
#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::Path};

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn options(stages: &[Stage]) -> Options {
    Options {
        model: root().join("examples/clean-golden/model"),
        data: None,
        lora: None,
        bf16: false,
        quantize: None,
        batch: 2,
        max_length: 32,
        steps: 2,
        stages: stages.into(),
    }
}

/// Every key of a JSON value as `a.b[].c`; what `metrics` holds is described with training.
fn keys(value: &Value, path: &str, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            out.insert(path.clone());
            if key != "metrics" {
                keys(value, &path, out);
            }
        }),
        Value::Array(all) => all.iter().take(1).for_each(|value| keys(value, &format!("{path}[]"), out)),
        _ => {}
    }
}

#[test]
fn the_json_holds_what_the_page_documents() {
    let report = run(&options(&Stage::ALL)).unwrap();
    let json = serde_json::to_value(&report).unwrap();
    let mut found = BTreeSet::new();
    keys(&json, "", &mut found);

    let page = fs::read_to_string(root().join("docs/performance.md")).unwrap();
    let (_, schema) = page.split_once("## The JSON").unwrap();
    let documented: BTreeSet<String> = schema
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('|').next().map(str::to_owned))
        .flat_map(|cell| cell.split('`').step_by(2).map(str::to_owned).collect::<Vec<_>>())
        .filter(|key| !key.trim().is_empty())
        .collect();
    // `*.rate` stands for that key in every stage.
    let means = |documented: &str, key: &str| match documented.strip_prefix('*') {
        Some(end) => key.ends_with(end),
        None => key == documented,
    };
    let missing: Vec<_> = found.iter().filter(|key| !documented.iter().any(|d| means(d, key))).collect();
    assert!(missing.is_empty(), "keys that the page does not document: {missing:?}");
    let stale: Vec<_> = documented.iter().filter(|d| !found.iter().any(|key| means(d, key))).collect();
    assert!(stale.is_empty(), "keys that the page documents and the JSON has not: {stale:?}");

    let text = report.to_string();
    for title in ["limits ", "train ", "reference ", "generate ", "lengths ", "batches "] {
        assert!(text.contains(&format!("\n{title}")), "{text}");
    }
}

#[test]
fn training_is_what_it_says() {
    let mut options = options(&[Stage::Train]);
    options.steps = 3;
    let full = run(&options).unwrap().train.unwrap();
    assert_eq!(full.trained, 452_832);
    // Policy and reference are the same at the first step.
    let loss = |step: &train::TrainedStep| step.metrics.get("loss").unwrap();
    assert!((loss(&full.steps[0]) - std::f64::consts::LN_2).abs() < 1e-4, "{}", loss(&full.steps[0]));
    // Then the policy moves away.
    assert!(loss(&full.steps[0]) != loss(&full.steps[2]));
    for step in &full.steps {
        assert_eq!((step.rows.len(), step.sequence_tokens, step.packed_tokens), (2, 2 * 64, 2 * 46));
        assert!(step.seconds > 0.0 && step.gflop > 0.0);
    }
    let different: BTreeSet<&Vec<usize>> = full.steps.iter().map(|s| &s.rows).collect();
    assert_eq!(different.len(), 3);

    // Same bits again; other ones with an adapter.
    assert_eq!(run(&options).unwrap().train.unwrap().weights_sha256, full.weights_sha256);
    options.lora = Some(2);
    let lora = run(&options).unwrap().train.unwrap();
    assert_eq!(lora.trained, 4 * 2 * (4 * (96 + 96) + 3 * (96 + 256)));
    assert!(lora.steps[0].gflop < full.steps[0].gflop && lora.weights_sha256 != full.weights_sha256);
}

#[test]
fn pairs_come_from_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pairs.jsonl");
    let row = r#"{"prompt": "Shout bim.", "chosen": "BIM", "rejected": "bim bim"}"#;
    fs::write(&file, format!("{row}\n").repeat(5)).unwrap();
    let mut options = options(&[Stage::Train]);
    (options.data, options.max_length) = (Some(file.clone()), 96);
    let train = run(&options).unwrap().train.unwrap();
    // Prompt, chosen and rejected; in the pack the prompt is there once, and last tokens are not.
    let codec = crate::text::TextCodec::load(&options.model).unwrap();
    let history = vec![crate::text::Message::new("user", "Shout bim.")].into();
    let reply = crate::text::Message::assistant;
    let [prompt, chosen, rejected] = [
        codec.encode_prompt(&history).unwrap().len(),
        codec.encode_turn(&history, &reply("BIM")).unwrap().response.len(),
        codec.encode_turn(&history, &reply("bim bim")).unwrap().response.len(),
    ];
    assert_eq!(train.steps[0].sequence_tokens, 2 * (2 * prompt + chosen + rejected));
    assert_eq!(train.steps[0].packed_tokens, 2 * (prompt + chosen + rejected - 2));
    assert!(train.steps.iter().flat_map(|s| &s.rows).all(|row| *row < 5));

    fs::write(&file, r#"{"prompt": "a", "completion": "b"}"#).unwrap();
    let error = run(&options).unwrap_err();
    assert_eq!(error.to_string(), format!("{} has no rejected responses", file.display()));
    assert!(error.hint_text().unwrap().contains("prompt, chosen and rejected"));
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let message = |change: fn(&mut Options)| {
        let mut options = options(&[Stage::Train]);
        change(&mut options);
        format!("{:#}", run(&options).unwrap_err())
    };
    assert_eq!(message(|o| o.batch = 0), "batch is 0; expected 1 or more pairs a step");
    assert_eq!(message(|o| o.steps = 0), "steps is 0; expected 1 or more");
    assert_eq!(message(|o| o.lora = Some(0)), "lora is 0; expected a rank of 1 or more");
    assert_eq!(message(|o| o.stages.clear()), "no stage to measure");
    assert_eq!(message(|o| o.max_length = 500), "max_length is 500; the model takes 2 to 128 tokens");
    assert_eq!(message(|o| o.model = "nowhere".into()), "there is no model nowhere");
    let error = "tain".parse::<Stage>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no stage tain; expected some of limits, ops, train, reference, generate, lengths"
    );
}

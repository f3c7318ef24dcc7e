//! `ldalign validate` through the real program: figures, files, kept latents, and input that cannot be used.
#![allow(clippy::unwrap_used)]

use ldalign_tests::runs;
use serde_json::{Value, json};
use std::{fs, path::Path, process::Output};

const SECTION: &str = "
encoder: { plugin: policy-states, options: { layer: 1 } }
validate:
  data: { path: annotated.jsonl, max_length: 96 }
  distances: [euclidean, cosine]
";

/// Rows whose better response is the golden one, and one whose responses are both right.
fn rows() -> Vec<Value> {
    let words = ["loper", "bukar", "viribo", "mosuv", "rezu", "vomopo", "durono", "sipivo"];
    let mut rows: Vec<Value> = words
        .iter()
        .map(|w| {
            let turned: String = w.chars().rev().collect();
            json!({"prompt": format!("Reverse {w}."), "golden": turned, "better": turned, "worse": format!("{w} {w}")})
        })
        .collect();
    let both = json!([{"text": "a", "label": true}, {"text": "b", "label": 1}]);
    rows.push(json!({"prompt": "Say a.", "golden": "a", "responses": both}));
    rows
}

fn validate(dir: &Path, rows: &[Value], sets: &[&str]) -> Output {
    let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
    fs::write(dir.join("annotated.jsonl"), text).unwrap();
    runs::command("validate", &runs::config(dir, SECTION), sets).arg("--json").output().unwrap()
}

fn parsed(out: &Output) -> Value {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

#[test]
fn distances_are_measured_beside_baselines_and_latents_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let out = validate(dir.path(), &rows(), &["validate.distances=[euclidean]"]);
    let first = parsed(&out);
    assert_eq!((&first["prompts"], &first["responses"], &first["one_label"]), (&json!(8), &json!(16), &json!(1)));
    let encoded = |out: &Output| String::from_utf8_lossy(&out.stderr).contains("policy-states responses: 16/16");
    assert!(encoded(&out), "{}", String::from_utf8_lossy(&out.stderr));

    // One more distance and other labels: the latents stay.
    let out = validate(dir.path(), &rows(), &[]);
    let both = parsed(&out);
    assert!(!encoded(&out), "the latents were made again");
    let names: Vec<[&str; 2]> = both["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| [l["encoder"].as_str().unwrap_or("-"), l["distance"].as_str().unwrap()])
        .collect();
    let encoder = "policy-states layer=1";
    assert_eq!(names, [[encoder, "euclidean"], [encoder, "cosine"], ["-", "length difference"], ["-", "random"]]);
    assert_eq!(both["lines"][0], first["lines"][0], "kept latents give other figures");
    // Every golden response is one of the judged, so that no prompt is apart.
    assert_eq!((&both["prompts_apart"], &both["lines"][0]["accuracy_apart"]["value"]), (&json!(0), &Value::Null));
    // The better response is the golden one: at distance 0, and as long.
    for line in [0, 1, 2] {
        assert_eq!(both["lines"][line]["accuracy"], json!({"value": 1.0, "interval": [1.0, 1.0]}), "line {line}");
    }
    let output = dir.path().join("run/validate");
    let written: Value = serde_json::from_slice(&fs::read(output.join("validate.json")).unwrap()).unwrap();
    assert_eq!(written, both);
    let html = fs::read_to_string(output.join("validate.html")).unwrap();
    assert!(html.contains("<svg") && html.contains("policy-states layer=1, cosine"));
    assert!(!html.contains("<script") && !html.contains("//"), "{html}");

    // Other responses: the latents are made again, and worse is nearer now.
    let mut turned = rows();
    for row in &mut turned[..8] {
        let (better, worse) = (row["better"].take(), row["worse"].take());
        (row["better"], row["worse"]) = (worse, better);
    }
    let out = validate(dir.path(), &turned, &[]);
    assert!(encoded(&out));
    assert_eq!(parsed(&out)["lines"][0]["accuracy"]["value"], json!(0.0));
}

#[test]
fn the_table_is_for_people() {
    let dir = tempfile::tempdir().unwrap();
    validate(dir.path(), &rows(), &[]);
    let out = runs::command("validate", &dir.path().join("config.yaml"), &[]).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(
        text.starts_with("16 responses to 8 prompts; rows left out because all their responses have one label: 1"),
        "{text}"
    );
    assert!(text.contains("may be used") && text.contains("1.000 [1.000, 1.000]"), "{text}");
}

#[test]
fn input_that_cannot_be_used_is_one_error_with_its_place() {
    let refuse = |spoil: &dyn Fn(&mut Value), expected: &str| {
        let dir = tempfile::tempdir().unwrap();
        let mut rows = rows();
        spoil(&mut rows[2]);
        let out = validate(dir.path(), &rows, &[]);
        let stderr = String::from_utf8_lossy(&out.stderr);
        let place = dir.path().join("annotated.jsonl");
        let message = format!("error[data/row]: {}, line 3: {expected}\nhint: ", place.display());
        assert!(out.status.code() == Some(1) && stderr.contains(&message), "{stderr}");
        assert!(out.stdout.is_empty() && !dir.path().join("run").exists());
    };
    refuse(&|row| drop(row.as_object_mut().unwrap().remove("golden")), "`golden`: expected a string, found nothing");
    refuse(
        &|row| *row = json!({"prompt": "p", "golden": "g", "responses": [{"text": "t", "label": "good"}]}),
        "`responses[0].label`: expected true, false or a number, found a string",
    );

    let dir = tempfile::tempdir().unwrap();
    let out = runs::command("validate", &runs::config(dir.path(), ""), &[]).output().unwrap();
    assert!(
        String::from_utf8_lossy(&out.stderr).contains("error[config/validate]: the config has no `validate` section")
    );
    let out = validate(dir.path(), &rows(), &["validate.data.fields={goldn: x}"]);
    assert!(String::from_utf8_lossy(&out.stderr).contains("unknown field; did you mean `golden`?"));
}

#[test]
fn a_rule_is_refused_before_anything_is_sampled_where_its_validation_speaks_against_it() {
    let dir = tempfile::tempdir().unwrap();
    let run = |rows: &[Value], verb: &str, more: &[&str]| {
        let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
        fs::write(dir.path().join("annotated.jsonl"), text).unwrap();
        let sets = [
            "pairs=golden-over-farthest",
            "generate.samples=2",
            "generate.max_new_tokens=16",
            "rounds=1",
            "train.max_steps=1",
        ];
        let out = runs::command(verb, &runs::config(dir.path(), SECTION), &sets).args(more).output().unwrap();
        (
            out.status.success(),
            String::from_utf8_lossy(&out.stderr).into_owned(),
            String::from_utf8_lossy(&out.stdout).into_owned(),
        )
    };
    let (done, stderr, stdout) = run(&rows(), "check", &[]);
    assert!(done && stderr.contains("the rule golden-over-farthest chooses by distance. not validated"), "{stderr}");
    assert!(
        stdout.contains(
            "pairs    2 samples a prompt; golden-over-farthest: the golden response over the sample farthest"
        ),
        "{stdout}"
    );

    let mut turned = rows();
    for row in &mut turned[..8] {
        let (better, worse) = (row["better"].take(), row["worse"].take());
        (row["better"], row["worse"]) = (worse, better);
    }
    let (done, stderr, _) = run(&turned, "run", &["--validate-first"]);
    assert!(
        !done && stderr.contains("error[validate/rule]: the rule golden-over-farthest chooses by distance"),
        "{stderr}"
    );
    assert!(dir.path().join("run/validate/validate.json").exists() && !dir.path().join("run/manifest.json").exists());

    let (done, stderr, _) = run(&rows(), "run", &["--validate-first"]);
    assert!(done && !stderr.contains("chooses by distance"), "{stderr}");
    assert!(dir.path().join("run/round-1/choices.jsonl").exists());
}

#[test]
fn a_checker_judges_a_runs_own_samples() {
    let dir = tempfile::tempdir().unwrap();
    let own = "
encoder: { plugin: policy-states, options: { layer: 1 } }
generate: { samples: 4, max_new_tokens: 24 }
validate: { checker: exact, distances: [euclidean, cosine] }
";
    let config = runs::config(dir.path(), own);
    let validate = |config: &Path| runs::command("validate", config, &[]).arg("--json").output().unwrap();
    let out = validate(&config);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && said.contains("validate/samples") && said.contains("ldalign generate"), "{said}");
    runs::succeed(runs::command("generate", &config, &[]));
    let found = parsed(&validate(&config));
    assert_eq!(found["checker"], json!("exact"));

    // The same samples with the judgements written beside them give the same figures.
    let lines = |path: &Path| -> Vec<Value> {
        fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let golden = lines(&ldalign_tests::workspace_root().join("examples/clean-golden/golden.jsonl"));
    let samples = lines(&dir.path().join("run/round-1/generations.jsonl"));
    let text = |value: &Value| value.as_str().unwrap().trim().to_owned();
    let judged = golden[..24].iter().enumerate().map(|(i, row)| {
        let own = samples.iter().filter(|s| s["index"] == json!(i) && !text(&s["text"]).is_empty());
        let own = own.map(|s| json!({"text": s["text"], "label": text(&s["text"]) == text(&row["completion"])}));
        json!({"prompt": row["prompt"], "golden": row["completion"], "responses": own.collect::<Vec<_>>()})
    });
    let written: Vec<String> = judged.map(|row| format!("{row}\n")).collect();
    fs::write(dir.path().join("annotated.jsonl"), written.concat()).unwrap();
    let spelled =
        runs::config(dir.path(), &own.replace("checker: exact", "data: { path: annotated.jsonl, max_length: 96 }"));
    let by_hand = parsed(&validate(&spelled));
    for key in ["prompts", "prompts_apart", "responses", "one_label", "lines", "agreement"] {
        assert_eq!(found[key], by_hand[key], "{key}");
    }
    assert!(found["prompts"].as_u64().unwrap() > 3, "{found}");

    // Without judgements no figure that needs them, no verdict, and nothing that a rule could be trusted for.
    let unjudged = runs::config(dir.path(), &own.replace("checker: exact", "unjudged: true"));
    let blind = parsed(&validate(&unjudged));
    assert_eq!((&blind["judged"], &blind["lines"][0]["verdict"]), (&json!(false), &Value::Null));
    for figure in ["accuracy", "accuracy_apart", "auc", "label_correlation"] {
        assert_eq!(blind["lines"][0][figure], json!({"value": null, "interval": null}), "{figure}");
    }
    assert!(blind["lines"][0]["length_correlation"]["value"].is_f64(), "{blind}");
    assert_eq!(blind["agreement"][0][0], json!(1.0));
    // The baseline is length: it is like itself, and like each distance as the distance is like length.
    let like_length = |line: usize| &blind["lines"][line]["split"]["like_length"]["value"];
    assert_eq!((like_length(2), like_length(0)), (&json!(1.0), &blind["agreement"][0][2]));
    let out = runs::command("validate", &unjudged, &[]).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("nobody has judged") && !text.contains("pairwise accuracy"), "{text}");
    let out = runs::command("run", &unjudged, &[]).arg("--validate-first").output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && said.contains("has no judgements to hold policy-states layer=1"), "{said}");

    // Samples that were changed are not judged, and nothing of the kind is written.
    let path = dir.path().join("run/round-1/generations.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"text\":\"", "\"text\":\"x", 1)).unwrap();
    let out = validate(&runs::config(dir.path(), own));
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(1) && said.contains("error[run/damaged]"), "{said}");
    assert!(said.contains("generations.jsonl is missing or not what stage generate of round 1 wrote"), "{said}");
}

#![allow(clippy::unwrap_used)]
use super::*;
use crate::Code;
use crate::latents::{self, OF_ROUND};
use ldalign_sdk::LatentShape;
use serde_json::{Value, json};
use std::{fmt::Write as _, fs};

mod parts;

/// A plausible run: accuracy rises, margins grow, rejected responses are a noisy version of the chosen ones.
fn fake_run(dir: &Path, rounds: u64, rows: usize) {
    let noise = |i: usize, k: usize| ((i * 7919 + k * 104_729) as f64).sin() * 0.5 + 0.5;
    fs::create_dir_all(dir).unwrap();
    let plugin = |kind, id, sha: &str| json!({"kind": kind, "id": id, "name": format!("{kind}-{id}"), "version": "0.1.0", "sha256": sha.repeat(16), "options": {}});
    let manifest = json!({
        "ldalign": "0.1.0", "created": "2026-11-23T14:40:00Z",
        "config": {"model": "model", "rounds": rounds, "train": {"beta": 0.5, "learning_rate": 1e-4}},
        "model": {"path": "examples/quickstart/model", "sha256": "9f2c4e1b".repeat(8)},
        "data": {"path": "examples/quickstart/golden.jsonl", "sha256": "03bd77aa".repeat(8), "rows": rows},
        "eval": {"path": "examples/quickstart/test.jsonl", "sha256": "77aa03bd".repeat(8)},
        "plugins": [plugin("encoder", "policy-states", "a1b2"), plugin("distance", "euclidean", "c3d4"), plugin("schedule", "linear", "e5f6")],
    });
    fs::write(dir.join("manifest.json"), manifest.to_string()).unwrap();
    for n in 0..=rounds {
        let samples: Vec<Value> = (0..16)
            .map(|i| {
                let right = noise(i, 3) < 0.3 + 0.2 * n as f64;
                let response = if right { "ikamot" } else { "tomaki lu bado" };
                json!({"prompt": format!("Spell tomaki backwards. ({i})"), "golden": "ikamot", "response": response, "right": right})
            })
            .collect();
        let up = n as f64 / (1.0 + n as f64);
        let eval = json!({"greedy_accuracy": 0.67 + 0.12 * up, "sampled_accuracy": 0.21 + 0.55 * up, "nll": 0.27 - 0.02 * up, "rows": 400, "samples": samples});
        fs::write(dir.join(format!("eval-{n}.json")), eval.to_string()).unwrap();
    }
    for n in 1..=rounds {
        let round = dir.join(format!("round-{n}"));
        fs::create_dir_all(round.join("train")).unwrap();
        let (mut generations, mut scores, mut metrics) = (String::new(), String::new(), String::new());
        for i in 0..rows {
            let stop = if noise(i, 1) < 0.01 { "length" } else { "stop" };
            writeln!(generations, "{}", json!({"index": i, "ids": [5, 6, 3], "text": "ab", "stop": stop})).unwrap();
            let equal = noise(i, 2) < 0.2 * n as f64;
            let distance = if equal { 0.0 } else { 1.0 + 6.0 * noise(i, 4) * noise(i, 5) };
            let (own, own_tokens) =
                if equal { ("ikamot", 7) } else { ("tomaki <b>bold</b> & babble", 7 + (9.0 * noise(i, 6)) as i32) };
            let line = json!({"index": i, "line": i + 1, "distance": distance, "weight": distance / 2.1, "chosen_tokens": 7,
                "rejected_tokens": own_tokens, "prompt": "Spell tomaki backwards.", "chosen": "ikamot", "rejected": own});
            writeln!(scores, "{line}").unwrap();
        }
        for step in 1..=40usize {
            let t = step as f64 / 40.0;
            let (chosen, rejected) = (-0.4 * t + 0.1 * noise(step, 7), -2.2 * t + 0.3 * noise(step, 8));
            let line = json!({"step": step, "epoch": t, "loss": 0.693 - 0.4 * t + 0.08 * noise(step, 9), "learning_rate": 1e-4 * (1.0 - t),
                "grad_norm": 2.0 + noise(step, 10), "rewards/chosen": chosen, "rewards/rejected": rejected, "rewards/margins": chosen - rejected,
                "rewards/accuracies": 0.5 + 0.4 * t, "logps/chosen": -3.0 - noise(step, 11), "logps/rejected": -6.0 - 9.0 * t + noise(step, 12)});
            writeln!(metrics, "{line}").unwrap();
        }
        fs::write(round.join("generations.jsonl"), generations).unwrap();
        fs::write(round.join("scores.jsonl"), scores).unwrap();
        fs::write(
            round.join("encoder.json"),
            json!({"id": "policy-states", "shape": [1, 96], "fit": {"rows": rows}}).to_string(),
        )
        .unwrap();
        fs::write(round.join("train/metrics.jsonl"), metrics).unwrap();
        let chosen: Vec<f32> = (0..rows * 6).map(|i| noise(i, 13) as f32).collect();
        let rejected: Vec<f32> = chosen.iter().enumerate().map(|(i, v)| v + 2.0 * noise(i / 6, 14) as f32).collect();
        // One sample a prompt: the candidates are the pairs.
        let candidate = |row| format!("{}\n", json!({"row": row, "counts": [1], "cut": [false]}));
        fs::write(round.join("candidates.jsonl"), (0..rows).map(candidate).collect::<String>()).unwrap();
        let shape = LatentShape { slots: 2, dim: 3 };
        latents::write(&round.join("latents.safetensors"), OF_ROUND.map(|name| (name, rows)), shape, &[], |out| {
            out.f32(&chosen)?;
            Ok(out.f32(&rejected)?)
        })
        .unwrap();
        let times = [("generate", 75.25), ("candidates", 0.03), ("score", 4.0), ("pairs", 0.04), ("train", 3700.0)]
            .map(|(stage, seconds)| {
                let begun = json!({"stage": stage, "seconds": null, "peak_bytes": null});
                format!("{begun}\n{}\n", json!({"stage": stage, "seconds": seconds, "peak_bytes": 300 << 20}))
            });
        fs::write(round.join("timing.jsonl"), times.concat()).unwrap();
        let clock = |step| {
            let clock = json!({"step": step, "seconds": 2.0, "tokens_per_second": 1500.0, "resident_bytes": 1});
            format!("{clock}\n")
        };
        fs::write(round.join("train/timing.jsonl"), (1..=40).map(clock).collect::<String>()).unwrap();
        let healthy = json!({"sign": "length", "verdict": "healthy", "figure": 0.31, "limit": 0.7, "advice": "use another encoder",
            "finding": "the rank correlation of distance with difference in length is 0.31 (1: length alone)"});
        fs::write(round.join("diagnostics.json"), json!([healthy]).to_string()).unwrap();
        let drop = json!({"sign": "displacement", "verdict": "unknown", "figure": null, "limit": null, "advice": "raise max_steps",
            "finding": "training wrote no rewards"});
        fs::write(round.join("train/diagnostics.json"), json!([drop]).to_string()).unwrap();
    }
}

fn page_of(dir: &Path) -> String {
    let html = fs::read_to_string(write(dir).unwrap()).unwrap();
    assert_well_formed(&html);
    html
}

/// Every element that is opened is closed, in order; ids are unique; nothing is fetched and nothing runs.
fn assert_well_formed(html: &str) {
    let body = html.split("</head>").nth(1).unwrap().strip_suffix("</html>\n").unwrap();
    let (mut open, mut rest) = (vec![], body);
    while let Some(at) = rest.find('<') {
        let tag = &rest[at + 1..at + rest[at..].find('>').unwrap()];
        rest = &rest[at + tag.len() + 2..];
        let name = tag.trim_start_matches('/').split([' ', '/', '\n']).next().unwrap();
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "closed out of order");
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "<{tag}>");
        assert!(!["script", "img", "link", "iframe"].contains(&name));
    }
    assert_eq!(open, [""; 0], "never closed");
    let mut ids: Vec<_> = body.split(" id=\"").skip(1).map(|s| s.split('"').next().unwrap()).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
    assert!(!html.contains("http://") && !html.contains("https://") && !html.contains("NaN"));
}

#[test]
fn a_whole_run_is_reported_the_same_each_time() {
    let dir = tempfile::tempdir().unwrap();
    fake_run(dir.path(), 2, 300);
    let html = page_of(dir.path());
    assert_eq!(html, page_of(dir.path()));
    for part in [
        "Sampled accuracy",
        "21.0 % → 57.7 %",
        "Round 2",
        "Farthest pairs",
        "policy-states",
        "9f2c4e1b9f2c",
        "after 2 rounds",
        "250 of 300 prompts, evenly spaced",
        "61 min 40 s",
        "900 tokens",
        "1,500 tokens/s",
        "300 MiB",
        "examples/quickstart/test.jsonl",
        "77aa03bd77aa",
    ] {
        assert!(html.contains(part), "{part}");
    }
    assert!(html.contains("&lt;b&gt;bold&lt;/b&gt; &amp; babble") && !html.contains("<b>bold"));
    assert!(!html.contains("not there") && !html.contains("not been"));
}

#[test]
fn an_unfinished_run_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let html = page_of(dir.path());
    for part in ["no evaluation yet", "No round has been started", "no manifest.json yet"] {
        assert!(html.contains(part), "{part}");
    }
    fake_run(dir.path(), 1, 40);
    fs::remove_file(dir.path().join("eval-1.json")).unwrap();
    fs::remove_file(dir.path().join("round-1/scores.jsonl")).unwrap();
    fs::remove_dir_all(dir.path().join("round-1/train")).unwrap();
    let html = page_of(dir.path());
    for part in ["have not been scored yet", "has not written metrics yet", "Needs the evaluations before training"] {
        assert!(html.contains(part), "{part}");
    }
    let err = write(&dir.path().join("nowhere")).unwrap_err();
    assert_eq!((err.code(), err.hint_text()), (Code::ReportRunDir, Some("give the output_dir of a run")));
}

#[test]
fn a_run_without_distances_draws_none() {
    let dir = tempfile::tempdir().unwrap();
    fake_run(dir.path(), 1, 40);
    let path = dir.path().join("round-1/scores.jsonl");
    let scores = std::fs::read_to_string(&path).unwrap();
    let rows = scores.lines().map(|line| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["distance"] = serde_json::Value::Null;
        format!("{line}\n")
    });
    std::fs::write(&path, rows.collect::<String>()).unwrap();
    let html = page_of(dir.path());
    assert!(html.contains("distances not measured") && html.contains("Weights over the round"));
    assert!(!html.contains("Weight by distance") && !html.contains("Farthest pairs"));
}

#[test]
fn torn_and_broken_lines_and_values_that_are_not_finite_are_told() {
    let dir = tempfile::tempdir().unwrap();
    fake_run(dir.path(), 1, 40);
    let edit = |file: &str, by: &dyn Fn(String) -> String| {
        let path = dir.path().join(file);
        fs::write(&path, by(fs::read_to_string(&path).unwrap())).unwrap();
    };
    edit("round-1/train/metrics.jsonl", &|s| {
        s.replacen("\"loss\":0.", "\"loss\":null,\"was\":0.", 1) + "{\"step\":41,\"lo"
    });
    edit("round-1/scores.jsonl", &|s| s.replacen("\"weight\"", "weight", 2));
    edit("eval-1.json", &|_| "{".into());
    let html = page_of(dir.path());
    assert!(html.contains("2 lines of round-1/scores.jsonl cannot be read"));
    assert!(html.contains("eval-1.json cannot be read"));
    assert!(
        html.contains("weighted DPO loss (1 not finite)")
            && html.contains("not every value is a finite number in loss, was")
    );
}

#[test]
fn known_failure_signs_are_found_and_healthy_runs_are_not_accused() {
    let dir = tempfile::tempdir().unwrap();
    fake_run(dir.path(), 1, 200);
    let findings = || watch::findings(&Run::read(dir.path()).unwrap());
    assert_eq!(findings(), [""; 0]);
    let (mut scores, mut metrics, mut generations) = (String::new(), String::new(), String::new());
    for i in 0..200 {
        let weight = if i == 0 { 150.0 } else { 0.25 };
        let line = json!({"index": i, "line": i + 1, "distance": i as f64, "weight": weight, "chosen_tokens": 5, "rejected_tokens": 5 + i,
            "prompt": "p", "chosen": "a", "rejected": if i % 3 == 0 { "b" } else { "a" }});
        writeln!(scores, "{line}").unwrap();
        writeln!(
            metrics,
            "{}",
            json!({"step": i, "rewards/chosen": -1.1, "rewards/rejected": -1.0, "rewards/margins": -0.1})
        )
        .unwrap();
        writeln!(
            generations,
            "{}",
            json!({"index": i, "ids": [], "text": "", "stop": if i % 4 == 0 { "length" } else { "stop" }})
        )
        .unwrap();
    }
    fs::write(dir.path().join("round-1/scores.jsonl"), scores).unwrap();
    fs::write(dir.path().join("round-1/train/metrics.jsonl"), metrics).unwrap();
    fs::write(dir.path().join("round-1/generations.jsonl"), generations).unwrap();
    let warning = json!({"sign": "outliers", "verdict": "warning", "figure": 0.1, "limit": 0.25, "advice": "clip the schedule",
        "finding": "the weights count like 6 equal ones"});
    fs::write(dir.path().join("round-1/diagnostics.json"), json!([warning]).to_string()).unwrap();
    let found = findings().join("\n");
    for sign in [
        "25 % of the responses were cut",
        "count like 6 equal ones. To do: clip the schedule.",
        "rejected responses equal the chosen",
        "did not grow",
    ] {
        assert!(found.contains(sign), "{sign} in\n{found}");
    }
}

/// `cargo test -p ldalign report::tests::a_page_to_look_at -- --ignored`, then open target/report-sample/report.html.
#[test]
#[ignore = "writes a page for the eye"]
fn a_page_to_look_at() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/report-sample");
    fake_run(&dir, 2, 100);
    write(&dir).unwrap();
}

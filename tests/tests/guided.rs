//! The guiding auto-encoder whose decoder is the policy, through the real program on the model of
//! `examples/clean-golden`.
#![allow(clippy::unwrap_used)]

use ldalign::files;
use ldalign_tests::runs;
use safetensors::SafeTensors;
use serde_json::Value;
use std::{fs, path::Path};

const RUN: &str = "
generate: { samples: 1, max_new_tokens: 24, temperature: 1.0 }
encoder: { plugin: guided, options: { steps: 40, learning_rate: 4.0e-3 } }
";

fn score(dir: &Path, sets: &[&str]) -> Value {
    let config = runs::config(dir, RUN);
    runs::succeed(runs::command("score", &config, sets));
    files::read_json(&dir.join("run/round-1/encoder.json")).unwrap()
}

#[test]
fn the_latent_tells_the_policy_its_own_response_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let report = score(dir.path(), &["data.max_rows=160"]);
    println!("{report:#}");
    let figure = |name: &str| report["fit"][name].as_f64().unwrap();
    let [with, without, shuffled] = ["nll_with_latent", "nll_without_latent", "nll_shuffled_latent"].map(figure);
    // So small a model is thrown off by any prefix; the right one is better than another's all the same.
    assert!(with < shuffled - 0.05, "{with} {without} {shuffled}");
    assert_eq!(figure("latent_gain"), without.min(shuffled) - with);
    assert!(figure("held_out_samples") >= 16.0 && figure("latent_rank") > 1.5);

    // What diagnostics make of it.
    let signs: Value = files::read_json(&dir.path().join("run/round-1/diagnostics.json")).unwrap();
    let sign = signs.as_array().unwrap().iter().find(|s| s["sign"] == "reconstruction").unwrap();
    assert_eq!(sign["figure"].as_f64(), Some(figure("latent_gain")));

    // Responses that differ have latents that differ.
    let bytes = fs::read(dir.path().join("run/round-1/latents.safetensors")).unwrap();
    let latents = SafeTensors::deserialize(&bytes).unwrap();
    let [golden, losing] = ["golden", "losing"].map(|name| latents.tensor(name).unwrap());
    assert_eq!(golden.shape(), [160, 4, 64]);
    let scores = fs::read_to_string(dir.path().join("run/round-1/scores.jsonl")).unwrap();
    let (each, mut different) = (4 * 64 * 4, 0);
    for (i, line) in scores.lines().enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        let [a, b] = [&golden, &losing].map(|t| &t.data()[i * each..][..each]);
        if line["chosen"] != line["rejected"] {
            assert!(a != b && line["distance"].as_f64().unwrap() > 0.0, "{line}");
            different += 1;
        }
    }
    assert!(different > 40, "{different}");
}

#[test]
fn threads_change_no_bit() {
    let scored = |sets: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        score(dir.path(), sets);
        ["encoder.json", "encoder.state", "latents.safetensors", "scores.jsonl"]
            .map(|name| files::sha256_file(&dir.path().join("run/round-1").join(name)).unwrap())
    };
    let one = scored(&[]);
    assert_eq!(scored(&["threads=2"]), one);
    assert_ne!(scored(&["seed=1"]), one);
}

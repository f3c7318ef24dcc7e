//! Parts of the report that have files of their own: latents, what `validate` found, TensorBoard's events.

use super::*;

#[test]
fn what_validate_found_is_shown_with_a_link() {
    let dir = tempfile::tempdir().unwrap();
    fake_run(dir.path(), 1, 40);
    assert!(!page_of(dir.path()).contains("annotated prompts"));
    let figure = |v: f64| json!({"value": v, "interval": [v - 0.05, v + 0.05]});
    let line = json!({"encoder": "guided <x>", "distance": "euclidean", "accuracy": figure(0.71), "auc": figure(0.7),
        "label_correlation": figure(-0.3), "length_correlation": figure(0.1)});
    fs::create_dir(dir.path().join("validate")).unwrap();
    let found = json!({"ldalign": "0.1.0", "prompts": 8, "responses": 16, "lines": [line]});
    fs::write(dir.path().join("validate/validate.json"), found.to_string()).unwrap();
    let html = page_of(dir.path());
    for part in
        ["16 responses to 8 judged", "guided &lt;x&gt;", "0.710", "[0.660, 0.760]", "Golden apart", "may be used"]
    {
        assert!(html.contains(part), "{part}");
    }
    assert!(html.contains("<a href=\"validate/validate.html\">"));
}

#[test]
fn latents_that_are_none_are_said_and_not_drawn() {
    let dir = tempfile::tempdir().unwrap();
    fake_run(dir.path(), 1, 40);
    let path = dir.path().join("round-1/latents.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    assert!(page_of(dir.path()).contains("All 40 prompts."));
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    assert!(page_of(dir.path()).contains("39 of 40 prompts"));
    fs::write(&path, &bytes[..end - 4]).unwrap();
    let html = page_of(dir.path());
    assert!(html.contains("round-1/latents.safetensors cannot be read") && !html.contains("Latent map"));
}

/// The same run gives the same files; steps go on from round to round. `python tests/fixtures/make_tfevents.py RUN`
/// shows what TensorBoard reads.
#[test]
fn scalars_are_written_for_tensorboard() {
    let dir = tempfile::tempdir().unwrap();
    fake_run(dir.path(), 2, 40);
    let files = || {
        page_of(dir.path());
        let names = fs::read_dir(dir.path().join("tensorboard")).unwrap().map(|e| e.unwrap().path());
        names.map(|p| (p.clone(), fs::read(p).unwrap())).collect::<std::collections::BTreeMap<_, _>>()
    };
    let written = files();
    assert_eq!(written, files());
    let names: Vec<_> = written.keys().map(|p| p.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, [0, 1, 2].map(|n| format!("events.out.tfevents.{n:010}.ldalign")));
    let last = written.values().next_back().unwrap();
    let has = |part: &[u8]| last.windows(part.len()).any(|w| w == part);
    for tag in ["train/loss", "train/rewards/chosen", "eval/sampled_accuracy", "diagnostics/length"] {
        assert!(has(tag.as_bytes()), "{tag}");
    }
    // Step 80 = 40 of each round, at 2 seconds a step: fields 1 and 2 of the last event.
    assert!(has(&[&[9], &160f64.to_le_bytes()[..], &[16, 80]].concat()) && !has(b"train/step"));
}

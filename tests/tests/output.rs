//! No command writes onto anything that it reads or did not make: what a foreign directory holds is as it was, and what
//! was damaged is not believed.
#![allow(clippy::unwrap_used)]

use ldalign_tests::{host_binary, runs::files, workspace_root};
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

const SMALL: &str = "
generate: { samples: 1, max_new_tokens: 8, batch_size: 8 }
train: { learning_rate: 1.0e-3, per_device_train_batch_size: 4, gradient_accumulation_steps: 1, max_steps: 4, save_steps: 1 }
";

/// A user's directory: a model, rows, annotated rows, questions and configs.
fn mine() -> tempfile::TempDir {
    let (dir, source) = (tempfile::tempdir().unwrap(), workspace_root().join("examples/clean-golden"));
    fs::create_dir(dir.path().join("model")).unwrap();
    for entry in fs::read_dir(source.join("model")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.path().join("model").join(path.file_name().unwrap())).unwrap();
    }
    fs::copy(source.join("golden.jsonl"), dir.path().join("golden.jsonl")).unwrap();
    let annotated = r#"{"prompt": "Reverse loper.", "golden": "repol", "better": "repol", "worse": "loper"}"#;
    fs::write(dir.path().join("annotated.jsonl"), format!("{annotated}\n")).unwrap();
    fs::write(dir.path().join("q.jsonl"), "{\"question\": \"q\", \"choices\": [\"a\", \"b\"], \"answer\": 0}\n")
        .unwrap();
    let config = |name: &str, output: &str| {
        let text = format!(
            "model: model\noutput_dir: {output}\nthreads: 1\ndata: {{ path: golden.jsonl, max_rows: 8, max_length: 96 }}\n\
             eval: {{ data: {{ path: golden.jsonl, max_rows: 4, max_length: 96 }} }}\n\
             validate: {{ data: {{ path: annotated.jsonl, max_length: 96 }} }}\n{SMALL}"
        );
        fs::write(dir.path().join(name), text).unwrap();
    };
    config("config.yaml", ".");
    config("into-model.yaml", "model");
    config("good.yaml", "out");
    let arms = "base: good.yaml\nseeds: [1]\narms: { a: {}, b: { method: sft } }\n";
    fs::write(dir.path().join("compare.yaml"), format!("output_dir: .\n{arms}")).unwrap();
    fs::write(dir.path().join("compare-into-model.yaml"), format!("output_dir: model\n{arms}")).unwrap();
    // An adapter of the model, and an arm that starts from it.
    fs::create_dir(dir.path().join("adapter")).unwrap();
    let adapter = r#"{"peft_type": "LORA", "base_model_name_or_path": "../model", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}"#;
    fs::write(dir.path().join("adapter/adapter_config.json"), adapter).unwrap();
    config("adapter.yaml", "model");
    let text = fs::read_to_string(dir.path().join("adapter.yaml")).unwrap();
    fs::write(dir.path().join("adapter.yaml"), text.replace("model: model", "model: adapter")).unwrap();
    let arm = "output_dir: model\nbase: good.yaml\nseeds: [1]\narms: { a: {}, b: { set: { model: adapter } } }\n";
    fs::write(dir.path().join("compare-arm.yaml"), arm.replace("good", "away")).unwrap();
    config("away.yaml", "out");
    let text = fs::read_to_string(dir.path().join("away.yaml")).unwrap();
    fs::write(dir.path().join("away.yaml"), text.replace("model: model", "model: elsewhere")).unwrap();
    // Work of another kind, by the names of ours.
    for name in ["kept/latents/mine", "done-validate/done/validate.json", "done-choices/done/choices.json"] {
        fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
        fs::write(dir.path().join(name), "mine").unwrap();
    }
    for name in ["compare.json", "validate.json", "choices.jsonl", "report.html"] {
        fs::write(dir.path().join(name), "{\"mine\": true}\n").unwrap();
    }
    dir
}

fn ldalign(dir: &Path, args: &[&str]) -> Output {
    Command::new(host_binary()).current_dir(dir).args(args).env("NO_COLOR", "1").output().unwrap()
}

fn stderr(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
fn a_directory_that_is_somebody_elses_is_refused_before_anything_is_loaded() {
    let dir = mine();
    let before = files(dir.path());
    let cases: &[(&[&str], &str)] = &[
        (&["run", "config.yaml"], "config.yaml and 1 more would be written over"),
        (&["run", "config.yaml", "--validate-first"], "config.yaml and 1 more would be written over"),
        (&["check", "config.yaml"], "config.yaml and 1 more would be written over"),
        (&["generate", "config.yaml"], "would be written over"),
        (&["score", "config.yaml"], "would be written over"),
        (&["train", "config.yaml"], "would be written over"),
        (&["run", "into-model.yaml"], "model is to be read, and would be written in"),
        (&["sft", "config.yaml"], "config.yaml and 1 more would be written over"),
        (&["sft", "into-model.yaml"], "model is to be read, and would be written in"),
        (&["validate", "good.yaml", "--output", "."], "validate.json would be written over"),
        (&["validate", "good.yaml", "--output", "model"], "model is to be read, and would be written in"),
        (&["compare", "compare.yaml"], "compare.json and 1 more would be written over"),
        (&["compare", "compare-into-model.yaml"], "model is to be read, and would be written in"),
        (&["eval", "--model", "model", "--choices", "q.jsonl", "--out", "."], "choices.jsonl would be written over"),
        (&["eval", "--model", "model", "--choices", "q.jsonl", "--out", "model"], "model is to be read"),
        (&["run", "adapter.yaml"], "model is to be read, and would be written in"),
        (&["validate", "adapter.yaml", "--output", "model"], "model is to be read, and would be written in"),
        (&["eval", "--model", "adapter", "--choices", "q.jsonl", "--out", "model"], "model is to be read"),
        (&["compare", "compare-arm.yaml"], "model is to be read, and would be written in"),
        (&["validate", "good.yaml", "--output", "kept"], "kept/latents would be written over"),
        (&["validate", "good.yaml", "--output", "done-validate"], "done-validate/done/validate.json would be written over"),
        (
            &["eval", "--model", "model", "--choices", "q.jsonl", "--out", "done-choices"],
            "done-choices/done/choices.json would be written over",
        ),
        (&["report", "."], "report.html would be written over"),
        (&["quickstart", "--output", "."], "config.yaml and 2 more would be written over"),
        // Refused for what they are before this, and still.
        (&["merge", "model", "model"], "model is there already"),
        (&["import", "q.jsonl", "model"], "output directory model is not empty"),
        (&["plugin", "new", "mine", "--kind", "distance", "--dir", "model"], "model is there already"),
        (&["plugin", "keygen", "config.yaml", "--no-password"], "config.yaml is there already"),
    ];
    for (args, says) in cases {
        let out = ldalign(dir.path(), args);
        let text = stderr(&out);
        assert!(out.status.code() == Some(1) && text.contains(says), "{args:?}: {text}");
        assert!(text.contains("\nhint: ") && !text.contains("rows:"), "{args:?}: {text}");
        assert!(files(dir.path()) == before, "{args:?}: files were written");
    }
    // A place of their own is all that they lack.
    let out = ldalign(dir.path(), &["sft", "good.yaml", "--set", "train.max_steps=1"]);
    assert!(out.status.success(), "{}", stderr(&out));
}

#[test]
fn a_package_is_not_written_over_another_file() {
    let dir = tempfile::tempdir().unwrap();
    let library = ldalign_tests::built().join("libldalign_distance_euclidean.so");
    let pack = || ldalign(dir.path(), &["plugin", "pack", library.to_str().unwrap()]);
    assert!(pack().status.success());
    let package = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    assert!(pack().status.success(), "its own older self is replaced");
    fs::write(&package, "mine").unwrap();
    let out = pack();
    assert!(out.status.code() == Some(1) && stderr(&out).contains("[file/taken]"), "{}", stderr(&out));
    assert_eq!(fs::read_to_string(&package).unwrap(), "mine");
}

#[test]
fn what_others_wrote_does_not_drive_the_terminal() {
    let dir = mine();
    let row = "{\"pro\\u001b[2Jmpt\\u202e\": \"q\", \"\\u009bcompletion\": \"a\"}\n";
    fs::write(dir.path().join("golden.jsonl"), row).unwrap();
    let out = ldalign(dir.path(), &["check", "good.yaml"]);
    let text = stderr(&out);
    assert_eq!(out.status.code(), Some(1), "{text}");
    assert!(text.contains("pro\\u001b[2Jmpt\\u202e") && text.contains("\\u009bcompletion"), "{text}");
    assert!(!text.contains(['\x1b', '\u{202e}', '\u{9b}']), "{text}");
}

#[test]
fn what_is_no_file_is_refused_and_not_waited_for() {
    let dir = mine();
    let fifo = |name: &str| {
        let path = std::ffi::CString::new(dir.path().join(name).to_str().unwrap()).unwrap();
        // SAFETY: makes a pipe in a directory of ours.
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    };
    ["pipe.so", "pipe.ldp", "pipe.jsonl", "pipe.gguf"].into_iter().for_each(fifo);
    for args in [
        &["run", "good.yaml", "--set", "distance=./pipe.so"][..],
        &["run", "good.yaml", "--set", "data.path=pipe.jsonl"],
        &["plugin", "check", "pipe.so"],
        &["plugin", "pack", "pipe.so"],
        &["plugin", "sign", "pipe.ldp", "--key", "golden.jsonl"],
        &["import", "pipe.gguf", "imported"],
    ] {
        let mut child = Command::new(host_binary())
            .current_dir(dir.path())
            .args(args)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let begin = std::time::Instant::now();
        while child.try_wait().unwrap().is_none() {
            if begin.elapsed().as_secs() > 60 {
                child.kill().unwrap();
                panic!("{args:?} waits for a pipe");
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let text = stderr(&child.wait_with_output().unwrap());
        let says = ["a file is expected, and this is a pipe or a device", "pipe.jsonl is not a file"];
        assert!(says.iter().any(|says| text.contains(says)), "{args:?}: {text}");
    }
}

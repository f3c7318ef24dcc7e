//! No command writes onto anything that it reads or did not make: what a foreign directory holds is as it was, and what
//! was damaged is not believed.
#![allow(clippy::unwrap_used)]

use ldalign_tests::{host_binary, runs::files, workspace_root};
use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
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
    // An adapter of the model.
    fs::create_dir(dir.path().join("adapter")).unwrap();
    let adapter = r#"{"peft_type": "LORA", "base_model_name_or_path": "../model", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}"#;
    fs::write(dir.path().join("adapter/adapter_config.json"), adapter).unwrap();
    config("adapter.yaml", "model");
    let text = fs::read_to_string(dir.path().join("adapter.yaml")).unwrap();
    fs::write(dir.path().join("adapter.yaml"), text.replace("model: model", "model: adapter")).unwrap();
    // Work of another kind, by the names of ours.
    for name in ["done-validate/done/validate.json", "done-choices/done/choices.json"] {
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
        (
            &["validate", "good.yaml", "--output", "done-validate"],
            "done-validate/done/validate.json would be written over",
        ),
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

    // Nor a signature, a key or an index on what is none.
    fs::remove_file(&package).unwrap();
    assert!(pack().status.success());
    let package = package.to_str().unwrap();
    let run = |args: &[&str]| ldalign(dir.path(), args);
    assert!(run(&["plugin", "keygen", "key", "--no-password"]).status.success());
    let mine = |name: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "mine").unwrap();
        path
    };
    let signature = mine(&format!("{package}.minisig"));
    let sign = || run(&["plugin", "sign", package, "--key", "key"]);
    assert!(stderr(&sign()).contains("[file/taken]"));
    assert_eq!(fs::read_to_string(&signature).unwrap(), "mine");
    fs::remove_file(&signature).unwrap();
    assert!(sign().status.success());
    for name in ["registry/index/ldalign-distance-euclidean.json", "other.pub"] {
        let path = mine(name);
        let out = match name {
            "other.pub" => run(&["plugin", "keygen", "other", "--no-password"]),
            _ => run(&["plugin", "publish", package, "--registry", "registry", "--key", "key.pub"]),
        };
        assert!(out.status.code() == Some(1) && stderr(&out).contains(name), "{name}: {}", stderr(&out));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }
    assert!(!dir.path().join("other").exists());
}

#[test]
fn a_comparison_holds_its_directory() {
    let dir = mine();
    fs::create_dir(dir.path().join("cmp")).unwrap();
    let held = fs::File::create(dir.path().join("cmp/.lock")).unwrap();
    held.try_lock().unwrap();
    let out = ldalign(dir.path(), &["compare", "compare.yaml", "--set", "output_dir=cmp"]);
    assert!(out.status.code() == Some(1) && stderr(&out).contains("error[run/locked]"), "{}", stderr(&out));
    assert_eq!(files(&dir.path().join("cmp")).len(), 1);
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
    assert!(!text.contains(OBEYED), "{text}");

    // Nor on stdout, in JSON, or from a template or a value of a config.
    let row = r#"{"prompt": "\u001b[2Jq\u202e", "completion": "a\u009b"}"#;
    fs::write(dir.path().join("golden.jsonl"), format!("{row}\n")).unwrap();
    let shown = |args: &[&str]| {
        let out = ldalign(dir.path(), args);
        let text = stderr(&out) + &String::from_utf8_lossy(&out.stdout);
        assert!(text.contains("\\u001b[2J") && !text.contains(OBEYED), "{args:?}: {text}");
    };
    let out = ldalign(dir.path(), &["check", "good.yaml", "--rows", "1"]);
    assert!(out.status.success() && !String::from_utf8_lossy(&out.stdout).contains(OBEYED));
    shown(&["check", "good.yaml", "--set", "device=\u{1b}[2J"]);
    let row = r#"{"prompt": "p", "golden": "g", "better": "b", "worse": "c", "\u001b[2Jkey": 1}"#;
    fs::write(dir.path().join("annotated.jsonl"), format!("{row}\n")).unwrap();
    shown(&["validate", "good.yaml", "--json"]);
    // Names of tensors and keys in files of weights.
    let kept = fs::read(dir.path().join("model/model.safetensors")).unwrap();
    let (length, rest) = kept.split_first_chunk().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let name = r#"{"model.\u001b[2J\u202ex":{"dtype":"F32","shape":[1],"data_offsets":["#;
    let header = format!("{name}{},{}]}},", data.len(), data.len() + 4) + std::str::from_utf8(&header[1..]).unwrap();
    let weights = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data, &[0; 4]].concat();
    fs::write(dir.path().join("model/model.safetensors"), weights).unwrap();
    fs::write(dir.path().join("golden.jsonl"), "{\"prompt\": \"q\", \"completion\": \"a\"}\n").unwrap();
    shown(&["check", "good.yaml"]);
    fs::write(dir.path().join("model/model.safetensors"), kept).unwrap();
    let mut gguf = fs::read(workspace_root().join("tests/fixtures/import/gemma3.gguf")).unwrap();
    // The value, behind its type and its length.
    let key = b"general.architecture";
    let at = gguf.windows(key.len()).position(|window| window == key).unwrap() + key.len() + 12;
    gguf[at..at + 6].copy_from_slice(b"\x1b[2Jab");
    fs::write(dir.path().join("x.gguf"), gguf).unwrap();
    shown(&["import", "x.gguf", "imported"]);
    fs::write(dir.path().join("model/chat_template.jinja"), "{{ raise_exception('\u{1b}[2Jhi') }}").unwrap();
    shown(&["check", "good.yaml"]);
}

/// What a terminal would obey.
const OBEYED: [char; 3] = ['\x1b', '\u{202e}', '\u{9b}'];

/// Things that are no files, by the names `KIND` and `KIND.EXTENSION`.
fn no_files(dir: &Path) {
    let pipe = |path: &Path| {
        let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: makes a pipe in a directory of ours.
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    };
    for extension in ["", ".so", ".ldp", ".jsonl", ".gguf", ".yaml", ".lock", ".md", ".pub"] {
        for kind in NO_FILES {
            let path = dir.join(format!("{kind}{extension}"));
            match kind {
                "pipe" => pipe(&path),
                "device" => symlink("/dev/zero", &path).unwrap(),
                "directory" => fs::create_dir(&path).unwrap(),
                "dangling" => symlink(dir.join("nowhere"), &path).unwrap(),
                _ => symlink(&path, &path).unwrap(),
            }
        }
    }
}

const NO_FILES: [&str; 5] = ["pipe", "device", "directory", "dangling", "loop"];

/// What a command comes to that must come to an end.
fn ended(dir: &Path, args: &[&str]) -> Output {
    let mut child = Command::new(host_binary())
        .current_dir(dir)
        .args(args)
        .envs([("HOME", dir), ("NO_COLOR", Path::new("1"))])
        .env_remove("XDG_DATA_HOME")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begin.elapsed().as_secs() > 60 {
            child.kill().unwrap();
            panic!("{args:?} does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

#[test]
fn what_is_no_file_is_refused_and_not_waited_for() {
    let dir = mine();
    no_files(dir.path());
    let library = ldalign_tests::built().join("libldalign_distance_euclidean.so");
    let library = library.to_str().unwrap();
    let mut failed = vec![];
    for args in [
        "run good.yaml --set distance=./X.so",
        "run good.yaml --set data.path=X.jsonl",
        "check good.yaml --set eval.data.path=X.jsonl",
        "sft good.yaml --set data.path=X.jsonl",
        "validate good.yaml --set validate.data.path=X.jsonl",
        "check good.yaml --set model=X",
        "check good.yaml --set plugin_lock=X.lock",
        "run good.yaml --set output_dir=X",
        "sft good.yaml --set output_dir=X",
        "check X.yaml",
        "compare X.yaml",
        "compare compare.yaml --set output_dir=X",
        "compare compare.yaml --set base=X.yaml --set output_dir=o",
        "validate good.yaml --output X",
        "eval --model model --choices X.jsonl --out o",
        "eval --model model --mt-bench X.jsonl --out o",
        "eval --model model --choices q.jsonl --out X",
        "eval --model X --choices q.jsonl --out o",
        "merge X o",
        "import X.gguf o",
        "report X",
        "chat X",
        "bench --model X",
        "quickstart --output X",
        "plugin check ./X.so",
        "plugin info ./X.so",
        "plugin bench ./X.so",
        "plugin pack ./X.so",
        "plugin pack LIBRARY --readme X.md",
        "plugin pack LIBRARY --out X",
        "plugin sign X.ldp --key q.jsonl",
        "plugin verify X.ldp --key q.jsonl",
        "plugin install ./X.ldp",
        "plugin install euclidean --dir X",
        "plugin publish X.ldp --registry o",
        "plugin trust model --key X.pub",
        "plugin keygen X.pub --no-password",
        "plugin new fresh --kind distance --dir X",
    ] {
        for kind in NO_FILES {
            // A directory is what some ask for, and a config may come through a pipe.
            let asks =
                ["--out X", "output_dir=X", "--output X", "--dir X", "report X"].iter().any(|end| args.ends_with(end));
            if kind == "directory" && asks || kind == "pipe" && args.contains("X.yaml") {
                continue;
            }
            let args = args.replace('X', kind).replace("LIBRARY", library);
            let out = ended(dir.path(), &args.split(' ').collect::<Vec<_>>());
            let text = stderr(&out);
            if out.status.code() != Some(1) || !text.contains("error[") || text.contains("panicked") {
                failed.push(format!("{args}: {:?}: {text}", out.status.code()));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    // Nothing was written through a link.
    assert!(!dir.path().join("nowhere").exists());
}

#[test]
fn a_model_whose_files_are_no_files_is_refused() {
    let dir = mine();
    no_files(dir.path());
    let mut failed = vec![];
    for name in [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "generation_config.json",
        "model.safetensors",
    ] {
        let file = dir.path().join("model").join(name);
        let there = fs::read(&file).ok();
        for kind in NO_FILES {
            let _ = fs::remove_file(&file);
            let thing = dir.path().join(kind);
            fs::rename(&thing, &file).unwrap();
            let out = ended(dir.path(), &["check", "good.yaml"]);
            if out.status.code() != Some(1) || !stderr(&out).contains(name) {
                failed.push(format!("{name}, {kind}: {:?}: {}", out.status.code(), stderr(&out)));
            }
            fs::rename(&file, &thing).unwrap();
        }
        if let Some(bytes) = there {
            fs::write(&file, bytes).unwrap();
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

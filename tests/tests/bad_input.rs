//! Bad input through the real program: the exact message and hint, a non-zero exit, and nothing written.
//!
//! Each case spoils a directory that is good as it stands (`the_good_input_passes`) in one way.
#![allow(clippy::unwrap_used)]

use ldalign_tests::{
    built, host_binary,
    runs::{self, files},
    workspace_root,
};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

const CONFIG: &str =
    "model: model\noutput_dir: out\ndata: {path: rows.jsonl, max_length: 48}\ngenerate: {max_new_tokens: 8}\n";
const ROWS: &str =
    "{\"prompt\": \"add one\", \"completion\": \"two.\"}\n{\"prompt\": \"hello?\", \"completion\": \"hi\"}\n";

/// What makes the input bad, given its directory.
type Spoil = fn(&Path);

/// A case: what it shows, how the input is spoilt, and the command, `check run.yaml` where empty.
type Case = (&'static str, Spoil, &'static [&'static str]);

fn write(dir: &Path, name: &str, text: &str) {
    fs::write(dir.join(name), text).unwrap();
}

fn edit_json(dir: &Path, name: &str, edit: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&fs::read(dir.join(name)).unwrap()).unwrap();
    edit(&mut value);
    write(dir, name, &value.to_string());
}

fn more_config(dir: &Path, yaml: &str) {
    write(dir, "run.yaml", &format!("{CONFIG}{yaml}\n"));
}

/// A whole good input: the tiny llama of the fixtures with a tokenizer of single characters, rows and a config.
fn good() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    fs::create_dir(&model).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(workspace_root().join("tests/fixtures/models/llama").join(name), model.join(name)).unwrap();
    }
    let vocab: serde_json::Map<String, Value> = ["<s>", "</s>"]
        .into_iter()
        .map(str::to_owned)
        .chain("\n .?".chars().chain('a'..='z').map(String::from))
        .enumerate()
        .map(|(id, token)| (token, id.into()))
        .collect();
    let special = |id: u32, content: &str| json!({"id": id, "content": content, "special": true, "normalized": false, "single_word": false, "lstrip": false, "rstrip": false});
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": [special(0, "<s>"), special(1, "</s>")],
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(?s)."}, "behavior": "Isolated", "invert": false},
        "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "?"}
    });
    let template = "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %}</s>{% else %}{{ '\\n' }}{% endif %}{% endfor %}";
    write(&model, "tokenizer.json", &tokenizer.to_string());
    write(&model, "tokenizer_config.json", &json!({"eos_token": "</s>", "chat_template": template}).to_string());
    write(dir.path(), "rows.jsonl", ROWS);
    write(dir.path(), "run.yaml", CONFIG);
    dir
}

fn ldalign(dir: &Path, args: &[&str]) -> std::process::Output {
    let mut command = Command::new(host_binary());
    command.current_dir(dir).args(args).stdin(Stdio::null()).env_remove("LDALIGN_LOG").env("NO_COLOR", "1");
    command.output().unwrap()
}

/// What a person reads, without what differs from machine to machine.
fn readable(dir: &Path, bytes: &[u8]) -> String {
    let mut text = String::from_utf8(bytes.to_vec()).unwrap();
    for (path, name) in [(dir, "DIR"), (built(), "BIN")] {
        for path in [path.to_owned(), path.canonicalize().unwrap()] {
            text = text.replace(path.to_str().unwrap(), name);
        }
    }
    let euclidean = built().join("libldalign_distance_euclidean.so");
    let size = fs::metadata(&euclidean).unwrap().len();
    text = text.replace(&ldalign::files::sha256_file(&euclidean).unwrap()[..12], "SHA");
    text.replace(&size.to_string(), "SIZE").replace(&(size / 2).to_string(), "HALF")
}

/// Runs the cases; all messages as one text.
fn messages(cases: &[Case]) -> String {
    let (mut said, mut without_hint) = (Vec::new(), Vec::new());
    for (what, spoil, args) in cases {
        let dir = good();
        spoil(dir.path());
        let before = files(dir.path());
        let args = if args.is_empty() { &["check", "run.yaml"][..] } else { *args };
        let out = ldalign(dir.path(), args);
        assert_eq!(out.status.code(), Some(1), "{what}: {}", String::from_utf8_lossy(&out.stderr));
        assert!(files(dir.path()) == before, "{what}: files were written");
        let text = readable(dir.path(), &out.stderr);
        // Progress, which tells times, may come before.
        let error = &text[text.find("error[").unwrap_or_else(|| panic!("{what}: no error in {text}"))..];
        if !error.contains("\nhint: ") {
            without_hint.push(*what);
        }
        said.push(format!("# {what}\n$ ldalign {}\n{error}", args.join(" ")));
    }
    assert!(without_hint.is_empty(), "no hint: {without_hint:?} in\n{}", said.join("\n"));
    said.join("\n")
}

#[test]
fn the_good_input_passes() {
    let dir = good();
    let before = files(dir.path());
    let out = ldalign(dir.path(), &["check", "run.yaml", "--set", "encoder=policy-states"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(files(dir.path()) == before, "check wrote files");
    let text = readable(dir.path(), &out.stdout);
    let text: String = text.lines().filter(|l| !l.starts_with("plugin")).map(|l| format!("{l}\n")).collect();
    insta::assert_snapshot!(text);
    assert!(ldalign(dir.path(), &["chat", "model"]).status.success());
}

#[test]
fn wrong_usage_exits_with_2() {
    let dir = good();
    for args in [&["chekc"][..], &["run"], &["run", "run.yaml", "--sett", "a=b"], &["import", "x.gguf"]] {
        assert_eq!(ldalign(dir.path(), args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn the_device_of_a_command_goes_before_the_configs() {
    let dir = good();
    more_config(dir.path(), "device: cuda:0");
    let code = |args: &[&str]| ldalign(dir.path(), &[&["check", "run.yaml"], args].concat()).status.code();
    assert_eq!(code(&[]), Some(1));
    assert_eq!(code(&["--device", "cpu"]), Some(0));
}

#[test]
fn config() {
    let cases: &[Case] = &[
        ("no such config", |_| {}, &["check", "nowhere.yaml"]),
        ("a directory as config", |_| {}, &["check", "model"]),
        ("empty config", |d| write(d, "run.yaml", ""), &[]),
        ("not YAML", |d| write(d, "run.yaml", "model: [\n"), &[]),
        ("a list", |d| write(d, "run.yaml", "- model\n"), &[]),
        ("a key twice", |d| more_config(d, "model: other"), &[]),
        ("required keys missing", |d| write(d, "run.yaml", "rounds: 2\n"), &[]),
        ("misspelt key", |d| more_config(d, "train: {learning_rat: 1e-5}"), &[]),
        ("key of another section", |d| more_config(d, "beta: 0.1"), &[]),
        ("key nothing is like", |d| more_config(d, "generate_more: {zzz: 1}"), &[]),
        ("number in quotes", |d| more_config(d, "train: {learning_rate: \"1e-5\"}"), &[]),
        (
            "out of range",
            |_| {},
            &["check", "run.yaml", "--set", "train.label_smoothing=0.5", "--set", "generate.top_p=0"],
        ),
        ("wrong name", |d| more_config(d, "train: {loss_type: sigmod}"), &[]),
        ("model missing", |d| fs::remove_dir_all(d.join("model")).unwrap(), &[]),
        (
            "empty GGUF file as model",
            |d| {
                write(d, "m.gguf", "");
                more_config(d, "")
            },
            &["check", "run.yaml", "--set", "model=m.gguf"],
        ),
        ("no room for responses", |_| {}, &["check", "run.yaml", "--set", "data.max_prompt_length=48"]),
        ("unknown device", |_| {}, &["check", "run.yaml", "--set", "device=gpu"]),
        ("unknown device of a command", |_| {}, &["run", "run.yaml", "--device", "gpu"]),
        ("device of another build", |_| {}, &["sft", "run.yaml", "--device", "cuda:1"]),
        ("no such field", |_| {}, &["check", "run.yaml", "--set", "data.fields.promt=prompt"]),
        ("hub without revision", |_| {}, &["check", "run.yaml", "--set", "model=hub:org/name"]),
        ("override without value", |_| {}, &["check", "run.yaml", "--set", "train.beta"]),
        ("eval without section", |_| {}, &["eval", "run.yaml"]),
        (
            "several faults",
            |d| more_config(d, "rounds: 0\nseeed: 1\neval: {data: {path: gone.jsonl}}"),
            &["run", "run.yaml", "--set", "train.beta=-1"],
        ),
    ];
    insta::assert_snapshot!(messages(cases));
}

#[test]
fn data_rows() {
    let cases: &[Case] = &[
        ("no rows", |d| write(d, "rows.jsonl", "\n"), &[]),
        ("broken JSON", |d| write(d, "rows.jsonl", &format!("{ROWS}{{\"prompt\": \"a\" \"completion\": 1}}\n")), &[]),
        ("cut off", |d| write(d, "rows.jsonl", &ROWS[..ROWS.len() - 9]), &[]),
        ("a JSON array", |d| write(d, "rows.jsonl", "[{\"prompt\": \"a\", \"completion\": \"b\"}]"), &[]),
        ("unknown shape", |d| write(d, "rows.jsonl", "{\"text\": \"a\"}\n"), &[]),
        ("fields to map", |d| write(d, "rows.jsonl", "{\"question\": \"a\", \"answer\": \"b\"}\n"), &[]),
        ("field missing in one row", |d| write(d, "rows.jsonl", &format!("{ROWS}{{\"prompt\": \"a\"}}\n")), &[]),
        ("wrong type", |d| write(d, "rows.jsonl", &format!("{ROWS}{{\"prompt\": \"a\", \"completion\": 7}}\n")), &[]),
        (
            "empty response",
            |d| write(d, "rows.jsonl", &format!("{ROWS}{{\"prompt\": \"a\", \"completion\": \"\"}}\n")),
            &[],
        ),
        (
            "negative weight",
            |d| write(d, "rows.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\", \"weight\": -1}\n"),
            &[],
        ),
        (
            "not UTF-8",
            |d| fs::write(d.join("rows.jsonl"), b"{\"prompt\": \"\xff\", \"completion\": \"b\"}\n").unwrap(),
            &[],
        ),
        ("Parquet without the feature", |d| write(d, "rows.jsonl", "PAR1"), &[]),
        ("prompts too long", |_| {}, &["check", "run.yaml", "--set", "data.max_length=6"]),
        (
            "damaged held-out rows",
            |d| {
                write(d, "test.jsonl", "{");
                more_config(d, "eval: {data: {path: test.jsonl}}")
            },
            &[],
        ),
        ("the same in a run", |d| write(d, "rows.jsonl", "{\"text\": \"a\"}\n"), &["run", "run.yaml"]),
    ];
    insta::assert_snapshot!(messages(cases));
}

#[test]
fn model_files() {
    let cases: &[Case] = &[
        ("no config.json", |d| fs::remove_file(d.join("model/config.json")).unwrap(), &[]),
        ("broken config.json", |d| write(d, "model/config.json", "{"), &[]),
        ("another family", |d| edit_json(d, "model/config.json", |c| c["model_type"] = json!("gpt2")), &[]),
        ("no hidden_size", |d| edit_json(d, "model/config.json", |c| c["hidden_size"] = json!(null)), &[]),
        ("no tokenizer", |d| fs::remove_file(d.join("model/tokenizer.json")).unwrap(), &[]),
        ("broken tokenizer", |d| write(d, "model/tokenizer.json", "{}"), &[]),
        (
            "broken template",
            |d| edit_json(d, "model/tokenizer_config.json", |c| c["chat_template"] = json!("{% for %}")),
            &[],
        ),
        (
            "no end token",
            |d| {
                edit_json(d, "model/tokenizer_config.json", |c| c["eos_token"] = json!(null));
                edit_json(d, "model/config.json", |c| c["eos_token_id"] = json!(null));
            },
            &[],
        ),
        (
            "a template that does not end with the response",
            |d| {
                let template =
                    "{% if messages | length > 1 %}x{% endif %}{% for m in messages %}{{ m.content }}{% endfor %}</s>";
                edit_json(d, "model/tokenizer_config.json", |c| c["chat_template"] = json!(template));
            },
            &[],
        ),
        ("more tokens than embeddings", |d| edit_json(d, "model/config.json", |c| c["vocab_size"] = json!(10)), &[]),
        ("no weights", |d| fs::remove_file(d.join("model/model.safetensors")).unwrap(), &["chat", "model"]),
        (
            "weights cut off",
            |d| {
                let bytes = fs::read(d.join("model/model.safetensors")).unwrap();
                fs::write(d.join("model/model.safetensors"), &bytes[..bytes.len() - 100]).unwrap();
            },
            &["chat", "model"],
        ),
        (
            "weights of another shape",
            |d| edit_json(d, "model/config.json", |c| c["intermediate_size"] = json!(44)),
            &["chat", "model"],
        ),
        (
            "a layer too many",
            |d| edit_json(d, "model/config.json", |c| c["num_hidden_layers"] = json!(3)),
            &["chat", "model"],
        ),
        (
            "weights of another shape, before a run",
            |d| edit_json(d, "model/config.json", |c| c["intermediate_size"] = json!(44)),
            &[],
        ),
        (
            "weights of PyTorch alone",
            |d| fs::rename(d.join("model/model.safetensors"), d.join("model/pytorch_model.bin")).unwrap(),
            &[],
        ),
        ("a key that is not known", |d| edit_json(d, "model/config.json", |c| c["logit_scale"] = json!(0.5)), &[]),
        ("another activation", |d| edit_json(d, "model/config.json", |c| c["hidden_act"] = json!("gelu")), &[]),
        ("no such model", |_| {}, &["chat", "nowhere"]),
        ("text as GGUF", |_| {}, &["import", "rows.jsonl", "out"]),
        ("import into a full directory", |_| {}, &["import", "rows.jsonl", "model"]),
        ("merge without an adapter", |_| {}, &["merge", "model", "out"]),
        ("merge over a directory", |_| {}, &["merge", "model", "model"]),
        ("unknown LoRA module", |_| {}, &["check", "run.yaml", "--set", "train.lora.target_modules=[query]"]),
        ("report of nothing", |_| {}, &["report", "nowhere"]),
        ("temperature below 0", |_| {}, &["chat", "model", "--temperature=-1"]),
    ];
    insta::assert_snapshot!(messages(cases));
}

/// A damaged copy of the euclidean plugin.
fn damage(dir: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(built().join("libldalign_distance_euclidean.so")).unwrap();
    change(&mut bytes);
    fs::write(dir.join("libbad.so"), bytes).unwrap();
}

#[test]
fn plugins() {
    let cases: &[Case] = &[
        ("unknown name", |_| {}, &["check", "run.yaml", "--set", "distance=euclidian"]),
        ("no such file", |_| {}, &["check", "run.yaml", "--set", "distance=./libmine.so"]),
        ("text", |d| write(d, "libbad.so", "not a library"), &["check", "run.yaml", "--set", "distance=./libbad.so"]),
        (
            "cut off",
            |d| damage(d, |b| b.truncate(b.len() / 2)),
            &["check", "run.yaml", "--set", "distance=./libbad.so"],
        ),
        ("of another kind", |d| damage(d, |_| {}), &["check", "run.yaml", "--set", "schedule=./libbad.so"]),
        (
            "unknown id",
            |d| damage(d, |_| {}),
            &["check", "run.yaml", "--set", "distance={plugin: ./libbad.so, id: manhattan}"],
        ),
        (
            "unknown option",
            |_| {},
            &["check", "run.yaml", "--set", "distance={plugin: euclidean, options: {sqared: true}}"],
        ),
        (
            "option of the wrong type",
            |_| {},
            &["check", "run.yaml", "--set", "distance={plugin: euclidean, options: {squared: 2}}"],
        ),
        (
            "the same in a run",
            |_| {},
            &["run", "run.yaml", "--set", "distance={plugin: euclidean, options: {squared: 2}}"],
        ),
        ("no plugin directory", |_| {}, &["check", "run.yaml", "--set", "plugin_path=[plugins]"]),
    ];
    insta::assert_snapshot!(messages(cases));
}

#[test]
fn a_run_whose_messages_nobody_reads_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let config = runs::config(dir.path(), "generate: { samples: 1, max_new_tokens: 8 }\ntrain: { max_steps: 1 }");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = runs::command("run", &config, &[]).stdout(Stdio::null()).stderr(writer).status().unwrap();
    assert!(status.success(), "{status}");
    assert!(dir.path().join("run/report.html").exists());
}

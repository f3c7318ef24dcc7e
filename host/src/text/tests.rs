#![allow(clippy::unwrap_used)]

use super::{special::SpecialTokens, template::ChatTemplate, *};
use crate::Code;
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, path::Path};

mod faithful;
mod tokenizers;

const TEMPLATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/templates");
const CHATML: &str = include_str!("../../../tests/fixtures/templates/chatml.jinja");

/// A byte-level BPE of single bytes, with special tokens from id 0, which puts BOS before texts if there is `<s>`.
fn byte_tokenizer(special: &[&str]) -> Value {
    let bytes: BTreeSet<char> = ::tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter().collect();
    let tokens = special.iter().map(|s| s.to_string()).chain(bytes.iter().map(|c| c.to_string()));
    let vocab: serde_json::Map<String, Value> = tokens.zip(0..).map(|(t, id)| (t, json!(id))).collect();
    let added: Vec<Value> = special
        .iter()
        .zip(0..)
        .map(|(t, id)| {
            json!({ "id": id, "content": t, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": true })
        })
        .collect();
    let bos = special.contains(&"<s>").then(|| {
        json!({
            "type": "TemplateProcessing",
            "single": [{ "SpecialToken": { "id": "<s>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
            "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
            "special_tokens": { "<s>": { "id": "<s>", "ids": [vocab["<s>"]], "tokens": ["<s>"] } },
        })
    });
    let byte_level = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    json!({
        "version": "1.0", "truncation": { "direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0 },
        "padding": null, "added_tokens": added, "normalizer": null, "pre_tokenizer": byte_level,
        "post_processor": bos, "decoder": byte_level,
        "model": { "type": "BPE", "vocab": vocab, "merges": [] },
    })
}

/// A model directory's text files.
fn model(files: &[(&str, Value)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, value) in files {
        let text = if name.ends_with(".jinja") { value.as_str().unwrap().to_owned() } else { value.to_string() };
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn chatml() -> tempfile::TempDir {
    model(&[
        ("tokenizer.json", byte_tokenizer(&["<|im_start|>", "<|im_end|>", "<|endoftext|>"])),
        ("tokenizer_config.json", json!({ "eos_token": { "content": "<|im_end|>" }, "chat_template": CHATML })),
        ("generation_config.json", json!({ "eos_token_id": [2, 1] })),
    ])
}

fn user(content: &str) -> Message {
    Message::new("user", content)
}

fn load(dir: &tempfile::TempDir) -> TextCodec {
    TextCodec::load(dir.path()).unwrap()
}

/// Ids as text, special tokens shown.
fn shown(codec: &TextCodec, ids: &[u32]) -> String {
    ids.iter().map(|id| codec.token_text(*id)).collect()
}

#[test]
fn renderings_equal_those_of_transformers() {
    let fixture: Value = serde_json::from_slice(&fs::read(Path::new(TEMPLATES).join("cases.json")).unwrap()).unwrap();
    let special = SpecialTokens {
        named: serde_json::from_value(fixture["special"].clone()).unwrap(),
        bos: None,
        eos: None,
        end_ids: vec![],
        model_vocab: None,
    };
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 108);
    for case in cases {
        let name = case["template"].as_str().unwrap();
        let source = fs::read_to_string(Path::new(TEMPLATES).join(name)).unwrap();
        let template = ChatTemplate::new(&source, &special).unwrap();
        let conversation = &fixture["conversations"][case["conversation"].as_str().unwrap()];
        let mut messages: Vec<Message> = serde_json::from_value(conversation.clone()).unwrap();
        let last = if case["add_generation_prompt"] == true { None } else { messages.pop() };
        let rendered = template.render(&messages.into(), last.as_ref(), &special);
        match (rendered, &case["error"]) {
            (Ok(text), Value::Null) => assert_eq!(text, case["expected"], "{case}"),
            (Err(e), Value::String(expected)) => assert!(e.message().ends_with(expected), "{e} instead of {expected}"),
            (other, _) => panic!("{other:?} for {case}"),
        }
    }
}

#[test]
fn a_turn_is_the_prompt_and_the_response_up_to_its_end_token() {
    let codec = load(&chatml());
    assert_eq!(codec.end_ids(), [1, 2]);
    assert_eq!(codec.vocab_size(), 259);
    let history = vec![user("He?"), Message::assistant("Ja."), user("Gut")].into();
    let turn = codec.encode_turn(&history, &Message::assistant(" schön ")).unwrap();
    assert_eq!(turn.prompt, codec.encode_prompt(&history).unwrap());
    assert_eq!(shown(&codec, &turn.prompt), codec.render_prompt(&history).unwrap());
    assert_eq!(codec.decode(&turn.response).unwrap(), " schön ");
    assert_eq!(turn.response.last(), Some(&1));
    let mut stream = codec.stream();
    let pieces: Vec<String> = turn.response.iter().map(|id| stream.push(*id).unwrap()).collect();
    // ö is two tokens: nothing is shown before the second.
    assert_eq!(pieces, [" ", "s", "c", "h", "", "ö", "n", " ", ""]);
    assert_eq!(turn.response.iter().filter(|id| **id == 1).count(), 1);
    assert_eq!(codec.token_text(1), "<|im_end|>");
    assert_eq!(codec.token_text(9999), "<9999>");
}

#[test]
fn a_template_that_rewrites_the_prompt_is_refused_with_both_texts() {
    let template =
        "{{ '[last]' if messages[-1].role == 'user' }}{% for m in messages %}{{ m.content }}{% endfor %}</s>";
    let dir = model(&[
        ("tokenizer.json", byte_tokenizer(&["<s>", "</s>"])),
        ("tokenizer_config.json", json!({ "eos_token": "</s>", "chat_template": "not this one" })),
        ("chat_template.jinja", json!(template)),
    ]);
    let error = load(&dir).encode_turn(&vec![user("Hi")].into(), &Message::assistant("Ho")).unwrap_err();
    assert_eq!(error.code(), Code::TextPrefix);
    assert_eq!(
        error.message(),
        "the chat template renders the prompt differently when a response follows: after 0 equal characters the prompt \
         reads \"[last]Hi</s>\", the whole \"HiHo</s>\""
    );
}

#[test]
fn a_response_must_end_with_an_end_token() {
    let dir = chatml();
    fs::write(dir.path().join("tokenizer_config.json"), json!({ "eos_token": "<|endoftext|>" }).to_string()).unwrap();
    fs::write(dir.path().join("generation_config.json"), json!({ "eos_token_id": 2 }).to_string()).unwrap();
    fs::write(dir.path().join("chat_template.jinja"), CHATML).unwrap();
    let error = load(&dir).encode_turn(&vec![user("Hi")].into(), &Message::assistant("Ho")).unwrap_err();
    assert_eq!(error.code(), Code::TextEnd);
    assert_eq!(
        error.message(),
        "the chat template ends the response \"Ho<|im_end|>\\n\" with token 1 `<|im_end|>`, no end token"
    );
    assert!(error.hint_text().unwrap().contains("[<|endoftext|>]"), "{:?}", error.hint_text());
}

#[test]
fn without_a_template_contents_are_joined_after_bos_and_end_with_eos() {
    let files = |special: &[&str]| {
        model(&[("tokenizer.json", byte_tokenizer(special)), ("tokenizer_config.json", json!({ "eos_token": "</s>" }))])
    };
    let history = vec![Message::new("system", "A "), user("B: ")].into();
    for (special, prompt) in [(vec!["</s>"], "A B: "), (vec!["<s>", "</s>"], "<s>A B: ")] {
        let codec = load(&files(&special));
        let turn = codec.encode_turn(&history, &Message::assistant("42")).unwrap();
        assert_eq!(shown(&codec, &turn.prompt), prompt);
        assert_eq!(shown(&codec, &turn.response), "42</s>");
        assert_eq!(turn.prompt, codec.encode_prompt(&history).unwrap());
    }
    let error = load(&files(&["</s>"])).encode_prompt(&Prompt::default()).unwrap_err();
    assert_eq!(error.code(), Code::TextEmpty);
}

#[test]
fn templates_add_bos_themselves_and_a_doubled_one_is_refused() {
    let dir = model(&[
        ("tokenizer.json", byte_tokenizer(&["<s>", "</s>"])),
        ("tokenizer_config.json", json!({ "bos_token": "<s>", "eos_token": "</s>" })),
        ("chat_template.jinja", json!("{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}")),
    ]);
    let codec = load(&dir);
    assert_eq!(shown(&codec, &codec.encode_prompt(&vec![user("x")].into()).unwrap()), "<s>x");
    let error = codec.encode_prompt(&vec![user("<s>x")].into()).unwrap_err();
    assert_eq!(error.code(), Code::TextBos);
    assert_eq!(error.message(), "the prompt begins with `<s>` twice: \"<s><s>x\"");
}

/// A SentencePiece-like tokenizer, which puts a space before every text, where a token spans the border.
#[test]
fn a_response_gets_no_space_that_is_not_in_the_text() {
    let pieces = ["</s>", "<unk>", "▁", "a", "b", "▁a", "▁b", "\n"];
    let vocab: serde_json::Map<String, Value> =
        pieces.iter().zip(0..).map(|(p, id)| (p.to_string(), json!(id))).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "pre_tokenizer": null, "post_processor": null,
        "added_tokens": [{ "id": 0, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false,
                           "normalized": false, "special": true }],
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "Prepend", "prepend": "▁" },
            { "type": "Replace", "pattern": { "String": " " }, "content": "▁" } ] },
        "decoder": { "type": "Replace", "pattern": { "String": "▁" }, "content": " " },
        "model": { "type": "BPE", "vocab": vocab, "merges": ["▁ a", "▁ b"], "unk_token": "<unk>" },
    });
    let codec =
        load(&model(&[("tokenizer.json", tokenizer), ("tokenizer_config.json", json!({ "eos_token": "</s>" }))]));
    let turn = |prompt, response| {
        let turn = codec.encode_turn(&vec![user(prompt)].into(), &Message::assistant(response)).unwrap();
        [turn.prompt, turn.response].map(|ids| ids.iter().map(|id| pieces[*id as usize]).collect::<Vec<_>>())
    };
    // Together "a b" is [▁a, ▁b]: the prompt's ids are a prefix.
    assert_eq!(turn("a", " b"), [vec!["▁a"], vec!["▁b", "</s>"]]);
    // Together it is the same, but the prompt alone is [▁a, ▁], no prefix; the response is "b", not " b".
    assert_eq!(turn("a ", "b"), [vec!["▁a", "▁"], vec!["b", "</s>"]]);
}

#[test]
fn the_hash_covers_tokenizer_template_and_special_tokens() {
    let dir = chatml();
    let first = load(&dir).hash().to_owned();
    assert_eq!(load(&dir).hash(), first);
    let mut seen = BTreeSet::from([first]);
    let changes = [
        ("chat_template.jinja", CHATML.replace("assistant", "Assistant")),
        ("generation_config.json", json!({ "eos_token_id": 1 }).to_string()),
        ("tokenizer.json", byte_tokenizer(&["<|im_start|>", "<|im_end|>", "<|other|>"]).to_string()),
    ];
    for (name, text) in changes {
        fs::write(dir.path().join(name), text).unwrap();
        assert!(seen.insert(load(&dir).hash().to_owned()), "{name} does not change the hash");
    }
}

#[test]
fn faulty_model_files_are_named() {
    let dir = chatml();
    let case = |name: &str, text: &str, expected: &str| {
        let path = dir.path().join(name);
        let old = fs::read(&path).ok();
        fs::write(&path, text).unwrap();
        let error = format!("{:#}", TextCodec::load(dir.path()).err().unwrap());
        let error = error.replace(&path.display().to_string(), "FILE");
        let error = error.replace(&dir.path().display().to_string(), "DIR");
        assert!(error.starts_with(expected), "{error}\ninstead of {expected}");
        match old {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
    };
    case("tokenizer.json", "{", "FILE is not a tokenizer that can be read: ");
    case("tokenizer_config.json", "[]", "FILE is not a JSON object: ");
    case("generation_config.json", r#"{"eos_token_id": "x"}"#, "FILE: eos_token_id is \"x\", expected a token id or");
    fs::write(dir.path().join("config.json"), r#"{"vocab_size": 259}"#).unwrap();
    let beyond = r#"{"eos_token_id": [1, 259]}"#;
    case("generation_config.json", beyond, "FILE: eos_token_id is 259, but the model has 259 tokens");
    let beyond = r#"{"vocab_size": 259, "eos_token_id": 300}"#;
    case("config.json", beyond, "FILE: eos_token_id is 300, but the model has 259 tokens");
    case("tokenizer_config.json", r#"{"bos_token": "<x>"}"#, "DIR: bos_token is `<x>`, which tokenizer.json does not");
    case("chat_template.jinja", "a\n{% if %}", "FILE: the chat template cannot be read (line 2): ");
    case(
        "tokenizer_config.json",
        r#"{"chat_template": [{"name": "rag", "template": ""}]}"#,
        "FILE: chat_template is neither a string nor a list of {name, template} with one named `default`",
    );
    fs::remove_file(dir.path().join("generation_config.json")).unwrap();
    case("tokenizer_config.json", "{}", "DIR names no end token");
}

/// Tokens by Oniguruma, in which `$` stands at every line's end: `tokenizers` in Python gives these.
#[test]
fn patterns_are_read_as_their_tokenizer_reads_them() {
    let dir = chatml();
    let pieces = |pattern: &str, text: &str| {
        let mut tokenizer = byte_tokenizer(&["<|im_start|>", "<|im_end|>", "<|endoftext|>"]);
        let split =
            json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false });
        let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false });
        tokenizer["pre_tokenizer"] = json!({ "type": "Sequence", "pretokenizers": [split, bytes] });
        // A merge of two spaces shows whether they are in one piece.
        tokenizer["model"]["vocab"]["ĠĠ"] = json!(259);
        tokenizer["model"]["merges"] = json!(["Ġ Ġ"]);
        fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
        TextCodec::load(dir.path()).map(|codec| codec.encode_plain(text, "").unwrap().prompt.len())
    };
    assert_eq!(pieces(r" $|[\s\S]", "a  \nb").unwrap(), 5);
    assert_eq!(pieces(r" +$|[\s\S]", "a  \nb").unwrap(), 4);
    assert_eq!(pieces(r"^ +|[\s\S]", "a\n  b").unwrap(), 4);
    let error = pieces("[[:alpha:]]+", "a").err().unwrap();
    assert!(error.message().ends_with("has the POSIX class [:alpha:]"), "{error}");
}

#[test]
fn a_template_that_never_ends_is_named() {
    let dir = chatml();
    let hostile = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}</s>";
    fs::write(dir.path().join("chat_template.jinja"), hostile).unwrap();
    let error = load(&dir).encode_prompt(&vec![user("Hi")].into()).unwrap_err();
    let file = dir.path().join("chat_template.jinja");
    let what =
        "the chat template cannot render the conversation (line 1): it takes more steps or makes more text than any";
    assert!(error.message().starts_with(&format!("{}: {what}", file.display())), "{error}");
}

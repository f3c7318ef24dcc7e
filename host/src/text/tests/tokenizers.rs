//! What tokenizer_config.json adds to tokenizer.json, against transformers.

use super::*;
use crate::text::classes;
use ::tokenizers::Tokenizer;
use serde_json::Map;

fn fixture() -> Value {
    serde_json::from_str(include_str!("../../../../tests/fixtures/tokenizers.json")).unwrap()
}

#[test]
fn a_class_that_makes_other_tokens_is_told_of_and_no_other() {
    let fixture = fixture();
    let (mut told, mut untold) = (BTreeSet::new(), 0);
    for case in fixture["classes"].as_array().unwrap() {
        let config = case["config"].as_object().unwrap();
        let model = Map::from_iter([("model_type".to_owned(), case["model_type"].clone())]);
        let mut file = fixture["files"][if case["byte_level"] == true { "byte_level" } else { "metaspace" }].clone();
        let class = case["class"].as_str().unwrap();
        let otherwise = |file: &Value| {
            let bytes = file.to_string().into_bytes();
            classes::otherwise(&Tokenizer::from_bytes(&bytes).unwrap(), &bytes, [config, &model])
        };
        let message = otherwise(&file);
        assert_eq!(message.is_some(), class != "TokenizersBackend" && class != "GPT2Tokenizer" || changes(&file, case));
        match message {
            Some(message) => {
                assert!(message.contains(&format!("its class {class} builds ")), "{message}");
                told.insert(class);
            }
            None => untold += 1,
        }
        // Of the parts that the class builds there is nothing to tell.
        let parts = &case["parts"];
        file["normalizer"] = parts["normalizer"].clone();
        file["pre_tokenizer"] = parts["pre_tokenizer"].clone();
        for (key, value) in parts["model"].as_object().unwrap() {
            file["model"][key] = value.clone();
        }
        assert_eq!(otherwise(&file), None, "{case}");
    }
    assert_eq!(told.len(), 6, "{told:?}");
    assert!(untold >= 7, "{untold}");
}

/// Whether transformers changed a part of the file that decides over ids.
fn changes(file: &Value, case: &Value) -> bool {
    let parts = &case["parts"];
    let model = parts["model"].as_object().unwrap();
    file["normalizer"] != parts["normalizer"]
        || file["pre_tokenizer"] != parts["pre_tokenizer"]
        || model.iter().any(|(key, value)| file["model"][key] != *value)
}

#[test]
fn tokens_that_tokenizer_config_names_are_those_of_transformers() {
    let fixture = fixture();
    let text = fixture["text"].as_str().unwrap();
    let mut seen = BTreeSet::new();
    for case in fixture["added"].as_array().unwrap() {
        let dir = model(&[
            ("tokenizer.json", fixture["files"]["byte_level"].clone()),
            ("tokenizer_config.json", case["config"].clone()),
        ]);
        let codec = load(&dir);
        let ids = codec.encode_plain(text, "").unwrap().prompt;
        assert_eq!(json!(ids), case["ids"], "{case}");
        assert_eq!(codec.decode(&ids).unwrap(), case["decoded"], "{case}");
        seen.insert(ids);
    }
    assert!(seen.len() > 4, "the cases do not differ");
    let files = [
        ("tokenizer.json", byte_tokenizer(&["</s>"])),
        ("tokenizer_config.json", json!({"eos_token": "</s>", "added_tokens_decoder": {"x": {"content": "y"}}})),
    ];
    let error = TextCodec::load(model(&files).path()).err().unwrap();
    assert!(error.message().ends_with("added_tokens_decoder.x is no token: {\"content\":\"y\"}"), "{error}");
}

#[test]
fn files_that_are_not_read_are_named() {
    let files = [("tokenizer_config.json", json!({"eos_token": "</s>"})), ("vocab.json", json!({}))];
    let error = TextCodec::load(model(&files).path()).err().unwrap();
    assert!(error.message().starts_with("there is no tokenizer.json in "), "{error}");
    let with = |name: &'static str| {
        let files = [
            ("tokenizer.json", byte_tokenizer(&["</s>"])),
            ("tokenizer_config.json", json!({"eos_token": "</s>"})),
            (name, json!(CHATML)),
        ];
        TextCodec::load(model(&files).path())
    };
    let error = with("chat_template.json").err().unwrap();
    assert!(error.message().ends_with(" has chat_template.json, which is not read, and no other chat template"));
    assert!(with("chat_template.jinja").is_ok());
}

//! Against transformers in PyTorch (fixtures/reference.py) and, where asked for, against all-MiniLM-L6-v2.
#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::{Value, json};
use std::path::PathBuf;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn encoder(options: Value) -> Result<Sentence, Error> {
    let options: Options = serde_json::from_value(options).unwrap();
    options.validate()?;
    Sentence::new(options, Host::stand_in())
}

fn encode(encoder: &Sentence, texts: &[(String, String)]) -> Vec<Vec<f32>> {
    let samples: Vec<Sample<'_>> = texts
        .iter()
        .map(|(prompt, response)| Sample { prompt, response, prompt_ids: &[], response_ids: &[] })
        .collect();
    let dim = encoder.shape().len();
    let mut out = vec![f32::NAN; samples.len() * dim];
    encoder.encode(&samples, &mut out).unwrap();
    out.chunks_exact(dim).map(<[f32]>::to_vec).collect()
}

fn reference() -> (Value, Vec<(String, String)>) {
    let reference: Value = serde_json::from_slice(&std::fs::read(fixture("reference.json")).unwrap()).unwrap();
    let texts = |key: &str| serde_json::from_value::<Vec<String>>(reference[key].clone()).unwrap();
    let texts = texts("prompts").into_iter().zip(texts("responses")).collect();
    (reference, texts)
}

fn assert_close(found: &[f32], expected: &[f64], what: &str) {
    for (found, expected) in found.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() < 2e-6, "{what}: {found} {expected}");
    }
}

#[test]
fn embeddings_agree_with_transformers() {
    let (reference, texts) = reference();
    for input in ["response", "pair"] {
        let options = json!({"model_dir": fixture("model"), "max_tokens": reference["max_tokens"], "input": input});
        let expected: Vec<Vec<f64>> = serde_json::from_value(reference[input].clone()).unwrap();
        let found = encode(&encoder(options).unwrap(), &texts);
        for ((found, expected), (_, response)) in found.iter().zip(&expected).zip(&texts) {
            assert_eq!((found.len(), expected.len()), (8, 8));
            assert_close(found, expected, &format!("{input}: {response}"));
        }
    }
}

/// A copy of a fixture's directory with more files, which is removed in the end.
struct Copy(PathBuf);

impl Copy {
    fn of(name: &str, files: &[(&str, &str)]) -> Self {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("ldalign-sentence-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for file in ["config.json", "tokenizer.json", "model.safetensors"] {
            std::fs::copy(fixture(name).join(file), dir.join(file)).unwrap();
        }
        for (file, text) in files {
            std::fs::create_dir_all(dir.join(file).parent().unwrap()).unwrap();
            std::fs::write(dir.join(file), text).unwrap();
        }
        Self(dir)
    }

    fn encoder(&self, input: &str) -> Result<Sentence, Error> {
        encoder(json!({"model_dir": self.0, "max_tokens": 13, "input": input}))
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn pooling_and_positions_are_those_of_the_model() {
    let (reference, texts) = reference();
    let modules = r#"[{"type": "sentence_transformers.models.Transformer", "path": ""},
        {"type": "sentence_transformers.models.Pooling", "path": "pool"},
        {"type": "sentence_transformers.models.Normalize", "path": "2_Normalize"}]"#;
    let cls = r#"{"word_embedding_dimension": 8, "pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#;
    let mean = r#"{"pooling_mode": "mean", "include_prompt": true}"#;
    for (model, input, expected, files) in [
        ("model", "response", "cls", &[("1_Pooling/config.json", cls)][..]),
        (
            "model",
            "response",
            "cls",
            &[("modules.json", modules), ("pool/config.json", r#"{"pooling_mode": ["cls"]}"#)],
        ),
        ("model", "response", "response", &[("1_Pooling/config.json", mean)]),
        ("model", "response", "response", &[("1_Pooling/config.json", r#"{"pooling_mode_max_tokens": false}"#)]),
        (
            "roberta",
            "pair",
            "roberta",
            &[
                ("sentence_bert_config.json", r#"{"max_seq_length": 12, "do_lower_case": false, "model_args": {}}"#),
                // The first of the two is read.
                ("sentence_roberta_config.json", r#"{"do_lower_case": true}"#),
                (
                    "config_sentence_transformers.json",
                    r#"{"__version__": {}, "prompts": {"query": "query: "}, "default_prompt_name": null}"#,
                ),
            ],
        ),
    ] {
        let dir = Copy::of(model, files);
        let found = encode(&dir.encoder(input).unwrap(), &texts);
        let expected: Vec<Vec<f64>> = serde_json::from_value(reference[expected].clone()).unwrap();
        for (found, expected) in found.iter().zip(&expected) {
            assert_close(found, expected, &format!("{model} {files:?}"));
        }
    }
    // Latents of another pooling do not compare.
    let state = Copy::of("model", &[]).encoder("response").unwrap().save().unwrap();
    let mut other = Copy::of("model", &[("1_Pooling/config.json", cls)]).encoder("response").unwrap();
    assert!(other.load(&state).is_err());
}

#[test]
fn what_is_not_computed_is_refused_by_name() {
    let refused = |file: &str, text: &str| {
        let dir = Copy::of("model", &[(file, text)]);
        let error = dir.encoder("response").map(|_| ()).unwrap_err();
        error.message().replace(&format!("{}: ", dir.0.display()), "")
    };
    let config = std::fs::read_to_string(fixture("model").join("config.json")).unwrap();
    let with = |key: &str, value: Value| {
        let mut config: Value = serde_json::from_str(&config).unwrap();
        config[key] = value;
        refused("config.json", &config.to_string())
    };
    for (found, expected) in [
        (
            refused("1_Pooling/config.json", r#"{"pooling_mode_max_tokens": true}"#),
            "1_Pooling/config.json: pooling_mode_max_tokens is true; supported is mean or cls",
        ),
        (
            refused("1_Pooling/config.json", r#"{"pooling_mode": ["mean", "cls"]}"#),
            r#"1_Pooling/config.json: pooling_mode is ["mean","cls"]; supported is mean or cls"#,
        ),
        (refused("1_Pooling/config.json", r#"{"weights": 1}"#), "1_Pooling/config.json: weights is 1; supported is"),
        (
            refused("modules.json", r#"[{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}]"#),
            "modules.json has the module",
        ),
        (
            refused("modules.json", r#"[{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]"#),
            "1_Pooling/config.json is missing, which modules.json names",
        ),
        (refused("modules.json", "[]"), "modules.json names no Pooling in the directory"),
        (
            refused("sentence_bert_config.json", r#"{"max_seq_length": 12, "do_lower_case": true}"#),
            "sentence_bert_config.json: do_lower_case is true; supported is false",
        ),
        (
            refused("sentence_roberta_config.json", r#"{"do_lower_case": true}"#),
            "sentence_roberta_config.json: do_lower_case is true; supported is false",
        ),
        (
            refused("sentence_bert_config.json", r#"{"tokenizer_args": {"strip_accents": true}}"#),
            "sentence_bert_config.json: tokenizer_args is {\"strip_accents\":true}; supported is {}",
        ),
        (
            refused(
                "config_sentence_transformers.json",
                r#"{"prompts": {"q": "query: "}, "default_prompt_name": "q"}"#,
            ),
            "config_sentence_transformers.json: default_prompt_name is \"q\"; supported is null",
        ),
        (
            refused("config_sentence_transformers.json", r#"{"model_type": "SparseEncoder"}"#),
            "config_sentence_transformers.json: model_type is \"SparseEncoder\"; supported is SentenceTransformer",
        ),
        (
            refused("config_sentence_transformers.json", r#"{"truncate_dim": 4}"#),
            "config_sentence_transformers.json: truncate_dim is 4; supported is none",
        ),
        (with("model_type", "mpnet".into()), "config.json is not usable: unknown variant `mpnet`"),
        (
            with("position_embedding_type", "relative_key".into()),
            "config.json: position_embedding_type is \"relative_key\"",
        ),
        (with("is_decoder", true.into()), "config.json: is_decoder is true; supported is false"),
        (
            with("relative_attention_num_buckets", 32.into()),
            "config.json: the key relative_attention_num_buckets is not known",
        ),
    ] {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
}

#[test]
fn a_latent_does_not_depend_on_its_neighbours() {
    let (_, texts) = reference();
    let encoder = encoder(json!({"model_dir": fixture("model"), "max_tokens": 12})).unwrap();
    let together = encode(&encoder, &texts);
    for (text, latent) in texts.iter().zip(&together) {
        assert_eq!(&encode(&encoder, std::slice::from_ref(text))[0], latent);
    }
    assert!(encode(&encoder, &[]).is_empty());
}

#[test]
fn faults_name_the_file_or_the_option() {
    let broken = std::env::temp_dir().join(format!("ldalign-sentence-{}", std::process::id()));
    std::fs::create_dir_all(&broken).unwrap();
    for name in ["config.json", "tokenizer.json"] {
        std::fs::copy(fixture("model").join(name), broken.join(name)).unwrap();
    }
    std::fs::write(broken.join("model.safetensors"), b"no tensors").unwrap();
    for (options, message) in [
        (json!({"model_dir": "/nowhere"}), "cannot read /nowhere/config.json"),
        (json!({"model_dir": fixture("model"), "max_tokens": 25}), "more than the model's 24 positions"),
        (json!({"model_dir": fixture("model"), "max_tokens": 3}), "max_tokens 3 leaves no room"),
        (json!({"model_dir": broken, "max_tokens": 12}), "model.safetensors is not usable"),
    ] {
        let error = encoder(options).map(|_| ()).unwrap_err();
        assert!(error.message().contains(message), "{error}");
    }
    std::fs::remove_dir_all(&broken).unwrap();
    let error = serde_json::from_value::<Options>(json!({})).unwrap_err();
    assert!(error.to_string().contains("missing field `model_dir`"), "{error}");
}

#[test]
fn the_state_knows_the_model_that_made_it() {
    let options = json!({"model_dir": fixture("model"), "max_tokens": 12});
    let state = encoder(options.clone()).unwrap().save().unwrap();
    encoder(options).unwrap().load(&state).unwrap();
    let other = std::env::temp_dir().join(format!("ldalign-sentence-other-{}", std::process::id()));
    std::fs::create_dir_all(&other).unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::copy(fixture("model").join(name), other.join(name)).unwrap();
    }
    let mut text = std::fs::read_to_string(other.join("config.json")).unwrap();
    text.push('\n');
    std::fs::write(other.join("config.json"), text).unwrap();
    let error = encoder(json!({"model_dir": other, "max_tokens": 12})).unwrap().load(&state).unwrap_err();
    assert!(error.message().contains("other files"), "{error}");
    std::fs::remove_dir_all(&other).unwrap();
}

/// `LDALIGN_TEST_MINILM=/path/to/all-MiniLM-L6-v2 cargo test -p ldalign-encoder-sentence -- --ignored`
#[test]
#[ignore = "set LDALIGN_TEST_MINILM to a directory of all-MiniLM-L6-v2"]
fn golden_value_of_all_minilm() {
    let dir = std::env::var("LDALIGN_TEST_MINILM").expect("LDALIGN_TEST_MINILM names the model's directory");
    let encoder = encoder(json!({"model_dir": dir})).unwrap();
    let latent = &encode(&encoder, &[(String::new(), "This is an example sentence".into())])[0];
    assert_eq!(latent.len(), 384);
    // The model card's example, as sentence-transformers computes it.
    assert_close(latent, &[0.06765688, 0.06349592, 0.0487131, 0.07930498, 0.03744805], "all-MiniLM-L6-v2");
}

//! Against transformers in PyTorch (fixtures/reference.py) and, where asked for, against all-MiniLM-L6-v2.
#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::{Value, json};

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

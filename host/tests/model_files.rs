//! Model directories and adapters on disk: what is written, what is read, and what is refused.
#![allow(clippy::unwrap_used, missing_docs)]

use candle_core::{Device, Tensor};
use ldalign::{
    Code, Error,
    config::LoraConfig,
    model::{Gradients, Pack, Policy, Target},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/models").join(name)
}

fn load(dir: &Path) -> Policy {
    Policy::load(dir, &Device::Cpu).unwrap()
}

fn refused(dir: &Path) -> Error {
    Policy::load(dir, &Device::Cpu).err().expect("a damaged model is refused")
}

/// A copy of a fixture to damage.
fn copy(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    dir
}

fn logps(policy: &Policy) -> Vec<f32> {
    let mut pack = Pack::default();
    let prompt = pack.push_prompt(&[3, 7, 30, 2]);
    let targets = pack.push_completion(prompt, &[9, 9, 21, 36, 4]);
    policy.logps(&pack, &targets).unwrap()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|v| v.to_bits()).collect()
}

/// Names and shapes in a safetensors file.
fn shapes(path: &Path) -> BTreeMap<String, Vec<usize>> {
    let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    tensors.into_iter().map(|(k, t)| (k, t.dims().to_vec())).collect()
}

#[test]
fn a_saved_model_is_the_same_model() {
    for name in ["llama", "llama-bf16", "qwen2-sharded", "qwen3", "gemma3", "qwen3-moe-fused"] {
        let source = copy(name);
        fs::write(source.path().join("tokenizer.json"), "{}").unwrap();
        fs::write(source.path().join("chat_template.jinja"), "{{ x }}").unwrap();
        let policy = load(source.path());
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        policy.save(a.path()).unwrap();
        let again = load(a.path());
        assert_eq!(bits(&logps(&again)), bits(&logps(&policy)), "{name}");
        assert_eq!(again.num_parameters(), policy.num_parameters());
        again.save(b.path()).unwrap();
        for file in ["config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"] {
            assert_eq!(fs::read(a.path().join(file)).unwrap(), fs::read(b.path().join(file)).unwrap(), "{name} {file}");
        }
        assert_eq!(fs::read_dir(a.path()).unwrap().count(), 4, "no other file is written");
        let config: Value = serde_json::from_slice(&fs::read(a.path().join("config.json")).unwrap()).unwrap();
        assert_eq!(config["dtype"], "float32");
    }
}

#[test]
fn training_changes_what_every_pass_and_the_saved_file_see() {
    let policy = load(&fixture("llama"));
    let before = logps(&policy);
    for t in policy.trainable() {
        t.var.set(&(t.var.as_tensor() * 1.1).unwrap()).unwrap();
    }
    let after = logps(&policy);
    assert_ne!(before, after);
    let dir = tempfile::tempdir().unwrap();
    policy.save(dir.path()).unwrap();
    assert_eq!(logps(&load(dir.path())), after);
}

fn lora(r: usize, modules: &[&str]) -> LoraConfig {
    LoraConfig { r, lora_alpha: 6.0, target_modules: modules.iter().map(|m| m.to_string()).collect() }
}

#[test]
fn a_fresh_adapter_changes_nothing_and_is_drawn_from_the_seed() {
    let mut policy = load(&fixture("qwen2"));
    let before = logps(&policy);
    let whole = policy.num_parameters();
    policy.add_lora(&lora(4, &["q_proj", "down_proj"]), 7).unwrap();
    assert_eq!(logps(&policy), before);
    assert_eq!(policy.lora().unwrap().target_modules, ["down_proj", "q_proj"]);
    let trainable = policy.trainable();
    assert_eq!(trainable.len(), 8);
    assert_eq!(policy.num_parameters() - whole, trainable.iter().map(|t| t.var.elem_count()).sum::<usize>());
    let numbers = |p: &Policy| -> Vec<Vec<f32>> {
        p.trainable().iter().map(|t| t.var.flatten_all().unwrap().to_vec1().unwrap()).collect()
    };
    let other = |seed| {
        let mut p = load(&fixture("qwen2"));
        p.add_lora(&lora(4, &["down_proj", "q_proj"]), seed).unwrap();
        numbers(&p)
    };
    assert_eq!(numbers(&policy), other(7));
    assert_ne!(numbers(&policy), other(8));
    for (t, values) in trainable.iter().zip(numbers(&policy)) {
        if t.name.ends_with("lora_B.weight") {
            assert!(values.iter().all(|v| *v == 0.0));
            continue;
        }
        let bound = 1.0 / (t.var.dim(1).unwrap() as f32).sqrt();
        let mean_square = values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32;
        assert!(values.iter().all(|v| v.abs() <= bound), "{}", t.name);
        // A uniform distribution's mean square is a third of its bound's.
        assert!((0.7..1.3).contains(&(mean_square * 3.0 / (bound * bound))), "{}: {mean_square}", t.name);
    }
    assert_ne!(numbers(&policy)[2], numbers(&policy)[6], "layers draw differently");
}

#[test]
fn adapters_are_written_as_peft_writes_them() {
    let mut policy = load(&fixture("llama"));
    policy.add_lora(&lora(3, &["all-linear"]), 1).unwrap();
    for t in policy.trainable() {
        t.var.set(&(t.var.as_tensor() + 0.1).unwrap()).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    policy.save(dir.path()).unwrap();
    let peft = fixture("llama-lora");
    assert_eq!(shapes(&dir.path().join("adapter_model.safetensors")), shapes(&peft.join("adapter_model.safetensors")));
    let config =
        |dir: &Path| -> Value { serde_json::from_slice(&fs::read(dir.join("adapter_config.json")).unwrap()).unwrap() };
    let (ours, theirs) = (config(dir.path()), config(&peft));
    for (key, value) in ours.as_object().unwrap() {
        match key.as_str() {
            "target_modules" => assert_eq!(value.as_array().unwrap().len(), 7),
            "base_model_name_or_path" => assert!(Path::new(value.as_str().unwrap()).is_absolute()),
            "lora_alpha" => assert_eq!(value.as_f64(), theirs[key].as_f64()),
            _ => assert_eq!(value, &theirs[key], "{key}"),
        }
    }

    let expected = logps(&policy);
    assert_eq!(logps(&load(dir.path())), expected, "the directory names its base");
    let mut again = load(&fixture("llama"));
    again.add_lora(&lora(8, &["q_proj"]), 5).unwrap();
    again.load_adapter(dir.path()).unwrap();
    assert_eq!(logps(&again), expected, "a loaded adapter takes the place of another");
    assert_eq!(again.lora(), policy.lora());
}

#[test]
fn a_merged_model_is_a_plain_model() {
    let mut policy = load(&fixture("llama-lora"));
    let with_adapter = logps(&policy);
    policy.merge().unwrap();
    let merged = logps(&policy);
    assert!(with_adapter.iter().zip(&merged).all(|(a, b)| (a - b).abs() < 1e-4));
    assert_ne!(logps(&load(&fixture("llama"))), merged);
    let dir = tempfile::tempdir().unwrap();
    policy.save(dir.path()).unwrap();
    assert_eq!(logps(&load(dir.path())), merged);
    assert!(!dir.path().join("adapter_config.json").exists());
    // An adapter on top names a base that is nowhere on disk.
    policy.add_lora(&lora(2, &["all-linear"]), 1).unwrap();
    assert_eq!(policy.save(dir.path()).unwrap_err().code(), Code::ModelAdapterBase);
    assert_eq!(policy.add_lora(&lora(2, &["all-linear"]), 1).unwrap_err().code(), Code::ModelLora);
}

#[test]
fn adapters_on_a_few_modules_get_gradients_in_every_layer() {
    for modules in [vec!["v_proj"], vec!["down_proj"], vec!["q_proj", "k_proj"], vec!["gate_proj", "o_proj"]] {
        let mut policy = load(&fixture("mistral"));
        policy.add_lora(&lora(2, &modules), 1).unwrap();
        for t in policy.trainable().iter().filter(|t| t.name.contains("lora_B")) {
            t.var.set(&Tensor::ones(t.var.shape(), t.var.dtype(), &Device::Cpu).unwrap()).unwrap();
        }
        let mut pack = Pack::default();
        pack.push_prompt(&[3, 5, 8, 13, 21]);
        let targets: Vec<_> = (1..5).map(|row| Target { row, token: row + 9 }).collect();
        let mut grads = Gradients::new();
        policy.backward(&pack, &targets, |l| Ok(vec![1.0; l.len()]), &mut grads).unwrap();
        assert_eq!(grads.len(), 2 * 2 * modules.len());
        for (name, g) in grads {
            assert!(g.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap() > 0.0, "{name}");
        }
    }
}

#[test]
fn wrong_adapter_requests_are_refused() {
    let mut policy = load(&fixture("llama"));
    let message = |r: ldalign::Result<()>| r.unwrap_err().message().to_owned();
    assert_eq!(message(policy.add_lora(&lora(4, &["query"]), 1)), "lora: the model has no linear module query");
    for config in [lora(0, &["q_proj"]), lora(2, &[])] {
        assert!(message(policy.add_lora(&config, 1)).starts_with("lora: r, lora_alpha and target_modules"));
    }
    assert_eq!(message(policy.merge()), "the model has no adapter to merge");

    let dir = copy("llama-lora");
    let path = dir.path().join("adapter_config.json");
    let config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let mut with = |key: &str, value: Value| {
        let mut config = config.clone();
        config[key] = value;
        fs::write(&path, config.to_string()).unwrap();
        message(policy.load_adapter(dir.path())).replace(&path.display().to_string(), "FILE")
    };
    assert_eq!(with("use_dora", true.into()), "FILE: use_dora is true; supported is false");
    assert_eq!(with("bias", "all".into()), "FILE: bias is \"all\"; supported is \"none\"");
    assert_eq!(with("peft_type", "IA3".into()), "FILE: peft_type is \"IA3\"; supported is \"LORA\"");
    assert_eq!(
        with("modules_to_save", json!(["score"])),
        "FILE: modules_to_save is [\"score\"]; supported are embed_tokens and lm_head"
    );
    assert_eq!(with("r", "3".into()), "FILE: expected numbers r and lora_alpha");
    assert!(with("r", 4.into()).contains("is [3, 24], but adapter_config.json asks for [4, 24]"));
    fs::write(&path, serde_json::to_string(&config).unwrap()).unwrap();
    assert_eq!(refused(dir.path()).code(), Code::ModelAdapterBase, "its relative base is not beside the copy");
}

/// Rewrites one safetensors file through `change`.
fn rewrite(path: &Path, change: impl FnOnce(&mut BTreeMap<String, Tensor>)) {
    let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let mut tensors: BTreeMap<_, _> = tensors.into_iter().collect();
    change(&mut tensors);
    candle_core::safetensors::save(&tensors.into_iter().collect(), path).unwrap();
}

#[test]
fn damaged_weights_are_refused_by_file_and_tensor() {
    const Q: &str = "model.layers.1.self_attn.q_proj.weight";
    let zeros = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &Device::Cpu).unwrap();
    use candle_core::DType::{F32, I64};
    type Change<'a> = Box<dyn Fn(&mut BTreeMap<String, Tensor>) + 'a>;
    let cases: Vec<(Change, &str)> = vec![
        (Box::new(|t| drop(t.remove(Q))), "FILE: the tensor model.layers.1.self_attn.q_proj.weight is missing"),
        (
            Box::new(|t| drop(t.insert("model.layers.2.x".into(), zeros(&[1], F32)))),
            "FILE: the model has no place for the tensor model.layers.2.x",
        ),
        (
            Box::new(|t| drop(t.insert(Q.into(), zeros(&[24, 23], F32)))),
            "FILE: model.layers.1.self_attn.q_proj.weight is [24, 23], but config.json asks for [24, 24]",
        ),
        (
            Box::new(|t| drop(t.insert(Q.into(), zeros(&[24, 24], I64)))),
            "FILE: model.layers.1.self_attn.q_proj.weight holds I64; supported are F32, F16 and BF16",
        ),
        (
            Box::new(|t| {
                let mut v = vec![0f32; 24];
                v[5] = f32::NAN;
                t.insert("model.norm.weight".into(), Tensor::from_vec(v, 24, &Device::Cpu).unwrap());
            }),
            "FILE: model.norm.weight holds NaN at index 5",
        ),
    ];
    for (change, message) in cases {
        let dir = copy("llama");
        let path = dir.path().join("model.safetensors");
        rewrite(&path, change);
        assert_eq!(refused(dir.path()).message().replace(&path.display().to_string(), "FILE"), message);
    }
}

#[test]
fn damaged_files_are_refused_before_anything_is_allocated() {
    let good = fs::read(fixture("llama").join("model.safetensors")).unwrap();
    let header = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let with_length = |n: u64| [&n.to_le_bytes(), &good[8..]].concat();
    let text = String::from_utf8(good[8..8 + header].to_vec()).unwrap();
    // The header keeps its length: one digit of an offset or a shape lies.
    let lie = |from: &str, to: &str| {
        assert!(text.contains(from) && from.len() == to.len());
        [&good[..8], text.replacen(from, to, 1).as_bytes(), &good[8 + header..]].concat()
    };
    let cases = [
        (vec![], "only 0 bytes long"),
        (good[..6].to_vec(), "only 6 bytes long"),
        (b"this is not a model but a text".to_vec(), "bytes of the file's 30"),
        (with_length(u64::MAX), "its header claims 18446744073709551615 bytes"),
        (with_length(good.len() as u64), "its header claims"),
        (with_length(header as u64 - 20), "its header cannot be read"),
        (good[..good.len() - 4].to_vec(), "bytes of data"),
        ([&good[..], &[0; 4]].concat(), "bytes of data"),
        (lie("[37,24]", "[99,24]"), "its header cannot be read"),
        (lie("[37,24]", "[37,2,]"), "its header cannot be read"),
        (lie("\"F32\"", "\"F99\""), "its header cannot be read"),
    ];
    for (bytes, message) in cases {
        let dir = copy("llama");
        fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
        let error = refused(dir.path());
        assert_eq!(error.code(), Code::ModelWeights, "{message}");
        assert!(format!("{error:#}").contains(message), "{error} instead of {message}");
        assert!(error.message().contains("model.safetensors"));
    }
}

#[test]
fn damaged_shards_and_directories_are_refused() {
    let case = |damage: &dyn Fn(&Path), message: &str| {
        let dir = copy("qwen2-sharded");
        damage(dir.path());
        let error = format!("{:#}", refused(dir.path()));
        assert!(error.contains(message), "{error} instead of {message}");
    };
    const INDEX: &str = "model.safetensors.index.json";
    let index = |dir: &Path, change: &dyn Fn(&mut Value)| {
        let mut index: Value = serde_json::from_slice(&fs::read(dir.join(INDEX)).unwrap()).unwrap();
        change(&mut index);
        fs::write(dir.join(INDEX), index.to_string()).unwrap();
    };
    case(&|d| fs::remove_file(d.join("model-00003-of-00005.safetensors")).unwrap(), "model-00003-of-00005.safetensors");
    case(&|d| fs::remove_file(d.join(INDEX)).unwrap(), "no model.safetensors in");
    case(&|d| fs::write(d.join(INDEX), "{}").unwrap(), "no weight_map");
    case(&|d| fs::write(d.join(INDEX), "{").unwrap(), INDEX);
    case(
        &|d| index(d, &|i| i["weight_map"]["model.norm.weight"] = "../../secret.safetensors".into()),
        "the file of model.norm.weight is \"../../secret.safetensors\", expected a plain file name",
    );
    case(
        &|d| index(d, &|i| i["weight_map"]["nowhere"] = "model-00001-of-00005.safetensors".into()),
        "no shard holds the tensor nowhere",
    );
    case(
        &|d| {
            fs::copy(d.join("model-00001-of-00005.safetensors"), d.join("twice.safetensors")).unwrap();
            index(d, &|i| i["weight_map"]["x"] = "twice.safetensors".into());
        },
        "is also in another shard",
    );
    case(&|d| fs::write(d.join("config.json"), "[1]").unwrap(), "config.json is not a JSON object");
    case(&|d| fs::write(d.join("config.json"), "{,").unwrap(), "config.json is not valid JSON");
    case(&|d| fs::remove_file(d.join("config.json")).unwrap(), "cannot read");
    assert_eq!(refused(Path::new("/nowhere/at/all")).message(), "there is no model /nowhere/at/all");
}

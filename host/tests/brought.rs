//! Model and adapter directories as people bring them: taken for what they are, or refused by name. `check` says before
//! a run what loading would say.
#![allow(clippy::unwrap_used, missing_docs)]

use candle_core::{DType, Device, Tensor};
use ldalign::{
    Code, Error,
    config::{LoraConfig, RunConfig},
    data::Dataset,
    model::{ModelDir, Pack, Policy},
    rundir::{HashedModel, Manifest, RunDir},
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

/// Copies of fixtures side by side, as an adapter and its base lie.
fn copies(names: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in names {
        fs::create_dir(dir.path().join(name)).unwrap();
        for entry in fs::read_dir(fixture(name)).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap() != "reference.safetensors" {
                fs::copy(&path, dir.path().join(name).join(path.file_name().unwrap())).unwrap();
            }
        }
    }
    dir
}

type Tensors = BTreeMap<String, Tensor>;

fn rewrite(path: &Path, change: impl FnOnce(Tensors) -> Tensors) {
    let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let tensors = change(tensors.into_iter().collect());
    candle_core::safetensors::save(&tensors.into_iter().collect(), path).unwrap();
}

fn rename(path: &Path, name: impl Fn(&str) -> String) {
    rewrite(path, |tensors| tensors.into_iter().map(|(k, v)| (name(&k), v)).collect());
}

fn edit(path: &Path, key: &str, value: Value) {
    let mut json: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    json[key] = value;
    fs::write(path, json.to_string()).unwrap();
}

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap()
}

fn logps(dir: &Path) -> Vec<f32> {
    let policy = Policy::load(dir, &Device::Cpu).unwrap();
    let mut pack = Pack::default();
    let prompt = pack.push_prompt(&[3, 7, 30, 2]);
    let targets = pack.push_completion(prompt, &[9, 9, 21, 36, 4]);
    policy.logps(&pack, &targets).unwrap()
}

/// What loading says, which is what is said before a run.
fn refused(dir: &Path) -> Error {
    let error = Policy::load(dir, &Device::Cpu).err().expect("refused");
    let before = ModelDir::open(dir).and_then(|source| source.verify(None, None)).expect_err("refused before");
    assert_eq!(error.message(), before.message());
    assert!(error.hint_text().is_some(), "{error}");
    error
}

/// A message without the directory's path.
fn message(error: &Error, dir: &Path) -> String {
    error.message().replace(&dir.display().to_string(), "DIR")
}

#[test]
fn names_that_wrappers_and_bases_have_are_those_of_the_model() {
    let expected = logps(&fixture("llama"));
    type Name = fn(&str) -> String;
    let names: [Name; 6] = [
        |name| format!("_orig_mod.{name}"),
        |name| format!("module.{name}"),
        |name| format!("module._orig_mod.{name}"),
        |name| format!("_orig_mod.module.{name}"),
        |name| name.strip_prefix("model.").unwrap().to_owned(),
        |name| if name.ends_with("embed_tokens.weight") { "lm_head.weight".into() } else { name.to_owned() },
    ];
    for name in names {
        let dir = copies(&["llama"]);
        rename(&dir.path().join("llama/model.safetensors"), name);
        assert_eq!(logps(&dir.path().join("llama")), expected, "{}", name("model.embed_tokens.weight"));
        ModelDir::open(&dir.path().join("llama")).unwrap().verify(None, None).unwrap();
    }
}

#[test]
fn weights_that_are_not_what_the_config_says_are_refused() {
    let with = |model: &str, key: &str, value: Value, change: &dyn Fn(&mut Tensors)| {
        let dir = copies(&[model]);
        let model = dir.path().join(model);
        edit(&model.join("config.json"), key, value);
        rewrite(&model.join("model.safetensors"), |mut tensors| {
            change(&mut tensors);
            tensors
        });
        (message(&refused(&model), &model), dir)
    };
    let tied = |value: bool| json!(value);
    assert_eq!(
        with("llama3", "tie_word_embeddings", tied(true), &|_| {}).0,
        "DIR/model.safetensors: lm_head.weight is not model.embed_tokens.weight, but config.json says so \
         (tie_word_embeddings)"
    );
    assert_eq!(
        with("llama", "tie_word_embeddings", tied(false), &|_| {}).0,
        "DIR/model.safetensors: lm_head.weight is missing, and config.json does not say that it is the embedding"
    );
    assert_eq!(
        with("llama", "attention_bias", json!(true), &|_| {}).0,
        "DIR/model.safetensors: the tensor model.layers.0.self_attn.q_proj.bias is missing"
    );
    assert_eq!(
        with("biases", "mlp_bias", json!(false), &|_| {}).0,
        "DIR/model.safetensors: the model has no place for the tensor model.layers.0.mlp.down_proj.bias and 5 more"
    );
    assert_eq!(
        with("llama", "logit_scale", json!(0.5), &|_| {}).0,
        "DIR/config.json: the key logit_scale is not known, and might change what is computed; it is 0.5"
    );
    // The same table twice is one table.
    let dir = copies(&["llama"]);
    rewrite(&dir.path().join("llama/model.safetensors"), |mut tensors| {
        tensors.insert("lm_head.weight".into(), tensors["model.embed_tokens.weight"].clone());
        tensors
    });
    assert_eq!(logps(&dir.path().join("llama")), logps(&fixture("llama")));
    let bin = copies(&["llama"]);
    let model = bin.path().join("llama");
    fs::rename(model.join("model.safetensors"), model.join("pytorch_model.bin")).unwrap();
    let said = "no model.safetensors in DIR, and pytorch_model.bin is not read";
    assert_eq!(message(&refused(&model), &model), said);
    assert_eq!(message(&HashedModel::of(&model).unwrap_err(), &model), said);
}

#[test]
fn ways_to_begin_that_changed_the_base_are_refused() {
    let dir = copies(&["llama", "llama-lora"]);
    let adapter = dir.path().join("llama-lora");
    let expected = logps(&adapter);
    for kind in ["pissa", "pissa_niter_16", "olora", "corda", "loftq", "lora_ga", "something"] {
        edit(&adapter.join("adapter_config.json"), "init_lora_weights", kind.into());
        let error = refused(&adapter);
        assert_eq!(error.code(), Code::ModelUnsupported);
        let expected = format!(
            "DIR/adapter_config.json: init_lora_weights is \"{kind}\"; supported is true or false or \"gaussian\" or \
             \"eva\" or \"orthogonal\" or \"mica\""
        );
        assert_eq!(message(&error, &adapter), expected);
    }
    for kind in [json!(true), json!(false), json!("gaussian"), json!("eva"), json!("orthogonal"), json!("mica")] {
        edit(&adapter.join("adapter_config.json"), "init_lora_weights", kind);
        assert_eq!(logps(&adapter), expected);
    }
}

#[test]
fn adapters_that_are_not_computed_say_what_they_are() {
    let with = |change: &dyn Fn(&Path)| {
        let dir = copies(&["llama", "llama-lora"]);
        let adapter = dir.path().join("llama-lora");
        change(&adapter);
        let said = message(&refused(&adapter), &adapter);
        said.strip_prefix("DIR/").map(str::to_owned).unwrap_or(said)
    };
    let add = |name: &'static str, shape: &'static [usize]| {
        with(&|adapter| {
            rewrite(&adapter.join("adapter_model.safetensors"), |mut tensors| {
                tensors.insert(format!("base_model.model.{name}"), zeros(shape));
                tensors
            });
        })
    };
    const ONLY: &str = "supported are adapters on linear modules";
    for (name, shape, what) in [
        (
            "model.embed_tokens.weight",
            &[37, 24][..],
            "it brings a whole embedding or head that modules_to_save does not name (save_embedding_layers)",
        ),
        (
            "lm_head.weight",
            &[37, 24],
            "it brings a whole embedding or head that modules_to_save does not name (save_embedding_layers)",
        ),
        ("model.embed_tokens.base_layer.weight", &[37, 24], "it adapts the embedding or the head"),
        ("model.embed_tokens.lora_embedding_A", &[3, 37], "it adapts the embedding or the head"),
        ("lm_head.lora_A.weight", &[3, 24], "it adapts the embedding or the head"),
        ("model.layers.0.self_attn.q_proj.lora_magnitude_vector.weight", &[24], "it holds DoRA's magnitudes"),
        ("model.layers.0.self_attn.q_proj.bias", &[24], "it brings biases"),
        ("model.layers.0.self_attn.q_proj.lora_B.bias", &[24], "it brings biases"),
    ] {
        assert_eq!(
            add(name, shape),
            format!("adapter_model.safetensors: {what}, such as base_model.model.{name}; {ONLY}")
        );
    }
    let named = with(&|adapter| {
        rename(&adapter.join("adapter_model.safetensors"), |name| name.replace(".weight", ".default.weight"));
    });
    let first = "base_model.model.model.layers.0.mlp.down_proj.lora_A.default.weight";
    assert_eq!(
        named,
        format!(
            "adapter_model.safetensors: its names hold the name of an adapter, as in a state_dict, such as {first}; {ONLY}"
        )
    );
    let bin = with(&|a| fs::rename(a.join("adapter_model.safetensors"), a.join("adapter_model.bin")).unwrap());
    assert_eq!(bin, "DIR has its weights in adapter_model.bin alone, which is not read");
    let key = |key: &str, value: Value| with(&|adapter| edit(&adapter.join("adapter_config.json"), key, value.clone()));
    assert_eq!(
        key("modules_to_save", json!(["lm_head", "classifier"])),
        "adapter_config.json: modules_to_save is [\"lm_head\",\"classifier\"]; supported are embed_tokens and lm_head"
    );
    assert_eq!(
        key("modules_to_save", json!(["lm_head"])),
        "adapter_model.safetensors: the tensor base_model.model.lm_head.weight is missing"
    );
    assert_eq!(
        key("rank_pattern", json!({"(?=q)q_proj": 2})),
        "adapter_config.json: rank_pattern has the expression \"(?=q)q_proj\", which is not computed here: look-around, \
         including look-ahead and look-behind, is not supported"
    );
    let template = with(&|adapter| fs::write(adapter.join("chat_template.jinja"), "{{ messages }}").unwrap());
    assert_eq!(
        template,
        "DIR has chat_template.jinja and no tokenizer.json, so that its base's template would be taken"
    );
    assert_eq!(key("bias", json!("lora_only")), "adapter_config.json: bias is \"lora_only\"; supported is \"none\"");
    assert_eq!(
        key("use_newlora", json!(true)),
        "adapter_config.json: the key use_newlora is not known, and might change what is computed; it is true"
    );
    assert_eq!(
        key("base_model_name_or_path", json!("meta-llama/Llama-3.2-1B")),
        "adapter_config.json: base_model_name_or_path is \"meta-llama/Llama-3.2-1B\", which is neither a model directory nor a GGUF file"
    );
    assert_eq!(
        key("base_model_name_or_path", json!("../llama-lora")),
        "adapter_config.json: base_model_name_or_path is \"../llama-lora\", which is an adapter itself"
    );
    assert_eq!(
        key("rank_pattern", json!({"q_proj": 2})),
        "adapter_model.safetensors: base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight is [3, 24], but \
         adapter_config.json asks for [2, 24]"
    );
}

#[test]
fn an_alpha_that_is_missing_is_that_of_peft() {
    let dir = copies(&["llama", "llama-lora"]);
    let config = dir.path().join("llama-lora/adapter_config.json");
    edit(&config, "lora_alpha", json!(8));
    let expected = logps(&dir.path().join("llama-lora"));
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("\"lora_alpha\":8,", "")).unwrap();
    assert!(!fs::read_to_string(&config).unwrap().contains("lora_alpha"));
    assert_eq!(logps(&dir.path().join("llama-lora")), expected);
}

#[test]
fn an_adapter_on_an_adapter_is_refused_before_a_run() {
    let source = ModelDir::open(&fixture("llama-lora")).unwrap();
    source.verify(None, None).unwrap();
    let error = source.verify(Some(&LoraConfig::default()), None).unwrap_err();
    let mut policy = Policy::load(&fixture("llama-lora"), &Device::Cpu).unwrap();
    assert_eq!(error.message(), policy.add_lora(&LoraConfig::default(), 1).unwrap_err().message());
    let base = ModelDir::open(&fixture("llama")).unwrap();
    let unknown = LoraConfig { target_modules: vec!["query".into()], ..Default::default() };
    assert_eq!(base.verify(Some(&unknown), None).unwrap_err().message(), "lora: the model has no linear module query");
    base.verify(Some(&LoraConfig::default()), None).unwrap();
}

#[test]
fn an_adapters_own_tokenizer_is_kept_and_its_bases_stands_for_one_that_is_missing() {
    let dir = copies(&["llama", "llama-lora"]);
    let (base, adapter) = (dir.path().join("llama"), dir.path().join("llama-lora"));
    for (name, text) in
        [("tokenizer.json", "base"), ("special_tokens_map.json", "base"), ("generation_config.json", "base")]
    {
        fs::write(base.join(name), text).unwrap();
    }
    let saved = |merge: bool| {
        let out = tempfile::tempdir().unwrap();
        let mut policy = Policy::load(&adapter, &Device::Cpu).unwrap();
        if merge {
            policy.merge().unwrap();
        }
        policy.save(out.path()).unwrap();
        let names = ["tokenizer.json", "chat_template.jinja", "special_tokens_map.json", "generation_config.json"];
        names.map(|name| fs::read_to_string(out.path().join(name)).ok())
    };
    let some = |text: &str| Some(text.to_owned());
    for merge in [false, true] {
        assert_eq!(saved(merge), [some("base"), None, some("base"), some("base")]);
    }
    assert_eq!(ModelDir::open(&adapter).unwrap().text_dir().canonicalize().unwrap(), base.canonicalize().unwrap());
    fs::write(adapter.join("tokenizer.json"), "own").unwrap();
    fs::write(adapter.join("chat_template.jinja"), "own").unwrap();
    for merge in [false, true] {
        assert_eq!(saved(merge), [some("own"), some("own"), None, some("base")]);
    }
    assert_eq!(ModelDir::open(&adapter).unwrap().text_dir(), adapter);
}

#[test]
fn hashes_are_of_the_files_that_are_read() {
    let dir = copies(&["llama", "llama-lora", "qwen2-sharded"]);
    let (base, adapter) = (dir.path().join("llama"), dir.path().join("llama-lora"));
    fs::write(base.join("tokenizer.json"), "{}").unwrap();
    let names = |dir: &Path| HashedModel::of(dir).unwrap().files.into_keys().collect::<Vec<_>>();
    assert_eq!(names(&base), ["config.json", "model.safetensors", "tokenizer.json"]);
    assert_eq!(names(&dir.path().join("qwen2-sharded")).len(), 7);
    let hash = || HashedModel::of(&adapter).unwrap();
    let before = hash();
    let all = before.files.keys().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(
        all,
        [
            "adapter_config.json",
            "adapter_model.safetensors",
            "base/config.json",
            "base/model.safetensors",
            "base/tokenizer.json"
        ]
    );
    for name in [".DS_Store", "README.md", "optimizer.pt"] {
        fs::write(base.join(name), "x").unwrap();
        fs::write(adapter.join(name), "x").unwrap();
    }
    assert_eq!(hash(), before);
    // Another base in the same place.
    rewrite(&base.join("model.safetensors"), |mut tensors| {
        tensors.insert("model.norm.weight".into(), zeros(&[24]));
        tensors
    });
    let after = hash();
    let changed =
        after.files.iter().filter(|(name, hash)| before.files[*name] != **hash).map(|(name, _)| name.as_str());
    assert_eq!(changed.collect::<Vec<_>>(), ["base/model.safetensors"]);
    assert_ne!(after.sha256, before.sha256);
}

#[test]
fn a_run_does_not_go_on_with_another_base() {
    let dir = copies(&["llama", "llama-lora"]);
    let base = dir.path().join("llama");
    fs::write(dir.path().join("rows.jsonl"), "{\"prompt\": \"a\", \"completion\": \"b\"}\n").unwrap();
    let yaml = "model: llama-lora\noutput_dir: out\ndata: {path: rows.jsonl}\n";
    fs::write(dir.path().join("run.yaml"), yaml).unwrap();
    let config = RunConfig::load(&dir.path().join("run.yaml"), &[]).unwrap();
    let open = || {
        let manifest = Manifest::new(&config, &Dataset::open(&config.data).unwrap(), vec![]).unwrap();
        RunDir::open(&config.output_dir, &manifest).map(drop)
    };
    open().unwrap();
    for place in ["llama", "llama-lora"] {
        fs::write(dir.path().join(place).join(".DS_Store"), "x").unwrap();
    }
    open().unwrap();
    rewrite(&base.join("model.safetensors"), |mut tensors| {
        tensors.insert("model.norm.weight".into(), zeros(&[24]));
        tensors
    });
    let error = open().unwrap_err();
    assert_eq!(error.code(), Code::RunChanged);
    let (_, changes) = error.message().split_once("was started from something else: ").unwrap();
    assert!(changes.starts_with("model.files.base/model.safetensors was \"") && !changes.contains(';'), "{changes}");
}

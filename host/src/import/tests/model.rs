//! A GGUF file as the model itself: what its import is, to the bit.

use super::*;
use crate::{
    config::{LoraConfig, Quantize},
    gguf::Gguf as GgufFile,
    model::{self, Gradients, Kept, ModelDir, Pack, Policy},
    ops::{Compute, Precision},
    rundir::HashedModel,
};

fn load(path: &Path) -> Policy {
    ModelDir::open(path).unwrap().verify(None, None).unwrap();
    Policy::load(path, &Device::Cpu).unwrap()
}

fn logps(policy: &Policy) -> Vec<f32> {
    let mut pack = Pack::default();
    let prompt = pack.push_prompt(&[3, 70, 30, 2]);
    let targets = pack.push_completion(prompt, &[9, 99, 210, 36, 4]);
    policy.logps(&pack, &targets).unwrap()
}

/// Log-probabilities on a frozen base, and gradients of an adapter on it.
fn frozen(path: &Path, precision: Precision) -> (Vec<f32>, Vec<(String, Vec<f32>)>) {
    let mut policy = Policy::load_kept(path, &Compute::new(&Device::Cpu, precision), Kept::Frozen).unwrap();
    assert!(policy.trainable().is_empty());
    let before = logps(&policy);
    policy.add_lora(&LoraConfig { r: 2, ..Default::default() }, 5).unwrap();
    let mut pack = Pack::default();
    let prompt = pack.push_prompt(&[3, 70, 30, 2]);
    let targets = pack.push_completion(prompt, &[9, 99, 210, 36, 4]);
    let mut grads = Gradients::new();
    policy.backward(&pack, &targets, |l| Ok(vec![1.0; l.len()]), &mut grads).unwrap();
    assert!(grads.len() == 14 && grads.iter().any(|(_, t)| numbers(t).iter().any(|g| *g != 0.0)));
    (before, grads.iter().map(|(name, t)| (name.clone(), numbers(t))).collect())
}

/// All weights, bit for bit.
fn weights(policy: &Policy) -> Vec<(String, Vec<u32>)> {
    let bits = |t: &Tensor| numbers(t).into_iter().map(f32::to_bits).collect();
    policy.trainable().iter().map(|t| (t.name.clone(), bits(t.var.as_tensor()))).collect()
}

#[test]
fn a_file_is_the_model_that_its_import_is() {
    use GgmlDType::*;
    for (arch, kind) in [
        ("llama", F32),
        ("llama", F16),
        ("llama", BF16),
        ("llama", Q4_0),
        ("llama", Q4_1),
        ("llama", Q5_0),
        ("llama", Q5_1),
        ("llama", Q8_0),
        ("llama", Q2K),
        ("llama", Q3K),
        ("llama", Q4K),
        ("llama", Q5K),
        ("llama", Q6K),
        ("qwen2", Q4_0),
        ("smollm3", Q6K),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut gguf = Gguf::new(arch, kind);
        if arch == "qwen2" {
            for (part, width) in [("q", HEADS * HEAD_DIM), ("k", KV_HEADS * HEAD_DIM), ("v", KV_HEADS * HEAD_DIM)] {
                let to = format!("model.layers.0.self_attn.{part}_proj.bias");
                gguf.tensor(&format!("blk.0.attn_{part}.bias"), &to, &[width], F32);
            }
        }
        gguf.import(dir.path(), WeightType::F32).unwrap();
        let (file, out) = (dir.path().join("model.gguf"), dir.path().join("out"));
        let (a, b) = (load(&file), load(&out));
        assert_eq!(weights(&a), weights(&b), "{arch} {kind:?}");
        assert_eq!(logps(&a), logps(&b), "{arch} {kind:?}");
        assert!(logps(&a).iter().all(|p| *p < 0.0));
        // Frozen, what lies in blocks stays in them: the same bits, forward and backward.
        for precision in [Precision::F32, Precision::Bf16] {
            let frozen = |path: &Path| frozen(path, precision);
            assert_eq!(frozen(&file), frozen(&out), "{arch} {kind:?} {precision:?}");
        }
        let opened = GgufFile::open(&file).unwrap();
        for (name, bits) in weights(&a) {
            let blocks = opened.blocks(&name).unwrap();
            let kept = matches!(kind, Q4_0 | Q8_0 | Q4K | Q5K | Q6K) && !name.ends_with("norm.weight");
            assert_eq!(blocks.is_some(), kept && !name.ends_with("bias"), "{kind:?} {name}");
            assert_eq!(blocks.as_ref().map(|blocks| blocks.size() as u64), opened.block_bytes(&name));
            if let Some(blocks) = blocks {
                assert!(blocks.unpack_all().into_iter().map(f32::to_bits).eq(bits), "{kind:?} {name}");
            }
        }
        let [own, imported] = [&file, &out].map(|path| model::codec(path).unwrap());
        assert_eq!(own.hash(), imported.hash());
        assert_eq!(own.end_ids(), imported.end_ids());
        assert!(own.knows_model() && imported.knows_model());
        // What is trained as a whole is a model directory.
        a.save(&dir.path().join("saved")).unwrap();
        b.save(&dir.path().join("other")).unwrap();
        let mut names: Vec<_> = dir.path().join("saved").read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names.len(), 5, "{names:?}");
        for name in names {
            let [a, b] = ["saved", "other"].map(|saved| fs::read(dir.path().join(saved).join(&name)).unwrap());
            assert!(a == b, "{}", name.display());
        }
    }
}

#[test]
fn an_adapter_names_the_file_and_loads_again() {
    let dir = tempfile::tempdir().unwrap();
    let gguf = Gguf::new("llama", GgmlDType::Q8_0);
    gguf.import(dir.path(), WeightType::F32).unwrap();
    let (file, out) = (dir.path().join("model.gguf"), dir.path().join("out"));
    let lora = LoraConfig { r: 2, ..Default::default() };
    let trained = |path: &Path| {
        let mut policy = load(path);
        policy.add_lora(&lora, 3).unwrap();
        for (i, t) in policy.trainable().iter().enumerate() {
            let ones = Tensor::full(0.01 * (i as f32 + 1.0), t.var.dims(), &Device::Cpu).unwrap();
            t.var.set(&ones).unwrap();
        }
        policy.weights_changed();
        policy
    };
    let policy = trained(&file);
    assert_eq!(logps(&policy), logps(&trained(&out)));
    let adapter = dir.path().join("adapter");
    policy.save(&adapter).unwrap();
    let config = json(adapter.join("adapter_config.json"));
    assert_eq!(config["base_model_name_or_path"], file.canonicalize().unwrap().display().to_string());
    let mut again = load(&adapter);
    assert_eq!(logps(&again), logps(&policy));
    assert!(ModelDir::open(&adapter).unwrap().is_gguf());
    assert_eq!(model::codec(&adapter).unwrap().hash(), model::codec(&file).unwrap().hash());
    // A base beside it, by a name of its own.
    let named = serde_json::json!({ "base_model_name_or_path": "../model.gguf" });
    let mut config = config;
    config["base_model_name_or_path"] = named["base_model_name_or_path"].clone();
    fs::write(adapter.join("adapter_config.json"), config.to_string()).unwrap();
    assert_eq!(logps(&load(&adapter)), logps(&policy));

    let files = |path: &Path| HashedModel::of(path).unwrap().files;
    let names: Vec<String> = files(&adapter).into_keys().collect();
    assert_eq!(
        names,
        [
            "adapter_config.json",
            "adapter_model.safetensors",
            "base/model.gguf",
            "generation_config.json",
            "tokenizer.json",
            "tokenizer_config.json"
        ]
    );
    let hash = files(&file)["model.gguf"].clone();
    assert_eq!(hash, files::sha256_file(&file).unwrap());
    assert_eq!(files(&file).len(), 1);

    again.merge().unwrap();
    again.save(&dir.path().join("merged")).unwrap();
    let near = |(a, b): (f32, f32)| assert!((a - b).abs() < 1e-4, "{a} is not {b}");
    logps(&load(&dir.path().join("merged"))).into_iter().zip(logps(&policy)).for_each(near);
    // What is in blocks is not made into others.
    let refused = |quantize| ModelDir::open(&adapter).unwrap().verify(None, quantize);
    refused(None).unwrap();
    let error = refused(Some(Quantize::Nf4)).unwrap_err();
    assert!(error.message().starts_with("quantize: model.layers.0.mlp.down_proj.weight is in blocks already in "));
    let brought = ModelDir::open(&file).unwrap().footprint(None).unwrap();
    assert_eq!(brought.blocks.len(), 8);
    assert_eq!(brought.blocks["model.layers.0.mlp.up_proj.weight"], (HIDDEN * HIDDEN / 32 * 34) as u64);
    // With the base gone, it is named.
    fs::remove_file(&file).unwrap();
    let error = ModelDir::open(&adapter).err().unwrap();
    assert!(error.message().ends_with("is \"../model.gguf\", which is neither a model directory nor a GGUF file"));
}

#[test]
fn a_directory_with_a_file_alone_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = Gguf::new("llama", GgmlDType::F32).write(dir.path());
    let error = ModelDir::open(dir.path()).err().unwrap();
    assert_eq!(error.message(), format!("{} has no config.json, but {}", dir.path().display(), path.display()));
    fs::write(dir.path().join("notes.txt"), "no model").unwrap();
    let error = ModelDir::open(&dir.path().join("notes.txt")).err().unwrap();
    assert_eq!(error.code(), Code::GgufFormat);
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures").join(name)
}

/// Copies a model of the fixtures, changed.
fn changed(name: &str, to: &Path, change: impl Fn(&mut serde_json::Value, &mut HashMap<String, Tensor>)) {
    let from = fixture("models").join(name);
    let mut config = json(from.join("config.json"));
    let mut tensors = safetensors::load(from.join("model.safetensors"), &Device::Cpu).unwrap();
    change(&mut config, &mut tensors);
    fs::create_dir_all(to).unwrap();
    fs::write(to.join("config.json"), config.to_string()).unwrap();
    safetensors::save(&tensors, to.join("model.safetensors")).unwrap();
}

/// Files that the gguf package has made of models of the fixtures: the same tensors, names and log-probabilities.
#[test]
fn gemma_3_and_qwen3_moe_are_the_directories_that_they_were_made_of() {
    for (file, name) in [("gemma3", "gemma3"), ("qwen3moe", "qwen3-moe")] {
        let dir = tempfile::tempdir().unwrap();
        let (file, base) = (fixture("import").join(format!("{file}.gguf")), dir.path().join("base"));
        changed(name, &base, |config, tensors| match name {
            // llama.cpp divides by the root of the head's size.
            "gemma3" => config["query_pre_attn_scalar"] = 6.into(),
            _ => {
                config["mlp_only_layers"] = serde_json::json!([]);
                tensors.retain(|name, _| !name.contains("layers.1.mlp"));
                let first = tensors.iter().filter(|(name, _)| name.contains("layers.0.mlp"));
                let first: Vec<_> = first.map(|(name, t)| (name.replace("layers.0", "layers.1"), t.clone())).collect();
                tensors.extend(first);
            }
        });
        gguf(&file, &dir.path().join("out"), WeightType::F32).unwrap();
        let [direct, imported, expected] = [&file, &dir.path().join("out"), &base].map(|path| load(path));
        assert_eq!(weights(&direct), weights(&imported), "{name}");
        let shapes = |policy: &Policy| -> Vec<_> { policy.trainable().iter().map(|t| t.name.clone()).collect() };
        assert_eq!(shapes(&direct), shapes(&expected));
        let logps = |policy: &Policy| {
            let mut pack = Pack::default();
            let prompt = pack.push_prompt(&[3, 7, 30, 2, 9]);
            let targets = pack.push_completion(prompt, &[9, 9, 21, 36, 4, 11]);
            policy.logps(&pack, &targets).unwrap()
        };
        let near = |(a, b): (f32, f32)| assert!((a - b).abs() < 2e-5, "{name}: {a} is not {b}");
        logps(&direct).into_iter().zip(logps(&expected)).for_each(near);
    }
}

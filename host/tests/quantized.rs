//! A base in NF4: it computes with what its blocks mean and nothing else, an adapter remembers it, and what cannot be
//! had so is refused by name. (PEFT's numbers on such a base: `nf4-lora` in reference.rs.)
#![allow(clippy::unwrap_used, missing_docs)]

use candle_core::{Device, Tensor};
use ldalign::{
    Code,
    config::LoraConfig,
    model::{Gradients, Kept, ModelConfig, Pack, Policy},
    ops::{Blocks, Compute, Precision},
};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/models").join(name)
}

fn load(dir: &Path, precision: Precision, kept: Kept) -> Policy {
    Policy::load_kept(dir, &Compute::new(&Device::Cpu, precision), kept).unwrap()
}

fn numbers(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// The model whose linear modules have the numbers that their NF4 means.
fn unpacked(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let config = fixture(name).join("config.json");
    fs::copy(&config, dir.path().join("config.json")).unwrap();
    let modules = ModelConfig::load(&config).unwrap().modules();
    let mut tensors: HashMap<String, Tensor> =
        candle_core::safetensors::load(fixture(name).join("model.safetensors"), &Device::Cpu).unwrap();
    for module in modules {
        let tensor = tensors.get_mut(&format!("{}.weight", module.name)).unwrap();
        let (rows, columns) = tensor.dims2().unwrap();
        let blocks = Blocks::nf4(rows, columns, &numbers(tensor)).unwrap();
        *tensor = Tensor::from_vec(blocks.unpack_all(), (rows, columns), &Device::Cpu).unwrap();
    }
    candle_core::safetensors::save(&tensors, dir.path().join("model.safetensors")).unwrap();
    dir
}

/// Log-probabilities, hidden states and the gradients of adapters, of rows that are few and many.
fn everything(policy: &mut Policy) -> Vec<Vec<f32>> {
    let (mut pack, mut targets) = (Pack::default(), vec![]);
    for row in 0..6u32 {
        let prompt = pack.push_prompt(&(0..4 + row).map(|i| (7 * i + row) % 30 + 2).collect::<Vec<_>>());
        targets.extend(pack.push_completion(prompt, &(0..5).map(|i| (5 * i + row) % 30 + 2).collect::<Vec<_>>()));
    }
    let mut one = Pack::default();
    one.push_prompt(&[3, 4, 5]);
    let mut all = vec![policy.logps(&pack, &targets).unwrap()];
    all.extend([&pack, &one].map(|pack| numbers(&policy.hidden_states(pack, policy.num_layers()).unwrap())));
    policy.add_lora(&LoraConfig { r: 2, ..Default::default() }, 1).unwrap();
    for t in policy.trainable() {
        // B starts at 0, which would leave A without a gradient.
        t.var.set(&(t.var.as_tensor() + 0.1).unwrap()).unwrap();
    }
    policy.weights_changed();
    let mut gradients = Gradients::new();
    policy.backward(&pack, &targets, |l| Ok(vec![1.0; l.len()]), &mut gradients).unwrap();
    assert!(gradients.keys().all(|name| name.contains("lora_")));
    all.extend(gradients.values().map(numbers));
    all
}

#[test]
fn a_base_in_nf4_equals_the_base_of_its_numbers_to_the_bit() {
    for name in ["llama", "qwen2", "gemma3", "biases"] {
        let dir = unpacked(name);
        for precision in [Precision::F32, Precision::Bf16] {
            let found = everything(&mut load(&fixture(name), precision, Kept::Nf4));
            let expected = everything(&mut load(dir.path(), precision, Kept::Frozen));
            assert_eq!(found, expected, "{name} {precision:?}");
            // The comparison can fail: the model itself is another.
            let other = everything(&mut load(&fixture(name), precision, Kept::Frozen));
            assert_ne!(found, other, "{name} {precision:?}");
        }
    }
}

/// What is frozen from the start is what was frozen later.
#[test]
fn a_frozen_base_equals_one_that_could_be_trained() {
    for name in ["llama-bf16", "qwen2-sharded", "gemma3"] {
        for precision in [Precision::F32, Precision::Bf16] {
            let [frozen, trained] =
                [Kept::Frozen, Kept::Trained].map(|kept| everything(&mut load(&fixture(name), precision, kept)));
            assert_eq!(frozen, trained, "{name} {precision:?}");
        }
    }
}

#[test]
fn an_adapter_remembers_what_its_base_was_made_into() {
    let mut policy = load(&fixture("llama"), Precision::F32, Kept::Nf4);
    let expected = everything(&mut policy);
    let dir = tempfile::tempdir().unwrap();
    policy.save(dir.path()).unwrap();
    let logps = |policy: &Policy| {
        let (mut pack, ids) = (Pack::default(), [2, 3, 4, 5]);
        let prompt = pack.push_prompt(&ids);
        let targets = pack.push_completion(prompt, &ids);
        policy.logps(&pack, &targets).unwrap()
    };
    let again = Policy::load(dir.path(), &Device::Cpu).unwrap();
    assert_eq!(logps(&again), logps(&policy));
    // Without the file beside it, it is an adapter of the model as it is.
    let file = dir.path().join("base_quantization.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    assert_ne!(logps(&Policy::load(dir.path(), &Device::Cpu).unwrap()), logps(&policy));
    fs::write(&file, text.replace("nf4", "nf5")).unwrap();
    let error = Policy::load(dir.path(), &Device::Cpu).err().unwrap();
    assert_eq!(error.code(), Code::ModelLora);
    assert!(error.message().contains("unknown variant `nf5`"), "{error}");
    assert!(expected.len() > 3);
}

#[test]
fn what_cannot_be_in_nf4_is_refused() {
    let compute = Compute::new(&Device::Cpu, Precision::F32);
    let error = Policy::load_kept(&fixture("qwen3-moe"), &compute, Kept::Nf4).err().unwrap();
    assert_eq!(error.message(), "quantize: a model with experts is not made into 4 bits");
    // A base that was loaded to be read is not written as a model.
    let read = load(&fixture("llama"), Precision::F32, Kept::Nf4);
    let error = read.save(tempfile::tempdir().unwrap().path()).unwrap_err();
    assert!(error.message().ends_with("was rounded when it was loaded, to be used alone"), "{error}");
    assert!(read.trainable().is_empty());
}

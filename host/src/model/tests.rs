//! Whole models by the plain operations, which serve CUDA, against the CPU's kernels.
#![allow(clippy::unwrap_used)]

use super::{parameter::Parameter, transformer::Transformer, *};
use crate::ops::{Compute, Precision};
use candle_core::{Device, Tensor};
use std::{path::Path, sync::Arc};

fn numbers(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// The results of every kind of pass of a model, by name.
fn results(model: &str, compute: &Compute) -> Vec<(String, Vec<f32>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/models").join(model);
    let mut policy = Policy::load_on(&dir, compute).unwrap();
    let mut pack = Pack::default();
    let prompt = pack.push_prompt(&[3, 9, 27, 4, 11]);
    let mut targets = pack.push_completion(prompt, &[5, 8, 13, 21, 34, 2]);
    targets.extend(pack.push_completion(prompt, &[30, 1]));
    pack.push_prompt(&[7, 7, 19]);
    let mut out = vec![("logps".to_owned(), policy.logps(&pack, &targets).unwrap())];
    for layer in 0..=policy.num_layers() {
        out.push((format!("states {layer}"), numbers(&policy.hidden_states(&pack, layer).unwrap())));
    }
    for (budget, what) in [(1 << 30, "kept"), (0, "computed again")] {
        policy.set_activation_budget(budget);
        let mut grads = Gradients::new();
        let loss_gradient = |logps: &[f32]| Ok((0..logps.len()).map(|i| if i % 3 == 0 { -0.5 } else { 1.0 }).collect());
        policy.backward(&pack, &targets, loss_gradient, &mut grads).unwrap();
        // Once more, to add to what is there.
        policy.backward(&pack, &targets, loss_gradient, &mut grads).unwrap();
        out.extend(grads.iter().map(|(name, g)| (format!("gradient of {name}, {what}"), numbers(g))));
    }

    let mut cache = policy.cache(3, 12).unwrap();
    policy.prefill(&mut cache, &[(2, &[3, 9, 27]), (0, &[6])]).unwrap();
    policy.prefill(&mut cache, &[(2, &[4, 11]), (0, &[5, 5, 1])]).unwrap();
    cache.share(2, 1, 4).unwrap();
    for step in 0..4 {
        let tokens: Vec<(usize, u32)> = [1, 2, 0].into_iter().map(|slot| (slot, 3 * step + slot as u32)).collect();
        out.push((format!("logits {step}"), policy.decode(&mut cache, &tokens, <[f32]>::to_vec).unwrap()));
    }
    out
}

/// Largest difference relative to the largest number.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let scale = b.iter().fold(1e-20f32, |m, x| m.max(x.abs()));
    a.iter().zip(b).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / scale
}

fn compare(models: &[&str], precision: Precision, tolerance: f32) {
    for model in models {
        let kernels = results(model, &Compute::new(&Device::Cpu, precision));
        let plain = results(model, &Compute::plain(&Device::Cpu, precision));
        assert!(kernels != plain, "{model}: two ways of summing would not round alike throughout");
        assert_eq!(kernels.len(), plain.len());
        for ((name, a), (_, b)) in plain.iter().zip(&kernels) {
            let d = difference(a, b);
            assert!(d < tolerance, "{model}, {name}: {d:e}");
        }
    }
}

#[test]
fn plain_operations_give_what_kernels_give() {
    let models = ["llama", "mistral", "qwen2", "qwen3", "yarn", "biases", "smollm3", "gemma3", "qwen3-moe"];
    compare(&models, Precision::F32, 3e-5);
    compare(&["llama-lora", "llama-lora-patterns"], Precision::F32, 3e-5);
}

/// What building a model asks for is what `check` reads and estimates.
#[test]
fn a_model_asks_for_the_tensors_of_its_config() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/models");
    let mut families = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(fixtures).unwrap() {
        let config = Arc::new(ModelConfig::of(&entry.unwrap().path()).unwrap());
        families.insert(config.raw["model_type"].to_string());
        let (compute, mut asked) = (Compute::new(&Device::Cpu, Precision::F32), vec![]);
        Transformer::build(&config, &compute, &mut |name, shape| {
            asked.push((name.to_owned(), shape.to_vec()));
            Ok(Parameter::new(name, &Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu)?.into()))
        })
        .unwrap();
        let mut said = config.tensors();
        asked.sort_unstable();
        said.sort_unstable();
        assert_eq!(asked, said);
    }
    assert_eq!(families.len(), 7, "a fixture of every family: {families:?}");
}

/// candle rounds the results of bf16 products too, so this finds gross faults alone.
#[test]
fn plain_operations_in_bf16_are_near_the_kernels() {
    compare(&["llama", "llama-lora"], Precision::Bf16, 0.15);
}

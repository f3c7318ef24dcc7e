//! Likelihoods after soft prefixes against PyTorch (tests/fixtures/make_prefix.py), finite differences and the engine
//! itself.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::{
    latents::PolicyServices,
    library::Kind,
    ops::{Compute, Precision},
    plugin::{PluginRecord, Pooling, Services},
};
use candle_core::Device;
use ldalign_abi::ErrorCode;
use serde_json::Value;
use std::{
    path::Path,
    sync::{Arc, RwLock},
};

fn load(name: &str, precision: Precision) -> Policy {
    load_on(name, &Compute::new(&Device::Cpu, precision))
}

fn load_on(name: &str, compute: &Compute) -> Policy {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/models").join(name);
    Policy::load_on(&dir, compute).unwrap()
}

fn fixture() -> (Vec<[Vec<u32>; 2]>, Value) {
    let fixture: Value = serde_json::from_str(include_str!("../../../../tests/fixtures/prefix.json")).unwrap();
    (serde_json::from_value(fixture["samples"].clone()).unwrap(), fixture)
}

fn view([prompt_ids, response_ids]: &[Vec<u32>; 2]) -> Sample<'_> {
    Sample { prompt: "", response: "", prompt_ids, response_ids }
}

/// Likelihoods and gradients.
fn run(policy: &Policy, ids: &[[Vec<u32>; 2]], prefixes: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let samples: Vec<Sample<'_>> = ids.iter().map(view).collect();
    let (mut out, mut gradients) = (vec![f32::NAN; samples.len()], vec![f32::NAN; prefixes.len()]);
    nll(policy, &samples, prefixes, &mut out, &mut gradients).unwrap();
    let mut again = vec![f32::NAN; samples.len()];
    nll(policy, &samples, prefixes, &mut again, &mut []).unwrap();
    assert_eq!(out, again, "with and without gradient");
    (out, gradients)
}

fn assert_close(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1e-20f32, |m, x| m.max(x.abs()));
    let off = found.iter().zip(expected).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / scale;
    assert!(off < tolerance, "{what}: relative difference {off:e}");
}

/// Prefixes of `rows` rows of 24 numbers for `samples` samples.
fn prefixes(samples: usize, rows: usize) -> Vec<f32> {
    (0..samples * rows * 24).map(|i| ((i * i % 97) as f32 / 48.0 - 1.0) * 0.6).collect()
}

#[test]
fn likelihoods_and_gradients_equal_transformers() {
    let (ids, fixture) = fixture();
    for (name, expected) in fixture["models"].as_object().unwrap() {
        let mut policy = load(name, Precision::F32);
        let numbers = |key: &str| -> Vec<Vec<f32>> { serde_json::from_value(expected[key].clone()).unwrap() };
        let likelihoods: Vec<f32> = serde_json::from_value(expected["nll"].clone()).unwrap();
        for (budget, what) in [(1 << 30, "kept"), (0, "computed again")] {
            policy.set_activation_budget(budget);
            let (found, gradients) = run(&policy, &ids, &numbers("prefixes").concat());
            assert_close(&found, &likelihoods, 1e-5, &format!("{name}, {what}"));
            for (found, expected) in gradients.chunks(3 * 24).zip(numbers("gradients")) {
                assert_close(found, &expected, 1e-4, &format!("gradients of {name}, {what}"));
            }
        }
        let alone: Vec<Option<f32>> = serde_json::from_value(expected["nll_alone"].clone()).unwrap();
        for (ids, expected) in ids.iter().zip(alone) {
            if let Some(expected) = expected {
                assert_close(
                    &run(&policy, std::slice::from_ref(ids), &[]).0,
                    &[expected],
                    1e-5,
                    &format!("{name} by itself"),
                );
            }
        }
    }
}

#[test]
fn gradients_are_finite_differences() {
    let (ids, _) = fixture();
    for name in ["mistral", "qwen3", "llama-lora"] {
        let policy = load(name, Precision::F32);
        let at = prefixes(ids.len(), 2);
        let (_, gradients) = run(&policy, &ids, &at);
        // Along a few directions, all samples at a time: they do not touch each other.
        for salt in 1..4 {
            let direction: Vec<f32> = (0..at.len()).map(|i| ((i * salt) as f32 * 0.7).sin()).collect();
            let step = |by: f32| -> Vec<f32> { at.iter().zip(&direction).map(|(x, d)| x + by * d).collect() };
            let (up, down) = (run(&policy, &ids, &step(1e-3)).0, run(&policy, &ids, &step(-1e-3)).0);
            let slopes: Vec<f32> = up.iter().zip(&down).map(|(up, down)| (up - down) / 2e-3).collect();
            let dot = |(g, d): (&[f32], &[f32])| g.iter().zip(d).map(|(g, d)| g * d).sum::<f32>();
            let expected: Vec<f32> = gradients.chunks(48).zip(direction.chunks(48)).map(dot).collect();
            assert_close(&slopes, &expected, 1e-2, name);
        }
    }
}

#[test]
fn a_sample_does_not_see_the_samples_beside_it() {
    let ids = |n: u32, salt: u32| -> Vec<u32> { (0..n).map(|i| (i * i + salt) % 30).collect() };
    let all: Vec<[Vec<u32>; 2]> = (0..9).map(|i| [ids(1 + 5 * i % 11, i), ids(1 + 7 * i % 23, i + 3)]).collect();
    let cases = [("llama", Precision::F32), ("mistral", Precision::F32), ("llama-lora", Precision::F32)];
    for (name, precision) in cases.into_iter().chain([("qwen3", Precision::Bf16), ("llama-lora", Precision::Bf16)]) {
        let mut policy = load(name, precision);
        for rows in [1, 4] {
            let at = prefixes(all.len(), rows);
            policy.set_activation_budget(1 << 30);
            let together = run(&policy, &all, &at);
            let mut alone = (vec![], vec![]);
            for (ids, at) in all.chunks(1).zip(at.chunks(rows * 24)) {
                let (likelihood, gradient) = run(&policy, ids, at);
                alone.0.extend(likelihood);
                alone.1.extend(gradient);
            }
            assert_eq!(together, alone, "{name} {precision:?}");
            // A pass a sample, each layer computed again.
            policy.set_activation_budget(0);
            assert_eq!(run(&policy, &all, &at), together, "{name} {precision:?}");
        }
    }
}

#[test]
fn rounded_products_and_plain_operations_are_near() {
    let (ids, _) = fixture();
    let at = prefixes(ids.len(), 3);
    for name in ["llama", "qwen2", "llama-lora"] {
        let exact = load(name, Precision::F32);
        let (likelihoods, gradients) = run(&exact, &ids, &at);
        let (plain, plain_gradients) = run(&load_on(name, &Compute::plain(&Device::Cpu, Precision::F32)), &ids, &at);
        assert!(plain_gradients != gradients, "two ways of summing would not round alike throughout");
        assert_close(&plain, &likelihoods, 1e-5, name);
        assert_close(&plain_gradients, &gradients, 1e-4, name);
        let (rounded, rounded_gradients) = run(&load(name, Precision::Bf16), &ids, &at);
        assert!(rounded != likelihoods);
        assert_close(&rounded, &likelihoods, 0.05, name);
        assert_close(&rounded_gradients, &gradients, 0.3, name);
    }
}

fn services(name: &str) -> PolicyServices {
    let record = PluginRecord {
        kind: Kind::Encoder,
        id: "test".into(),
        name: "test".into(),
        version: "1.0.0".into(),
        sha256: String::new(),
        options: Value::Null,
        files: Default::default(),
        origin: crate::share::State::Bundled.into(),
    };
    PolicyServices::new(Some(Arc::new(RwLock::new(load(name, Precision::F32)))), &[1], 0, &record)
}

#[test]
fn a_prefix_of_tokens_embeddings_is_those_tokens() {
    let services = services("qwen2");
    let ([prompt, tokens, response], mut embeddings) = ([vec![5, 6, 7], vec![9, 3], vec![4, 8, 1]], vec![f32::NAN; 48]);
    let nothing = Sample { prompt: "", response: "", prompt_ids: &tokens, response_ids: &[] };
    services.token_states(&[nothing], 0, &mut embeddings).unwrap();
    let likelihood = |prompt: &[u32], prefix: &[f32]| {
        let mut out = [f32::NAN];
        let sample = Sample { prompt: "", response: "", prompt_ids: prompt, response_ids: &response };
        services.prefix_nll(&[sample], prefix, &mut out, &mut []).unwrap();
        out[0]
    };
    let spelt = likelihood(&[&prompt[..], &tokens].concat(), &[]);
    assert_eq!(likelihood(&prompt, &embeddings), spelt);
    embeddings[7] += 0.5;
    assert_ne!(likelihood(&prompt, &embeddings), spelt);
}

#[test]
fn token_states_are_what_pooled_ones_are_means_of() {
    let (ids, _) = fixture();
    let (services, samples) = (services("llama"), ids.iter().map(view).collect::<Vec<_>>());
    let counts: Vec<usize> = samples.iter().map(tokens).collect();
    for layer in 0..=2 {
        let mut states = vec![f32::NAN; counts.iter().sum::<usize>() * 24];
        services.token_states(&samples, layer, &mut states).unwrap();
        let mut pooled = vec![f32::NAN; samples.len() * 24];
        services.hidden_states(&samples, layer, Pooling::MeanAll, &mut pooled).unwrap();
        let mut rest = &states[..];
        for (pooled, n) in pooled.chunks(24).zip(&counts) {
            let here;
            (here, rest) = rest.split_at(n * 24);
            let mean: Vec<f32> = (0..24).map(|j| (0..*n).map(|i| here[i * 24 + j]).sum::<f32>() / *n as f32).collect();
            assert_close(&mean, pooled, 1e-5, "mean");
        }
        // Alone as in company, to the bit.
        let mut alone = vec![f32::NAN; counts[3] * 24];
        services.token_states(&samples[3..], layer, &mut alone).unwrap();
        assert_eq!(alone, states[states.len() - alone.len()..]);
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let services = services("llama");
    let sample = |prompt_ids, response_ids| Sample { prompt: "", response: "", prompt_ids, response_ids };
    let refused = |samples: &[Sample<'_>], [prefixes, out, gradients]: [usize; 3], says: &str| {
        let e = services.prefix_nll(samples, &vec![0.0; prefixes], &mut vec![0.0; out], &mut vec![0.0; gradients]);
        let e = e.unwrap_err();
        assert!(e.code() == ErrorCode::FAILED && e.message().contains(says), "{e}");
    };
    let good = sample(&[3], &[4, 5]);
    refused(&[good, good], [48, 1, 0], "the likelihoods of these samples are 2 numbers, there is room for 1");
    refused(&[good, good], [72, 2, 0], "72 numbers are not prefixes of 2 samples, 24 numbers a row");
    refused(&[good, good], [48, 2, 47], "the gradients of these samples are 48 numbers, there is room for 47");
    refused(&[good, sample(&[3], &[])], [48, 2, 0], "a response has no token");
    refused(&[sample(&[], &[3])], [0, 1, 0], "nothing comes before a response");
    assert!(services.prefix_nll(&[], &[], &mut [], &mut []).is_ok());
    let e = services.token_states(&[good], 3, &mut [0.0; 72]).unwrap_err();
    assert!(e.message().contains("layer 3 asked for, the model has 0 (embeddings) to 2"), "{e}");
    let e = services.token_states(&[good], 1, &mut [0.0; 71]).unwrap_err();
    assert!(e.message().contains("the states of these samples are 72 numbers, there is room for 71"), "{e}");
    let e = services.token_states(&[good, sample(&[], &[])], 1, &mut [0.0; 72]).unwrap_err();
    assert!(e.message().contains("a sample has no token"), "{e}");
}

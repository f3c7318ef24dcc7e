//! Against PyTorch (fixtures/reference.py), through the files a run would read.
#![allow(clippy::unwrap_used)]

use super::*;
use ldalign_sdk::LatentShape;
use safetensors::{Dtype, serialize_to_file, tensor::TensorView};
use serde_json::Value;
use std::path::Path;

const SHAPE: LatentShape = LatentShape { slots: 2, dim: 3 };

fn reference() -> Value {
    serde_json::from_str(include_str!("../fixtures/reference.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn f32s(value: &Value) -> Vec<f32> {
    numbers(value).iter().map(|&v| v as f32).collect()
}

fn write(path: &Path, tensors: &[(&str, &[f32], [usize; 3])]) {
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, v, _)| v.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    let view = |(i, (name, _, shape)): (usize, &(&'static str, &[f32], [usize; 3]))| {
        (*name, TensorView::new(Dtype::F32, shape.to_vec(), &bytes[i]).unwrap())
    };
    let tensors: Vec<(&'static str, &[f32], [usize; 3])> =
        tensors.iter().map(|(n, v, s)| (if *n == "golden" { "golden" } else { "losing" }, *v, *s)).collect();
    serialize_to_file(tensors.iter().enumerate().map(view).collect::<Vec<_>>(), None, path).unwrap();
}

/// Two files as two `score`s write them, and options that name them.
fn files(dir: &Path, ridge: f64) -> Options {
    let reference = reference();
    let of = |key: &str| f32s(&reference[key]);
    let shape = [of("golden").len() / SHAPE.len(), SHAPE.slots, SHAPE.dim];
    let options = Options { better: dir.join("better.safetensors"), worse: dir.join("worse.safetensors"), ridge };
    write(&options.better, &[("golden", &of("golden"), shape), ("losing", &of("better"), shape)]);
    write(&options.worse, &[("golden", &of("golden"), shape), ("losing", &of("worse"), shape)]);
    options
}

fn fitted(ridge: f64) -> Learned {
    let dir = tempfile::tempdir().unwrap();
    let mut metric = Learned::new(files(dir.path(), ridge), Host::stand_in()).unwrap();
    metric.fit(Latents::new(&[0.0; 6], SHAPE), Latents::new(&[1.0; 6], SHAPE)).unwrap();
    metric
}

#[test]
fn weights_agree_with_pytorch() {
    let reference = reference();
    for (key, ridge) in [("0.1", 0.1), ("1.0", 1.0), ("30.0", 30.0)] {
        let found = fitted(ridge).weights.unwrap();
        for (found, expected) in found.iter().zip(numbers(&reference["weights"][key])) {
            assert!((found - expected).abs() < 1e-6, "ridge {ridge}: {found} {expected}");
        }
    }
}

#[test]
fn what_the_triplets_tell_apart_counts_and_more_of_them_are_in_order() {
    let metric = fitted(0.1);
    let weights = metric.weights.clone().unwrap();
    assert!(weights[0] > 1.0 && weights[1] > 1.0 && weights[2] == 0.0, "{weights:?}");
    let euclidean = metric.triplets.in_order(&[1.0; 6]);
    assert!(metric.triplets.in_order(&weights) > euclidean + 0.2, "{euclidean}");
    let held = fitted(1e9).weights.unwrap();
    assert!(held.iter().all(|w| (w - 1.0).abs() < 1e-6), "a strong pull keeps it Euclidean: {held:?}");
}

#[test]
fn a_weighted_norm_that_comes_back_from_its_state() {
    let metric = fitted(1.0);
    let state = metric.save().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut restored = Learned::new(files(dir.path(), 1.0), Host::stand_in()).unwrap();
    let (a, b) = (Latent::new(&[0.5, 1.0, -2.0, 0.0, 0.25, 3.0], 3), Latent::new(&[1.5, 1.0, 0.0, 0.0, 0.5, 3.0], 3));
    assert!(restored.distance(a, b).is_err(), "before fit");
    restored.load(&state).unwrap();
    assert_eq!(restored.save().unwrap(), state);
    let w = metric.weights.as_ref().unwrap();
    let expected = (w[0] + w[2] * 4.0 + w[4] * 0.0625).sqrt() as f32;
    assert_eq!(restored.distance(a, b), Ok(expected));
    assert_eq!(restored.distance(b, a), Ok(expected));
    assert_eq!(restored.distance(a, a), Ok(0.0));
    assert_eq!(fitted(1.0).save().unwrap(), state, "to the bit");
    assert!(restored.distance(Latent::new(&[1.0; 3], 3), Latent::new(&[1.0; 3], 3)).is_err());
    for bad in [&state[1..], &(-1f64).to_le_bytes(), &f64::NAN.to_le_bytes()] {
        assert!(restored.load(bad).is_err());
    }
}

#[test]
fn files_that_do_not_fit_are_refused_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    let options = files(dir.path(), 1.0);
    let refused =
        |options: &Options| Learned::new(options.clone(), Host::stand_in()).err().unwrap().message().to_owned();
    let spoil = |tensors: &[(&str, &[f32], [usize; 3])]| {
        let spoilt = Options { worse: dir.path().join("spoilt.safetensors"), ..options.clone() };
        write(&spoilt.worse, tensors);
        refused(&spoilt)
    };
    let missing = Options { worse: dir.path().join("nowhere"), ..options.clone() };
    assert!(refused(&missing).ends_with("nowhere: No such file or directory (os error 2)"));
    let one = [1, 2, 3];
    assert!(spoil(&[("golden", &[1.0; 6], one)]).ends_with("not a latents.safetensors of a run: no tensor `losing`"));
    assert!(spoil(&[("golden", &[1.0; 6], one), ("losing", &[1.0; 6], [1, 3, 2])]).contains("they must be alike"));
    assert!(spoil(&[("golden", &[f32::NAN; 6], one), ("losing", &[1.0; 6], one)]).contains("holds a NaN"));
    assert!(spoil(&[("golden", &[1.0; 6], one), ("losing", &[1.0; 6], one)]).contains("must come from the same rows"));
    std::fs::write(&missing.worse, "text").unwrap();
    assert!(refused(&missing).contains("not a latents.safetensors of a run"));

    let mut metric = Learned::new(options, Host::stand_in()).unwrap();
    let other = LatentShape { slots: 1, dim: 6 };
    let e = metric.fit(Latents::new(&[0.0; 6], other), Latents::new(&[0.0; 6], other)).unwrap_err();
    assert!(e.message().starts_with("the annotated latents are 2 x 3 numbers, the run's 1 x 6"), "{e}");
    for ridge in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(Options { ridge, better: "".into(), worse: "".into() }.validate().is_err(), "{ridge}");
    }
}

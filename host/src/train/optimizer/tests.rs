#![allow(clippy::unwrap_used)]
use super::*;
use crate::ops::Precision;
use candle_core::Device;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Fixture {
    shapes: BTreeMap<String, Vec<usize>>,
    start: BTreeMap<String, Vec<f32>>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    gradients: BTreeMap<String, Vec<f32>>,
    norm: f64,
    params: BTreeMap<String, Vec<f32>>,
}

impl Fixture {
    fn read() -> Self {
        let text = include_str!("../../../../tests/fixtures/dpo/dpo.json");
        let mut all: serde_json::Value = serde_json::from_str(text).unwrap();
        serde_json::from_value(all["adamw"].take()).unwrap()
    }
    fn tensor(&self, name: &str, data: &[f32]) -> Tensor {
        Tensor::from_slice(data, &self.shapes[name][..], &Device::Cpu).unwrap()
    }
    fn trainable(&self) -> Vec<Trainable> {
        let var = |(name, data): (&String, &Vec<f32>)| Trainable {
            name: name.clone(),
            var: Var::from_tensor(&self.tensor(name, data)).unwrap(),
        };
        self.start.iter().map(var).collect()
    }
}

fn config() -> TrainConfig {
    let base = TrainConfig::default();
    TrainConfig { weight_decay: 0.1, adam_beta1: 0.8, adam_beta2: 0.95, adam_epsilon: 1e-6, ..base }
}

/// Our kernels, and the plain operations.
fn backends() -> [Compute; 2] {
    [Compute::new(&Device::Cpu, Precision::F32), Compute::plain(&Device::Cpu, Precision::F32)]
}

/// Three clipped steps.
fn equals_torch(compute: &Compute) -> Vec<u32> {
    let fixture = Fixture::read();
    let trainable = fixture.trainable();
    let mut adamw = AdamW::new(compute, &trainable, &config()).unwrap();
    for (i, step) in fixture.steps.iter().enumerate() {
        let gradients = step.gradients.iter().map(|(n, g)| (n.clone(), fixture.tensor(n, g))).collect();
        let norm = norm(compute, &gradients).unwrap();
        assert!((norm / step.norm - 1.0).abs() < 1e-6, "norm {norm}, torch {}", step.norm);
        adamw.step(i as u64 + 1, &gradients, 0.01, clip(norm, 1.5)).unwrap();
        for t in &trainable {
            let got = t.var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for (a, b) in got.iter().zip(&step.params[&t.name]) {
                assert!((a - b).abs() < 3e-7, "step {i}, {}: {a}, torch {b}", t.name);
            }
        }
    }
    let moments = adamw.params.iter().flat_map(|p| &p.moments);
    moments.flat_map(|m| m.flatten_all().unwrap().to_vec1::<f32>().unwrap()).map(f32::to_bits).collect()
}

#[test]
fn equals_torch_by_every_backend() {
    let [kernels, plain] = backends().map(|compute| equals_torch(&compute));
    assert!(kernels != plain, "two ways of summing would not round alike throughout");
}

#[test]
fn a_loaded_state_goes_on_in_the_same_bits() {
    let fixture = Fixture::read();
    let path = tempfile::tempdir().unwrap().keep().join("state");
    let run = |compute: &Compute, stop: bool| {
        let trainable = fixture.trainable();
        let mut adamw = AdamW::new(compute, &trainable, &config()).unwrap();
        for (i, step) in fixture.steps.iter().enumerate() {
            if stop && i == 2 {
                super::super::tensors::write(&path, &adamw.entries()).unwrap();
                adamw = AdamW::new(compute, &trainable, &config()).unwrap();
                adamw.load(&Tensors::open(&path).unwrap()).unwrap();
            }
            let gradients = step.gradients.iter().map(|(n, g)| (n.clone(), fixture.tensor(n, g))).collect();
            adamw.step(i as u64 + 1, &gradients, 0.01, 1.0).unwrap();
        }
        trainable.iter().flat_map(|t| t.var.flatten_all().unwrap().to_vec1().unwrap()).collect::<Vec<f32>>()
    };
    for compute in backends() {
        assert_eq!(run(&compute, true), run(&compute, false));
    }
}

#[test]
fn a_tensor_that_is_not_finite_is_named_and_the_norm_ignores_threads() {
    let tensor = |data: Vec<f32>| Tensor::new(data, &Device::Cpu).unwrap();
    let [kernels, plain] = backends();
    for compute in [&kernels, &plain] {
        let mut gradients = Gradients::from([("a".into(), tensor(vec![3.0])), ("b".into(), tensor(vec![4.0]))]);
        assert_eq!(norm(compute, &gradients).unwrap(), 5.0);
        gradients.insert("b".into(), tensor(vec![1.0, f32::NAN]));
        assert_eq!(norm(compute, &gradients).unwrap_err().to_string(), "the gradient of b is not finite");
    }

    let many = Gradients::from([("a".into(), tensor((0..300_001).map(|i| (i as f32).sin()).collect()))]);
    let by = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| norm(&kernels, &many)).unwrap().to_bits()
    };
    assert_eq!(by(1), by(3));
}

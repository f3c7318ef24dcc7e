//! A signal stops training between steps, and being stopped after every single step changes no bit.
//! A file of its own, since the signal concerns the whole process.
#![allow(clippy::unwrap_used)]

use candle_core::Device;
use ldalign::{Code, config::TrainConfig, data::tokens::TokenStore, interrupt, model::Policy, train};
use std::{fs, path::Path};

fn weights(policy: &Policy) -> Vec<u32> {
    let numbers = |t: &ldalign::model::Trainable| t.var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    policy.trainable().iter().flat_map(numbers).map(f32::to_bits).collect()
}

#[test]
fn stopped_after_every_step_it_ends_in_the_same_bits() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/dpo/model");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows");
    let row = |i: u32| Ok([vec![3 + i, 4], (0..i + 1).map(|k| 5 + 2 * k + i).collect()]);
    TokenStore::write(&path, (0..7).map(row)).unwrap();
    let rows = TokenStore::open(&path, 2).unwrap();
    let config = TrainConfig {
        learning_rate: 1e-3,
        per_device_train_batch_size: 1,
        gradient_accumulation_steps: 2,
        num_train_epochs: 2,
        logging_steps: 3,
        ..Default::default()
    };
    let sft = |name: &str| {
        let mut policy = Policy::load(&model, &Device::Cpu).unwrap();
        let ended =
            train::sft(&mut policy, &train::SftData { rows: &rows, weights: None }, &config, 1, &dir.path().join(name));
        let metrics = fs::read_to_string(dir.path().join(name).join("metrics.jsonl")).unwrap();
        ended.map(|()| (weights(&policy), metrics))
    };
    let expected = sft("whole").unwrap();

    interrupt::install().unwrap();
    signal_hook::low_level::raise(signal_hook::consts::SIGTERM).unwrap();
    // The question stays answered with yes, so every call takes one step. 8 steps: 7 stops, the last ends.
    for step in 1..8 {
        assert_eq!(sft("stopped").unwrap_err().code(), Code::RunInterrupted);
        assert!(dir.path().join(format!("stopped/checkpoint-{step}/state.json")).is_file());
    }
    assert!(sft("stopped").unwrap() == expected);
}

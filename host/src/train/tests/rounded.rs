//! With products in bf16: copies rounded from weights that have changed since are never read.

use super::*;

/// The tiny model with products in bf16, of which copies are rounded already, as reference or evaluation leave it.
fn warm(all: &Data, lora: Option<&LoraConfig>) -> Policy {
    let mut policy = Policy::load_as(&fixtures().join("model"), &Device::Cpu, Precision::Bf16).unwrap();
    if let Some(lora) = lora {
        policy.add_lora(lora, 1).unwrap();
    }
    reference_logps(&policy, &all.pairs, |_| Ok(())).unwrap();
    policy
}

#[test]
fn a_resumed_round_whose_reference_was_computed_again_ends_in_the_same_bits() {
    let all = Data::new(7);
    let lora = LoraConfig { r: 2, ..Default::default() };
    for lora in [None, Some(&lora)] {
        let dir = |name: &str| all.dir.path().join(format!("{name}-{}", lora.is_some()));
        let run = |dir: &Path, crash: Option<u64>| {
            let mut policy = warm(&all, lora);
            let weigh = |at: StepContext, distances: &[f32]| match crash {
                Some(step) if at.step == step => Err(Error::new(Code::EngineTensor, "crash")),
                _ => schedule(at, distances),
            };
            dpo(&mut policy, &all.dpo(&weigh), &uneven(), 3, dir).map(|()| weights(&policy))
        };
        let expected = run(&dir("whole"), None).unwrap();
        run(&dir("crash"), Some(7)).unwrap_err();
        assert!(run(&dir("crash"), None).unwrap() == expected);
    }
}

#[test]
fn a_step_without_a_gradient_leaves_no_older_copies() {
    let all = Data::new(7);
    let nothing_first = |at: StepContext, d: &[f32]| if at.step < 2 { Ok(vec![0.0; d.len()]) } else { schedule(at, d) };
    // Weight decay moves the weights of those steps all the same.
    let config = TrainConfig { weight_decay: 30.0, warmup_ratio: 0.0, ..uneven() };
    let trained = |mut policy: Policy, name: &str| {
        dpo(&mut policy, &all.dpo(&nothing_first), &config, 3, &all.dir.path().join(name)).unwrap();
        weights(&policy)
    };
    let cold = Policy::load_as(&fixtures().join("model"), &Device::Cpu, Precision::Bf16).unwrap();
    assert!(trained(warm(&all, None), "warm") == trained(cold, "cold"));
}

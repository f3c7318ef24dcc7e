//! The engine against PyTorch: transformers' and PEFT's numbers for small random models of every family
//! (tests/fixtures/make_models.py), and the engine against itself where two ways must agree.
#![allow(clippy::unwrap_used, missing_docs)]

use candle_core::{Device, Tensor};
use ldalign::{
    Code,
    config::LoraConfig,
    model::{Gradients, Pack, Policy, Target},
    ops::Precision,
};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

const MODELS: [&str; 17] = [
    "llama",
    "llama3",
    "mistral",
    "qwen2",
    "qwen3",
    "llama-bf16",
    "qwen2-sharded",
    "linear",
    "dynamic",
    "yarn",
    "yarn-untruncated",
    "biases",
    "qwen3-bias",
    "smollm3",
    "gemma3",
    "qwen3-moe",
    "qwen3-moe-fused",
];
const ADAPTERS: [(&str, &str); 10] = [
    ("llama-lora", "llama"),
    ("llama-lora-patterns", "llama"),
    ("biases-lora", "biases"),
    ("tables-lora", "llama3"),
    ("untied-lora", "llama"),
    ("tied-lora", "llama"),
    ("mica-lora", "llama"),
    ("nf4-lora", "llama"),
    ("gemma3-lora", "gemma3"),
    ("qwen3-moe-lora", "qwen3-moe"),
];

fn dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/models").join(name)
}

fn load(name: &str) -> Policy {
    load_from(&dir(name))
}

fn load_from(dir: &Path) -> Policy {
    Policy::load(dir, &Device::Cpu).unwrap()
}

/// PyTorch's numbers.
struct Reference(HashMap<String, Tensor>);

impl Reference {
    fn of(name: &str) -> Self {
        Self(candle_core::safetensors::load(dir(name).join("reference.safetensors"), &Device::Cpu).unwrap())
    }
    fn ids(&self, name: &str) -> Vec<u32> {
        self.0[name].to_vec1::<i64>().unwrap().into_iter().map(|i| i as u32).collect()
    }
    fn numbers(&self, name: &str) -> Vec<f32> {
        numbers(&self.0[name])
    }
    /// Prompt, chosen and rejected in one pack; the targets of chosen come first.
    fn pack(&self) -> (Pack, Vec<Target>, usize) {
        let mut pack = Pack::default();
        let prompt = pack.push_prompt(&self.ids("prompt"));
        let mut targets = pack.push_completion(prompt, &self.ids("chosen"));
        let chosen = targets.len();
        targets.extend(pack.push_completion(prompt, &self.ids("rejected")));
        (pack, targets, chosen)
    }
}

fn numbers(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Largest difference relative to the largest number.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let scale = b.iter().fold(0f32, |m, x| m.max(x.abs())).max(1e-20);
    a.iter().zip(b).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / scale
}

/// The loss of make_models.py and its gradient by the log-probabilities.
fn loss(logps: &[f32], chosen: usize) -> (f32, Vec<f32>) {
    let sum = |x: &[f32]| x.iter().sum::<f32>();
    let (a, b) = logps.split_at(chosen);
    let z = 0.5 * (sum(a) - sum(b));
    let sigmoid = 1.0 / (1.0 + z.exp());
    let n = chosen as f32;
    let mut gradient = vec![-0.5 * sigmoid - 0.1 / n; a.len()];
    gradient.extend(vec![0.5 * sigmoid; b.len()]);
    ((1.0 + (-z).exp()).ln() - 0.1 * sum(a) / n, gradient)
}

fn gradients(policy: &Policy, reference: &Reference) -> (f32, Gradients) {
    let (pack, targets, chosen) = reference.pack();
    let mut value = 0.0;
    let mut grads = Gradients::new();
    let run = |logps: &[f32]| {
        let (l, g) = loss(logps, chosen);
        value = l;
        Ok(g)
    };
    policy.backward(&pack, &targets, run, &mut grads).unwrap();
    (value, grads)
}

/// Log-probabilities of every token of the vocabulary at every row of a sequence.
fn all_logps(policy: &Policy, ids: &[u32]) -> Vec<f32> {
    let mut pack = Pack::default();
    pack.push_prompt(ids);
    let vocab = policy.vocab_size() as u32;
    let targets: Vec<_> =
        (0..ids.len() as u32).flat_map(|row| (0..vocab).map(move |token| Target { row, token })).collect();
    policy.logps(&pack, &targets).unwrap()
}

fn check_gradients(policy: &Policy, reference: &Reference, tolerance: f32) {
    let (value, grads) = gradients(policy, reference);
    let expected = reference.numbers("loss")[0];
    assert!((value - expected).abs() < 1e-5 * expected.abs().max(1.0), "loss {value}, PyTorch {expected}");
    let mut names: Vec<_> = reference.0.keys().filter_map(|k| k.strip_prefix("grad.")).collect();
    names.sort_unstable();
    assert_eq!(names, grads.keys().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(names, policy.trainable().iter().map(|t| t.name.as_str()).collect::<Vec<_>>());
    for (name, grad) in &grads {
        let expected = &reference.0[&format!("grad.{name}")];
        assert_eq!(grad.dims(), expected.dims(), "{name}");
        let d = difference(&numbers(grad), &numbers(expected));
        assert!(d < tolerance, "gradient of {name}: relative difference {d:e}");
        let some = |t: &Tensor| numbers(t).iter().any(|x| *x != 0.0);
        let idle = name.contains(".mlp.experts.") && !some(expected);
        assert!(some(grad) != idle, "{name}: an expert without tokens alone gets no gradient");
    }
}

#[test]
fn logits_equal_transformers() {
    for name in MODELS {
        let (policy, reference) = (load(name), Reference::of(name));
        for response in ["chosen", "rejected"] {
            let ids = [reference.ids("prompt"), reference.ids(response)].concat();
            let expected = reference.numbers(&format!("logps.{response}"));
            let d = difference(&all_logps(&policy, &ids), &expected);
            assert!(d < 1e-5, "{name} {response}: {d:e}");
        }
    }
}

#[test]
fn loss_and_every_gradient_equal_transformers() {
    for name in MODELS {
        check_gradients(&load(name), &Reference::of(name), 1e-4);
    }
}

#[test]
fn the_gradient_check_notices_a_wrong_model() {
    // The same weights without sliding window or with another rope, as one wrong line of a config would have it.
    for (model, right, wrong) in [
        ("mistral", "\"sliding_window\": 4", "\"sliding_window\": null"),
        ("linear", "\"factor\": 4.0", "\"factor\": 3.0"),
        ("yarn", "\"beta_fast\": 4.0", "\"beta_fast\": 1.0"),
        ("yarn", "\"beta_fast\": 4.0", "\"beta_fast\": 4.0, \"attention_factor\": 1.0"),
        ("yarn-untruncated", "\"truncate\": false", "\"truncate\": true"),
        ("gemma3", "\"query_pre_attn_scalar\": 10", "\"query_pre_attn_scalar\": 6"),
        ("gemma3", "\"rope_theta\": 10.0", "\"rope_theta\": 100.0"),
        ("gemma3", "\"factor\": 4.0", "\"factor\": 1.0"),
        ("gemma3", "\"sliding_window\": 3", "\"sliding_window\": 30"),
        ("qwen3-moe", "\"norm_topk_prob\": true", "\"norm_topk_prob\": false"),
        ("qwen3-moe", "\"num_experts_per_tok\": 2", "\"num_experts_per_tok\": 3"),
    ] {
        let tmp = tempfile::tempdir().unwrap();
        let config = std::fs::read_to_string(dir(model).join("config.json")).unwrap();
        assert!(config.contains(right));
        std::fs::write(tmp.path().join("config.json"), config.replace(right, wrong)).unwrap();
        std::fs::copy(dir(model).join("model.safetensors"), tmp.path().join("model.safetensors")).unwrap();
        let (policy, reference) = (Policy::load(tmp.path(), &Device::Cpu).unwrap(), Reference::of(model));
        let (value, grads) = gradients(&policy, &reference);
        assert!((value - reference.numbers("loss")[0]).abs() > 1e-3, "{model} {wrong}");
        let name = "model.layers.0.self_attn.q_proj.weight";
        let d = difference(&numbers(&grads[name]), &reference.numbers(&format!("grad.{name}")));
        assert!(d > 1e-2, "{model} {wrong}: {d:e}");
    }
}

#[test]
fn adapters_equal_peft() {
    for (name, base) in ADAPTERS {
        let (policy, reference) = (load(name), Reference::of(name));
        assert_eq!(policy.lora().unwrap().r, 3);
        check_gradients(&policy, &reference, 1e-4);
        for response in ["chosen", "rejected"] {
            let ids = [reference.ids("prompt"), reference.ids(response)].concat();
            let d = difference(&all_logps(&policy, &ids), &reference.numbers(&format!("logps.{response}")));
            assert!(d < 1e-5, "{name} {response}: {d:e}");
        }
        let mut merged = load(name);
        merged.merge().unwrap();
        let base = load(base);
        // Where the adapter parts embedding and head, there is one table more.
        let tables = usize::from(name == "untied-lora");
        assert!(merged.lora().is_none() && merged.trainable().len() == base.trainable().len() + tables);
        let ids = [reference.ids("prompt"), reference.ids("chosen")].concat();
        assert!(difference(&all_logps(&merged, &ids), &reference.numbers("logps.chosen")) < 1e-5);
        assert!(difference(&all_logps(&base, &ids), &reference.numbers("logps.chosen")) > 1e-2);
        // Saved, it is the same adapter.
        let saved = tempfile::tempdir().unwrap();
        policy.save(saved.path()).unwrap();
        let again = Policy::load(saved.path(), &Device::Cpu).unwrap();
        assert_eq!(all_logps(&again, &ids), all_logps(&policy, &ids), "{name}");
        let names = |file: &Path| -> Vec<String> {
            let mut names: Vec<_> = candle_core::safetensors::load(file, &Device::Cpu).unwrap().into_keys().collect();
            names.sort_unstable();
            names
        };
        let [ours, peft] = [saved.path(), &dir(name)].map(|d| names(&d.join("adapter_model.safetensors")));
        assert_eq!(ours, peft, "{name}");
        // And merged, the same model.
        merged.save(saved.path()).unwrap();
        std::fs::remove_file(saved.path().join("adapter_config.json")).unwrap();
        assert_eq!(all_logps(&load_from(saved.path()), &ids), all_logps(&merged, &ids), "{name}");
    }
}

#[test]
fn a_shared_prompt_equals_separate_sequences() {
    for name in ["llama", "mistral", "qwen3", "gemma3", "qwen3-moe"] {
        let (policy, reference) = (load(name), Reference::of(name));
        let (pack, targets, chosen) = reference.pack();
        let together = policy.logps(&pack, &targets).unwrap();
        let (value, grads) = gradients(&policy, &reference);

        let mut apart = Pack::default();
        let mut apart_targets = vec![];
        for response in ["chosen", "rejected"] {
            let prompt = apart.push_prompt(&reference.ids("prompt"));
            apart_targets.extend(apart.push_completion(prompt, &reference.ids(response)));
        }
        assert!(difference(&policy.logps(&apart, &apart_targets).unwrap(), &together) < 1e-5, "{name}");
        let run = |logps: &[f32]| {
            let (l, g) = loss(logps, chosen);
            assert!((l - value).abs() < 1e-4);
            Ok(g)
        };
        let mut apart_grads = Gradients::new();
        policy.backward(&apart, &apart_targets, run, &mut apart_grads).unwrap();
        for (key, grad) in apart_grads {
            let d = difference(&numbers(&grad), &numbers(&grads[&key]));
            assert!(d < 1e-4, "{name} {key}: {d:e}");
        }
    }
}

/// What a sequence gives does not depend, to the bit, on those beside it.
#[test]
fn sequences_of_a_pack_do_not_depend_on_each_other() {
    for (name, precision) in [("llama", Precision::F32), ("qwen3", Precision::F32), ("llama", Precision::Bf16)] {
        let policy = Policy::load_as(&dir(name), &Device::Cpu, precision).unwrap();
        let ids = |n: u32, salt: u32| -> Vec<u32> { (0..n).map(|i| (i * i + salt) % 30).collect() };
        let rows: Vec<[Vec<u32>; 2]> = (0..9).map(|i| [ids(1 + 5 * i % 11, i), ids(1 + 7 * i % 23, i + 3)]).collect();
        let run = |rows: &[[Vec<u32>; 2]]| {
            let (mut pack, mut targets) = (Pack::default(), vec![]);
            for [prompt, response] in rows {
                let prompt = pack.push_prompt(prompt);
                targets.extend(pack.push_completion(prompt, response));
            }
            let states = policy.hidden_states(&pack, policy.num_layers()).unwrap();
            (policy.logps(&pack, &targets).unwrap(), numbers(&states))
        };
        let mut alone = (vec![], vec![]);
        for row in &rows {
            let (logps, states) = run(std::slice::from_ref(row));
            alone.0.extend(logps);
            alone.1.extend(states);
        }
        assert_eq!(run(&rows), alone, "{name} {precision:?}");
    }
}

#[test]
fn passes_repeat_to_the_bit() {
    let (policy, reference) = (load("llama"), Reference::of("llama"));
    let (pack, targets, _) = reference.pack();
    let logps = policy.logps(&pack, &targets).unwrap();
    assert_eq!(logps, policy.logps(&pack, &targets).unwrap());
    let (a, b) = (gradients(&policy, &reference).1, gradients(&policy, &reference).1);
    for (name, grad) in a {
        assert_eq!(numbers(&grad), numbers(&b[&name]), "{name}");
    }
    // The log-probabilities a backward pass reports are those of a pass without gradient.
    let same = |seen: &[f32]| {
        assert_eq!(seen, logps);
        Ok(vec![0.0; seen.len()])
    };
    policy.backward(&pack, &targets, same, &mut Gradients::new()).unwrap();
}

/// A layer that is run again in the backward pass gives the bits that keeping it gives.
#[test]
fn gradients_do_not_depend_on_what_is_kept() {
    for name in ["llama", "qwen2", "qwen3", "yarn", "biases", "smollm3", "gemma3", "qwen3-moe", "llama-lora-patterns"] {
        let (mut policy, reference) = (load(name), Reference::of(name));
        let kept = gradients(&policy, &reference).1;
        assert!(policy.pass_tokens() > 1000);
        for budget in [0, policy.activation_budget() / policy.pass_tokens() * 8] {
            policy.set_activation_budget(budget);
            for (key, grad) in gradients(&policy, &reference).1 {
                assert_eq!(numbers(&grad), numbers(&kept[&key]), "{name} {key}, {budget} bytes");
            }
        }
    }
}

#[test]
fn bf16_is_near_f32_and_a_frozen_base_gives_what_its_copy_gives() {
    // Gemma 3 and experts too: their own parts are rounded as well.
    for name in ["llama", "gemma3", "qwen3-moe"] {
        bf16(name);
    }
}

fn bf16(name: &str) {
    let (exact, reference) = (load(name), Reference::of(name));
    let (pack, targets, _) = reference.pack();
    let load = || Policy::load_as(&dir(name), &Device::Cpu, Precision::Bf16).unwrap();
    let mut rounded = load();
    let (a, b) = (exact.logps(&pack, &targets).unwrap(), rounded.logps(&pack, &targets).unwrap());
    assert!(a != b && difference(&a, &b) < 0.05, "{name} {}", difference(&a, &b));
    // Of the mean: the loss itself has a sigmoid that a difference in the log-probabilities would move.
    let all = |p: &Policy| {
        let mut grads = Gradients::new();
        p.backward(&pack, &targets, |l| Ok(vec![1.0; l.len()]), &mut grads).unwrap();
        grads.values().flat_map(numbers).collect::<Vec<f32>>()
    };
    let (g, h) = (all(&exact), all(&rounded));
    let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>().sqrt();
    let d = norm(&mut g.iter().zip(&h).map(|(a, b)| a - b)) / norm(&mut g.iter().copied());
    // A small random model magnifies differences; on a trained one they are below 0.02.
    assert!(d > 1e-4 && d < 0.3, "{name} {d}");
    // B is zero at first, so an adapter changes nothing but freezes the base.
    rounded.add_lora(&LoraConfig { r: 2, ..Default::default() }, 0).unwrap();
    assert_eq!(rounded.logps(&pack, &targets).unwrap(), b);
    assert_eq!(rounded.merge().unwrap_err().code(), Code::ModelMerge);
    let grads = gradients(&rounded, &reference).1;
    assert!(grads.keys().all(|k| k.contains("lora_")) && grads.len() == rounded.trainable().len());
}

#[test]
fn hidden_states_are_those_of_every_layer() {
    let (policy, reference) = (load("qwen2"), Reference::of("qwen2"));
    let mut pack = Pack::default();
    pack.push_prompt(&reference.ids("prompt"));
    let embeddings = policy.hidden_states(&pack, 0).unwrap();
    assert_eq!(embeddings.dims(), [5, policy.hidden_size()]);
    let table = policy.trainable().into_iter().find(|t| t.name == "model.embed_tokens.weight").unwrap();
    let first = table.var.get(reference.ids("prompt")[0] as usize).unwrap();
    assert_eq!(numbers(&embeddings.get(0).unwrap()), numbers(&first));
    // The last, times the head (tied here), gives the logits.
    let last = policy.hidden_states(&pack, policy.num_layers()).unwrap();
    let logits = last.matmul(&table.var.t().unwrap()).unwrap();
    let logps = candle_nn::ops::log_softmax(&logits, 1).unwrap();
    assert!(difference(&numbers(&logps), &all_logps(&policy, &reference.ids("prompt"))) < 1e-5);
    assert_eq!(policy.hidden_states(&pack, 3).unwrap_err().code(), Code::ModelLayer);
}

fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let max = logits.iter().cloned().fold(f32::MIN, f32::max);
    let lse = max + logits.iter().map(|x| (x - max).exp()).sum::<f32>().ln();
    logits.iter().map(|x| x - lse).collect()
}

fn argmax(x: &[f32]) -> u32 {
    (0..x.len()).reduce(|a, b| if x[b] > x[a] { b } else { a }).unwrap() as u32
}

#[test]
fn cached_decoding_equals_uncached() {
    for name in MODELS.into_iter().chain(ADAPTERS.map(|(name, _)| name)) {
        let (policy, vocab) = (load(name), load(name).vocab_size());
        let mut ids = Reference::of(name).ids("prompt");
        let mut cache = policy.cache(2, 40).unwrap();
        // The prompt in two pieces, the second one longer than a token.
        policy.prefill(&mut cache, &[(1, &ids[..2])]).unwrap();
        policy.prefill(&mut cache, &[(1, &ids[2..4])]).unwrap();
        let mut logits = policy.decode(&mut cache, &[(1, ids[4])], <[f32]>::to_vec).unwrap();
        for _ in 0..30 {
            let all = all_logps(&policy, &ids);
            let expected = &all[all.len() - vocab..];
            let d = difference(&log_softmax(&logits), expected);
            assert!(d < 1e-5, "{name} at {}: {d:e}", ids.len());
            assert_eq!(argmax(&logits), argmax(expected), "{name} at {}", ids.len());
            ids.push(argmax(expected));
            logits = policy.decode(&mut cache, &[(1, argmax(expected))], <[f32]>::to_vec).unwrap();
        }
        assert_eq!((cache.len(0), cache.len(1)), (0, 35));
    }
}

/// Logits of one sequence fed token by token in `slot`, others of other lengths beside it.
fn trace(policy: &Policy, ids: &[u32], slot: usize, slots: usize, place: usize) -> Vec<Vec<f32>> {
    let mut cache = policy.cache(slots, 24).unwrap();
    let prompt = |other: usize| (0..1 + other as u32 % 7).map(|i| (i * 5 + other as u32) % 37).collect();
    let prompts: Vec<Vec<u32>> = (0..slots).map(|s| if s == slot { ids[..3].to_vec() } else { prompt(s) }).collect();
    let pieces: Vec<(usize, &[u32])> = prompts.iter().map(Vec::as_slice).enumerate().collect();
    policy.prefill(&mut cache, &pieces).unwrap();
    let mut out = vec![];
    let vocab = policy.vocab_size();
    for (step, id) in ids[3..].iter().enumerate() {
        let others = (0..slots).filter(|s| *s != slot).map(|s| (s, (s * 3 + step) as u32 % 37));
        let mut tokens: Vec<_> = others.collect();
        let place = place.min(tokens.len());
        tokens.insert(place, (slot, *id));
        let logits = policy.decode(&mut cache, &tokens, <[f32]>::to_vec).unwrap();
        out.push(logits[place * vocab..(place + 1) * vocab].to_vec());
    }
    out
}

#[test]
fn a_slots_logits_do_not_depend_on_the_others() {
    for name in ["llama", "qwen2", "qwen3", "mistral", "llama-lora", "gemma3", "qwen3-moe"] {
        let policy = load(name);
        let ids = [3, 9, 27, 4, 11, 30, 2, 8];
        let alone = trace(&policy, &ids, 0, 1, 0);
        for (slots, slot, place) in
            [(2, 1, 0), (3, 0, 2), (4, 3, 1), (5, 2, 4), (8, 7, 7), (15, 4, 0), (32, 31, 30), (33, 5, 32), (70, 69, 33)]
        {
            assert_eq!(trace(&policy, &ids, slot, slots, place), alone, "{name}: slot {slot} of {slots} at {place}");
        }
        // The same tokens say something else after another prompt: the comparison above is not of constants.
        assert_ne!(trace(&policy, &[3, 9, 26, 4, 11, 30, 2, 8], 0, 1, 0), alone);
    }
}

#[test]
fn a_cleared_slot_starts_anew() {
    let policy = load("llama");
    let mut cache = policy.cache(2, 8).unwrap();
    let start = |cache: &mut _| {
        policy.prefill(cache, &[(0, &[5, 6])]).unwrap();
        policy.decode(cache, &[(0, 7)], <[f32]>::to_vec).unwrap()
    };
    let first = start(&mut cache);
    policy.decode(&mut cache, &[(0, 3), (1, 4)], <[f32]>::to_vec).unwrap();
    // Another slot goes on from what the first one holds.
    cache.keep(1, 0);
    cache.share(0, 1, 2).unwrap();
    assert_eq!(policy.decode(&mut cache, &[(1, 7)], <[f32]>::to_vec).unwrap(), first);
    cache.keep(0, 0);
    assert_eq!((cache.len(0), cache.len(1)), (0, 3));
    assert_eq!(start(&mut cache), first);
    // More room changes nothing of what the slots hold.
    let next = policy.decode(&mut cache, &[(1, 4), (0, 4)], <[f32]>::to_vec).unwrap();
    let mut grown = policy.cache(2, 3).unwrap();
    start(&mut grown);
    grown.share(0, 1, 3).unwrap();
    grown.grow(8).unwrap();
    assert_eq!(grown.capacity(), 8);
    assert_eq!(policy.decode(&mut grown, &[(1, 4), (0, 4)], <[f32]>::to_vec).unwrap(), next);
    let fails = |r: ldalign::Result<()>| assert_eq!(r.unwrap_err().code(), Code::ModelCache);
    fails(policy.prefill(&mut cache, &[(0, &[1; 6])]));
    fails(policy.prefill(&mut cache, &[(2, &[1])]));
    fails(policy.decode(&mut cache, &[(0, 1), (0, 2)], <[f32]>::to_vec).map(|_| ()));
    fails(cache.share(1, 0, 1));
    assert_eq!(policy.prefill(&mut cache, &[(0, &[37])]).unwrap_err().code(), Code::ModelToken);
}

#![allow(clippy::unwrap_used)]

use super::*;
use crate::model::Policy;
use candle_core::{Device, Tensor};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use serde_json::json;
use std::{collections::HashMap, fs};

const VOCAB: usize = 40;
const POSITIONS: usize = 96;
const END: u32 = 3;

/// A random Llama of two layers, whose choices vary with the context.
fn policy() -> Policy {
    let (hidden, ffn, heads, kv_heads, head_dim) = (24, 40, 3, 1, 8);
    let dir = tempfile::tempdir().unwrap();
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden, "intermediate_size": ffn,
        "num_hidden_layers": 2, "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": head_dim,
        "vocab_size": VOCAB, "max_position_embeddings": POSITIONS, "hidden_act": "silu", "rms_norm_eps": 1e-5,
        "rope_theta": 1e4, "tie_word_embeddings": true,
    });
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut tensors = HashMap::new();
    let mut add = |name: &str, shape: &[usize], offset: f32| {
        let values = (0..shape.iter().product()).map(|_| rng.next_u32() as f32 / u32::MAX as f32 * 1.6 - 0.8 + offset);
        tensors.insert(name.to_owned(), Tensor::from_vec(values.collect::<Vec<f32>>(), shape, &Device::Cpu).unwrap());
    };
    add("model.embed_tokens.weight", &[VOCAB, hidden], 0.0);
    add("model.norm.weight", &[hidden], 1.0);
    for layer in 0..2 {
        for (name, shape, offset) in [
            ("input_layernorm", vec![hidden], 1.0),
            ("post_attention_layernorm", vec![hidden], 1.0),
            ("self_attn.q_proj", vec![heads * head_dim, hidden], 0.0),
            ("self_attn.k_proj", vec![kv_heads * head_dim, hidden], 0.0),
            ("self_attn.v_proj", vec![kv_heads * head_dim, hidden], 0.0),
            ("self_attn.o_proj", vec![hidden, heads * head_dim], 0.0),
            ("mlp.gate_proj", vec![ffn, hidden], 0.0),
            ("mlp.up_proj", vec![ffn, hidden], 0.0),
            ("mlp.down_proj", vec![hidden, ffn], 0.0),
        ] {
            add(&format!("model.layers.{layer}.{name}.weight"), &shape, offset);
        }
    }
    candle_core::safetensors::save(&tensors, dir.path().join("model.safetensors")).unwrap();
    Policy::load(dir.path(), &Device::Cpu).unwrap()
}

/// Prompts of 1 to 40 tokens.
fn requests(n: usize) -> Vec<(usize, Request)> {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut prompt = |len: usize| (0..len).map(|_| 4 + rng.next_u32() % (VOCAB as u32 - 4)).collect();
    (0..n).map(|i| (i, Request { prompt: prompt(1 + i * 17 % 40), key: 100 + i as u64, sample: 0 })).collect()
}

fn config(temperature: f32, batch_size: usize) -> GenerateConfig {
    GenerateConfig { max_new_tokens: 30, temperature, top_k: 30, top_p: 0.95, batch_size, samples: None }
}

/// Generations by index, and the order of completion.
fn run(policy: &Policy, requests: &[(usize, Request)], config: &GenerateConfig) -> (Vec<Generation>, Vec<usize>) {
    let (mut found, mut order) = (HashMap::new(), vec![]);
    generate(policy, requests.iter().cloned().map(Ok), config, &[END], 1, |index, generation| {
        order.push(index);
        assert!(found.insert(index, generation).is_none(), "{index} was handed over twice");
        Ok(())
    })
    .unwrap();
    ((0..requests.len()).map(|i| found[&i].clone()).collect(), order)
}

#[test]
fn the_text_depends_on_neither_batch_nor_order() {
    let (policy, mut requests) = (policy(), requests(24));
    let (alone, order) = run(&policy, &requests, &config(1.0, 1));
    assert_eq!(order, (0..24).collect::<Vec<_>>());
    for batch_size in [3, 16] {
        assert_eq!(run(&policy, &requests, &config(1.0, batch_size)).0, alone, "batch size {batch_size}");
    }
    requests.sort_by_key(|(i, _)| (i * 7) % 24);
    let (permuted, order) = run(&policy, &requests, &config(1.0, 3));
    assert_eq!(permuted, alone);
    assert_ne!(order, (0..24).collect::<Vec<_>>());
    // Both ways to end occur, so that the above means something, and no two texts are the same.
    assert!(alone.iter().any(|g| g.stop == StopReason::Stop) && alone.iter().any(|g| g.stop == StopReason::Length));
    assert!((1..24).all(|i| alone[i] != alone[0]));
}

/// Samples of one prompt share its keys and values, begun together or while others run.
#[test]
fn samples_of_one_prompt_are_those_of_it_alone() {
    let (policy, mut requests) = (policy(), requests(12));
    for i in [1, 2, 5, 9] {
        requests[i].1.prompt = requests[4].1.prompt.clone();
    }
    let (alone, _) = run(&policy, &requests, &config(1.0, 1));
    assert_eq!(run(&policy, &requests, &config(1.0, 4)).0, alone);
    assert_ne!(alone[1].ids, alone[2].ids);
}

/// A sample is the same whether its siblings are sampled or not, beside it or elsewhere.
#[test]
fn a_sample_does_not_depend_on_its_siblings() {
    let policy = policy();
    // As stage `generate` asks: the samples of a prompt follow each other.
    let of = |samples: usize, batch_size: usize| {
        let each =
            |(_, prompt): (usize, Request)| (0..samples as u32).map(move |sample| Request { sample, ..prompt.clone() });
        let requests: Vec<_> = requests(8).into_iter().flat_map(each).enumerate().collect();
        run(&policy, &requests, &config(1.0, batch_size)).0
    };
    let four = of(4, 16);
    for (samples, batch_size) in [(4, 1), (4, 3), (2, 5), (2, 16), (1, 1), (1, 7)] {
        let found = of(samples, batch_size);
        for (i, generation) in found.iter().enumerate() {
            let same = &four[i / samples * 4 + i % samples];
            assert_eq!(generation, same, "sample {} of {samples}, batch size {batch_size}", i % samples);
        }
    }
    assert!(four.chunks(4).all(|own| (1..4).all(|k| own[k] != own[0])), "samples of a prompt are one");
}

#[test]
fn end_tokens_end_and_only_they() {
    for generation in run(&policy(), &requests(24), &config(1.0, 5)).0 {
        let ends = generation.ids.iter().filter(|id| **id == END).count();
        match generation.stop {
            StopReason::Stop => assert_eq!((ends, generation.ids.last()), (1, Some(&END))),
            StopReason::Length => assert_eq!((ends, generation.ids.len()), (0, 30)),
        }
    }
}

#[test]
fn cached_equals_uncached_greedy() {
    let (policy, requests) = (policy(), requests(8));
    let (found, _) = run(&policy, &requests, &config(0.0, 4));
    for ((_, request), generation) in requests.iter().zip(found) {
        let mut ids = request.prompt.clone();
        for token in generation.ids {
            let mut fresh = policy.cache(1, POSITIONS).unwrap();
            let (last, prefix) = ids.split_last().unwrap();
            if !prefix.is_empty() {
                policy.prefill(&mut fresh, &[(0, prefix)]).unwrap();
            }
            let logits = policy.decode(&mut fresh, &[(0, *last)], <[f32]>::to_vec).unwrap();
            let best = (0..VOCAB).reduce(|a, b| if logits[b] > logits[a] { b } else { a }).unwrap();
            assert_eq!(token, best as u32, "after {} tokens", ids.len());
            ids.push(token);
        }
    }
}

#[test]
fn one_prompt_gives_the_same_tokens_as_they_come() {
    let (policy, requests) = (policy(), requests(6));
    let (found, _) = run(&policy, &requests, &config(1.0, 6));
    for ((_, request), expected) in requests.iter().zip(found) {
        let mut seen = vec![];
        let one = generate_one(&policy, request, &config(1.0, 1), &[END], 1, |token| {
            seen.push(token);
            Ok(())
        });
        assert_eq!(one.unwrap(), expected);
        assert_eq!(seen, expected.ids);
    }
}

#[test]
fn a_request_that_does_not_fit_is_named() {
    let policy = policy();
    let mut requests = requests(2);
    requests[1].1.prompt = vec![5; POSITIONS - 30 + 1];
    let stream = requests.into_iter().map(Ok);
    let error = generate(&policy, stream, &config(0.0, 1), &[END], 0, |_, _| Ok(())).unwrap_err();
    assert_eq!(error.code(), Code::GenerateLength);
    assert_eq!(
        error.message(),
        "request 1: the prompt's 67 tokens and max_new_tokens 30 exceed the model's 96 positions"
    );
    let exact = [(0, Request { prompt: vec![5; POSITIONS - 30], key: 0, sample: 0 })];
    assert_eq!(run(&policy, &exact, &config(0.0, 1)).0.len(), 1);
}

#[test]
fn errors_of_requests_and_of_the_receiver_end_the_work() {
    let policy = policy();
    let broken = || Error::new(Code::DataRow, "row 7 is broken");
    let stream = requests(2).into_iter().map(Ok).chain([Err(broken())]);
    let mut finished = 0;
    let error = generate(&policy, stream, &config(0.0, 1), &[END], 0, |_, _| {
        finished += 1;
        Ok(())
    });
    assert_eq!((error.unwrap_err().message(), finished), ("row 7 is broken", 2));
    let stream = requests(2).into_iter().map(Ok);
    let error = generate(&policy, stream, &config(0.0, 2), &[END], 0, |_, _| Err(broken())).unwrap_err();
    assert_eq!(error.message(), "row 7 is broken");
}

/// An engine that is asked for nothing as long as its options are wrong.
struct Echo;

impl Generator for Echo {
    fn generate(
        &self,
        requests: &mut dyn Iterator<Item = Result<(usize, Request)>>,
        config: &GenerateConfig,
        _: &[u32],
        _: u64,
        done: &mut dyn FnMut(usize, Generation) -> Result<()>,
    ) -> Result<()> {
        for request in requests {
            let (index, Request { mut prompt, .. }) = request?;
            prompt.truncate(config.max_new_tokens);
            done(index, Generation { ids: prompt, stop: StopReason::Length })?;
        }
        Ok(())
    }
}

#[test]
fn another_generator_answers_in_our_place_once_the_options_are_checked() {
    let prompts = || {
        [vec![7, 8, 9], vec![5]]
            .into_iter()
            .enumerate()
            .map(|(i, prompt)| Ok((i, Request { prompt, key: 0, sample: 0 })))
    };
    let run = |config: &GenerateConfig| {
        let mut found = vec![];
        let done = |index, Generation { ids, .. }| {
            found.push((index, ids));
            Ok(())
        };
        generate(&Echo, prompts(), config, &[END], 0, done).map(|()| found)
    };
    let config = GenerateConfig { max_new_tokens: 2, ..GenerateConfig::default() };
    assert_eq!(run(&config).unwrap(), [(0, vec![7, 8]), (1, vec![5])]);
    let e = run(&GenerateConfig { top_p: 1.5, ..config }).unwrap_err();
    assert_eq!((e.code(), e.message()), (Code::GenerateOptions, "top_p is 1.5, expected above 0 and at most 1"));
}

#[test]
fn options_out_of_range_are_refused() {
    let good = GenerateConfig::default();
    let cases = [
        (
            GenerateConfig { max_new_tokens: 0, ..good.clone() },
            "max_new_tokens is 0, expected at least 1 and at most 1048576",
        ),
        (GenerateConfig { batch_size: 0, ..good.clone() }, "batch_size is 0, expected at least 1 and at most 1048576"),
        (GenerateConfig { temperature: -1.0, ..good.clone() }, "temperature is -1, expected a number of at least 0"),
        (GenerateConfig { top_p: 0.0, ..good.clone() }, "top_p is 0, expected above 0 and at most 1"),
        (GenerateConfig { top_p: f32::NAN, ..good }, "top_p is NaN, expected above 0 and at most 1"),
    ];
    for (config, expected) in cases {
        assert_eq!(check(&config).unwrap_err().message(), expected);
    }
}

#![allow(clippy::unwrap_used)]

mod faults;
mod model;
mod tokenizer;

use super::*;
use candle_core::{
    DType, Device, Tensor,
    quantized::{GgmlDType, QTensor, gguf_file::Value},
    safetensors,
};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use std::{
    collections::HashMap,
    fs::{self, File},
    path::PathBuf,
};

/// Sizes of the tiny models: columns must be a multiple of 256 for the k-quants.
const HIDDEN: usize = 256;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = 64;
const VOCAB: usize = 264;

/// A GGUF file in the making.
struct Gguf {
    metadata: Vec<(String, Value)>,
    tensors: Vec<(String, QTensor)>,
    /// What was quantised, under the names of Hugging Face.
    original: HashMap<String, Tensor>,
}

impl Gguf {
    fn new(arch: &str, kind: GgmlDType) -> Self {
        let u32s = [
            ("context_length", 512),
            ("embedding_length", HIDDEN),
            ("block_count", 1),
            ("feed_forward_length", HIDDEN),
            ("attention.head_count", HEADS),
            ("attention.head_count_kv", KV_HEADS),
            ("rope.dimension_count", HEAD_DIM),
        ];
        let mut metadata: Vec<(String, Value)> =
            u32s.iter().map(|(k, v)| (format!("{arch}.{k}"), Value::U32(*v as u32))).collect();
        let bytes: std::collections::BTreeSet<char> =
            tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter().collect();
        let tokens = ["<s>", "</s>", "<|eot|>"].map(String::from).into_iter().chain(bytes.iter().map(char::to_string));
        let tokens: Vec<String> = tokens.chain(["he", "Ġhe", "[PAD1]", "[PAD2]", "[PAD3]"].map(String::from)).collect();
        assert_eq!(tokens.len(), VOCAB);
        let kind_of = |i| if i < 3 { 3 } else { 1 + 4 * i32::from(i >= VOCAB - 3) };
        metadata.extend(
            [
                ("general.architecture", text(arch)),
                ("tokenizer.ggml.model", text("gpt2")),
                ("tokenizer.ggml.pre", text("smollm")),
                ("tokenizer.ggml.tokens", Value::Array(tokens.into_iter().map(Value::String).collect())),
                ("tokenizer.ggml.token_type", Value::Array((0..VOCAB).map(|i| Value::I32(kind_of(i))).collect())),
                ("tokenizer.ggml.merges", Value::Array(["h e", "Ġ he"].map(text).to_vec())),
                ("tokenizer.ggml.bos_token_id", Value::U32(0)),
                ("tokenizer.ggml.eos_token_id", Value::U32(1)),
                ("tokenizer.ggml.eot_token_id", Value::U32(2)),
                ("tokenizer.chat_template", text("{{ messages[0].content }}")),
            ]
            .map(|(k, v)| (k.to_owned(), v)),
        );
        metadata.push((format!("{arch}.attention.layer_norm_rms_epsilon"), Value::F32(1e-5)));
        metadata.push((format!("{arch}.rope.freq_base"), Value::F32(1e5)));
        let mut gguf = Self { metadata, tensors: vec![], original: HashMap::new() };
        let (q, kv) = (HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM);
        gguf.tensor("token_embd.weight", "model.embed_tokens.weight", &[VOCAB, HIDDEN], kind);
        gguf.tensor("output_norm.weight", "model.norm.weight", &[HIDDEN], GgmlDType::F32);
        for (from, to, shape) in [
            ("attn_norm", "input_layernorm", vec![HIDDEN]),
            ("ffn_norm", "post_attention_layernorm", vec![HIDDEN]),
            ("attn_q", "self_attn.q_proj", vec![q, HIDDEN]),
            ("attn_k", "self_attn.k_proj", vec![kv, HIDDEN]),
            ("attn_v", "self_attn.v_proj", vec![kv, HIDDEN]),
            ("attn_output", "self_attn.o_proj", vec![HIDDEN, q]),
            ("ffn_gate", "mlp.gate_proj", vec![HIDDEN, HIDDEN]),
            ("ffn_up", "mlp.up_proj", vec![HIDDEN, HIDDEN]),
            ("ffn_down", "mlp.down_proj", vec![HIDDEN, HIDDEN]),
        ] {
            let kind = if shape.len() == 1 { GgmlDType::F32 } else { kind };
            let (from, to) = (format!("blk.0.{from}.weight"), format!("model.layers.0.{to}.weight"));
            gguf.tensor(&from, &to, &shape, kind);
        }
        gguf
    }

    /// Adds random values; llama's q and k are permuted as llama.cpp's converter does (convert_hf_to_gguf.py).
    fn tensor(&mut self, from: &str, to: &str, shape: &[usize], kind: GgmlDType) {
        let mut rng = ChaCha8Rng::seed_from_u64(self.tensors.len() as u64);
        let values = (0..shape.iter().product()).map(|_| rng.next_u32() as f32 / u32::MAX as f32 - 0.5).collect();
        let original = Tensor::from_vec::<_, f32>(values, shape, &Device::Cpu).unwrap();
        let llama = self.metadata.iter().any(|(k, _)| k.starts_with("llama.") || k.starts_with("smollm3."));
        let mut stored = original.clone();
        if llama && (from.contains("attn_q.") || from.contains("attn_k.")) {
            let columns = shape.get(1).copied().unwrap_or(1);
            let split = original.reshape((shape[0] / HEAD_DIM, 2, HEAD_DIM / 2, columns)).unwrap();
            stored = split.transpose(1, 2).unwrap().contiguous().unwrap().reshape(shape).unwrap();
        }
        self.tensors.push((from.into(), QTensor::quantize(&stored, kind).unwrap()));
        self.original.insert(to.into(), original);
    }

    fn set(mut self, key: &str, value: Value) -> Self {
        self.metadata.retain(|(k, _)| k != key);
        self.metadata.push((key.into(), value));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.metadata.retain(|(k, _)| k != name);
        self.tensors.retain(|(k, _)| k != name);
        self
    }

    fn write(&self, dir: &Path) -> PathBuf {
        let path = dir.join("model.gguf");
        let metadata: Vec<_> = self.metadata.iter().map(|(k, v)| (k.as_str(), v)).collect();
        let tensors: Vec<_> = self.tensors.iter().map(|(k, v)| (k.as_str(), v)).collect();
        let mut file = File::create(&path).unwrap();
        candle_core::quantized::gguf_file::write(&mut file, &metadata, &tensors).unwrap();
        path
    }

    /// Imports into `dir`/out.
    fn import(&self, dir: &Path, weight_type: WeightType) -> Result<ImportReport> {
        gguf(&self.write(dir), &dir.join("out"), weight_type)
    }
}

fn text(s: &str) -> Value {
    Value::String(s.into())
}

fn json(path: PathBuf) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn numbers(t: &Tensor) -> Vec<f32> {
    t.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn every_kind_of_tensor_becomes_what_it_stood_for() {
    use GgmlDType::*;
    // Largest error of each kind relative to the largest value.
    let kinds = [(F32, 0.0), (F16, 1e-3), (BF16, 4e-3), (Q8_0, 5e-3), (Q5_0, 0.08), (Q5_1, 0.04), (Q4_0, 0.15)];
    let coarse = [(Q4_1, 0.08), (Q2K, 0.5), (Q3K, 0.3), (Q4K, 0.15), (Q5K, 0.08), (Q6K, 0.04)];
    for (kind, bound) in kinds.into_iter().chain(coarse) {
        let dir = tempfile::tempdir().unwrap();
        let gguf = Gguf::new("llama", kind);
        let report = gguf.import(dir.path(), WeightType::F32).unwrap();
        let found = safetensors::load(dir.path().join("out/model.safetensors"), &Device::Cpu).unwrap();
        assert_eq!(found.len(), gguf.original.len());
        assert_eq!(report.parameters, found.values().map(Tensor::elem_count).sum::<usize>());
        for (name, original) in &gguf.original {
            let (found, original) = (&found[name], numbers(original));
            let largest = original.iter().fold(0f32, |m, v| m.max(v.abs()));
            let error = numbers(found).iter().zip(&original).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest;
            assert!(error <= bound, "{kind:?} {name}: error {error}");
        }
        // To the bit what candle makes of the stored block.
        let (_, stored) = gguf.tensors.iter().find(|(name, _)| name == "blk.0.attn_v.weight").unwrap();
        let stored = stored.dequantize(&Device::Cpu).unwrap();
        assert_eq!(numbers(&found["model.layers.0.self_attn.v_proj.weight"]), numbers(&stored), "{kind:?}");
    }
}

#[test]
fn bf16_is_rounded_to_nearest() {
    let dir = tempfile::tempdir().unwrap();
    let mut gguf = Gguf::new("qwen2", GgmlDType::F32);
    for (part, heads) in [("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)] {
        let to = format!("model.layers.0.self_attn.{part}_proj.bias");
        gguf.tensor(&format!("blk.0.attn_{part}.bias"), &to, &[heads * HEAD_DIM], GgmlDType::F32);
    }
    gguf.import(dir.path(), WeightType::Bf16).unwrap();
    let found = safetensors::load(dir.path().join("out/model.safetensors"), &Device::Cpu).unwrap();
    for (name, original) in &gguf.original {
        assert_eq!(found[name].dtype(), DType::BF16);
        assert_eq!(numbers(&found[name]), numbers(&original.to_dtype(DType::BF16).unwrap()), "{name}");
    }
    assert!(found.contains_key("model.layers.0.self_attn.q_proj.bias"));
    assert_eq!(json(dir.path().join("out/config.json"))["torch_dtype"], "bfloat16");
}

#[test]
fn config_and_generation_config_say_what_the_keys_say() {
    let dir = tempfile::tempdir().unwrap();
    let mut gguf = Gguf::new("qwen3", GgmlDType::F32).set("qwen3.attention.key_length", Value::U32(64));
    for part in ["q", "k"] {
        let to = format!("model.layers.0.self_attn.{part}_norm.weight");
        gguf.tensor(&format!("blk.0.attn_{part}_norm.weight"), &to, &[HEAD_DIM], GgmlDType::F32);
    }
    gguf.tensor("output.weight", "lm_head.weight", &[VOCAB, HIDDEN], GgmlDType::F32);
    let report = gguf.import(dir.path(), WeightType::F32).unwrap();
    assert_eq!((report.model_type.as_str(), report.vocab_size, report.chat_template), ("qwen3", VOCAB, true));
    assert_eq!(report.kinds, [("F32".to_owned(), 14)].into());
    let expected = serde_json::json!({
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 256, "intermediate_size": 256,
        "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 264,
        "max_position_embeddings": 512, "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 1e5,
        "rope_scaling": null, "tie_word_embeddings": false, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": null,
        "torch_dtype": "float32",
    });
    assert_eq!(json(dir.path().join("out/config.json")), expected);
    let expected = serde_json::json!({ "bos_token_id": 0, "eos_token_id": [1, 2] });
    assert_eq!(json(dir.path().join("out/generation_config.json")), expected);
    // Qwen's q and k are not permuted: exact equality of all tensors says so.
    let found = safetensors::load(dir.path().join("out/model.safetensors"), &Device::Cpu).unwrap();
    assert!(gguf.original.iter().all(|(name, t)| numbers(&found[name]) == numbers(t)));
}

/// Imports; what comes is a model directory that can be loaded.
fn config_of(gguf: &Gguf) -> serde_json::Value {
    let dir = tempfile::tempdir().unwrap();
    gguf.import(dir.path(), WeightType::F32).unwrap();
    crate::model::ModelDir::open(&dir.path().join("out")).unwrap().verify(None, None).unwrap();
    json(dir.path().join("out/config.json"))
}

#[test]
fn rope_scaling_is_what_llama_cpp_makes_of_the_keys() {
    let scaling = |keys: &[(&str, Value)]| {
        let gguf = Gguf::new("llama", GgmlDType::F32);
        let set = |gguf: Gguf, (key, value): &(&str, Value)| gguf.set(&format!("llama.rope.{key}"), value.clone());
        config_of(&keys.iter().fold(gguf, set))["rope_scaling"].clone()
    };
    let (kind, factor) = (|kind| ("scaling.type", text(kind)), ("scaling.factor", Value::F32(4.0)));
    let linear = serde_json::json!({"rope_type": "linear", "factor": 4.0});
    assert_eq!(scaling(&[kind("linear"), factor.clone()]), linear);
    assert_eq!(scaling(std::slice::from_ref(&factor)), linear);
    assert_eq!(scaling(&[("scale_linear", Value::F32(4.0))]), linear);
    for none in [&[kind("none"), factor.clone()][..], &[kind("linear")], &[("scaling.factor", Value::F32(0.0))], &[]] {
        assert_eq!(scaling(none), serde_json::Value::Null, "{none:?}");
    }
    let original = ("scaling.original_context_length", Value::U32(128));
    let yarn = |n| serde_json::json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": n});
    assert_eq!(scaling(&[kind("yarn"), factor.clone(), original]), yarn(128));
    assert_eq!(scaling(&[kind("yarn"), factor]), yarn(512));
}

#[test]
fn smollm3_is_a_llama_with_layers_that_know_no_positions() {
    let gguf = Gguf::new("smollm3", GgmlDType::F32);
    let config = config_of(&gguf);
    assert_eq!((&config["model_type"], &config["no_rope_layer_interval"]), (&"smollm3".into(), &4.into()));
    let dir = tempfile::tempdir().unwrap();
    gguf.import(dir.path(), WeightType::F32).unwrap();
    let found = safetensors::load(dir.path().join("out/model.safetensors"), &Device::Cpu).unwrap();
    assert!(gguf.original.iter().all(|(name, t)| numbers(&found[name]) == numbers(t)));
}

#[test]
fn biases_are_put_in_their_places_and_sizes_may_be_lists() {
    let mut gguf = Gguf::new("llama", GgmlDType::F32)
        .set("llama.attention.head_count_kv", Value::Array(vec![Value::U32(KV_HEADS as u32); 3]));
    for (from, to, width) in [
        ("attn_q", "self_attn.q_proj", HEADS * HEAD_DIM),
        ("attn_k", "self_attn.k_proj", KV_HEADS * HEAD_DIM),
        ("attn_v", "self_attn.v_proj", KV_HEADS * HEAD_DIM),
        ("attn_output", "self_attn.o_proj", HIDDEN),
        ("ffn_gate", "mlp.gate_proj", HIDDEN),
        ("ffn_up", "mlp.up_proj", HIDDEN),
        ("ffn_down", "mlp.down_proj", HIDDEN),
    ] {
        let to = format!("model.layers.0.{to}.bias");
        gguf.tensor(&format!("blk.0.{from}.bias"), &to, &[width], GgmlDType::F32);
    }
    let config = config_of(&gguf);
    assert_eq!((&config["attention_bias"], &config["mlp_bias"]), (&true.into(), &true.into()));
    assert_eq!(config["num_key_value_heads"], KV_HEADS);
    let dir = tempfile::tempdir().unwrap();
    gguf.import(dir.path(), WeightType::F32).unwrap();
    let found = safetensors::load(dir.path().join("out/model.safetensors"), &Device::Cpu).unwrap();
    assert!(gguf.original.iter().all(|(name, t)| numbers(&found[name]) == numbers(t)));
}

#[test]
fn llama_3_rope_scaling_is_recognised_by_its_factors() {
    // 1 / (frequency divisor) of Llama 3.2 (factor 32) at head size 64 and theta 500000, by transformers' formula.
    let factors = include_str!("../../../tests/fixtures/import/llama3_rope_factors.txt");
    let factors: Vec<f32> = factors.lines().map(|l| l.parse().unwrap()).collect();
    let import = |factors: &[f32]| {
        let dir = tempfile::tempdir().unwrap();
        let mut gguf = Gguf::new("llama", GgmlDType::F32).set("llama.rope.freq_base", Value::F32(5e5));
        let tensor = Tensor::new(factors, &Device::Cpu).unwrap();
        gguf.tensors.push(("rope_freqs.weight".into(), QTensor::quantize(&tensor, GgmlDType::F32).unwrap()));
        gguf.import(dir.path(), WeightType::F32).map(|_| json(dir.path().join("out/config.json")))
    };
    let expected = serde_json::json!({
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    });
    assert_eq!(import(&factors).unwrap()["rope_scaling"], expected);
    let mut other = factors.clone();
    other[20] *= 1.1;
    assert_eq!(import(&other).unwrap_err().code(), Code::GgufTensor);
}

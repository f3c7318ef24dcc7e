//! The families of models: what their config.json leave unsaid.

use super::{
    fields::Fields,
    keys,
    layers::{self, LayerConfig},
    rope::{self, RopeConfig},
};
use crate::{Code, Error, Result, keys::Keys, ops::Activation};

/// What the layers of a family are made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parts {
    /// Whether q and k are normalised head by head.
    pub qk_norm: bool,
    /// Whether norms follow both sublayers too, not only come before them.
    pub result_norms: bool,
    /// What is added to the weights of norms.
    pub norm_offset: f64,
    /// Of the gates.
    pub activation: Activation,
    /// Whether embeddings are multiplied by the root of their width.
    pub scaled_embedding: bool,
}

/// A family of models: its parts, and what its config.json leaves out or unsaid, as transformers has it.
pub struct Family {
    pub name: &'static str,
    /// `num_key_value_heads`; as many as heads where there is none.
    pub kv_heads: Option<usize>,
    pub max_positions: usize,
    /// Where the file does not say it; otherwise a head has its share of the hidden width.
    pub head_dim: Option<usize>,
    /// By whose root scores are divided, where the file does not say it; otherwise the numbers of a head.
    pub score_divisor: Option<f64>,
    pub rope_theta: f64,
    pub tied: bool,
    pub parts: Parts,
    /// Modules with biases always, where `attention_bias` says so, and where `mlp_bias` does.
    pub biased: [&'static [&'static str]; 3],
    /// How many layers differ.
    pub layers: fn(&Fields, usize) -> Result<Vec<LayerConfig>>,
    /// The rotary embeddings that layers name, of heads of so many numbers, sequences of so many tokens and a base.
    pub ropes: fn(&Fields, usize, usize, f64) -> Result<Vec<RopeConfig>>,
    pub keys: &'static [&'static Keys],
}

const QKV: &[&str] = &["q_proj", "k_proj", "v_proj"];
const ATTENTION: &[&str] = &["q_proj", "k_proj", "v_proj", "o_proj"];
const FEED_FORWARD: &[&str] = &["gate_proj", "up_proj", "down_proj"];

const LLAMA: Family = Family {
    name: "llama",
    kv_heads: None,
    max_positions: 2048,
    head_dim: None,
    score_divisor: None,
    rope_theta: 10_000.0,
    tied: false,
    parts: Parts {
        qk_norm: false,
        result_norms: false,
        norm_offset: 0.0,
        activation: Activation::Silu,
        scaled_embedding: false,
    },
    biased: [&[], ATTENTION, FEED_FORWARD],
    layers: layers::alike,
    ropes: rope::one,
    keys: &[keys::KEYS],
};
const QWEN3: Family = Family {
    name: "qwen3",
    kv_heads: Some(32),
    max_positions: 32_768,
    head_dim: Some(128),
    parts: Parts { qk_norm: true, ..LLAMA.parts },
    biased: [&[], ATTENTION, &[]],
    layers: layers::qwen,
    keys: &[keys::KEYS, keys::QWEN],
    ..LLAMA
};
pub const FAMILIES: [Family; 7] = [
    LLAMA,
    Family {
        name: "mistral",
        kv_heads: Some(8),
        max_positions: 4096 * 32,
        biased: [&[]; 3],
        layers: layers::mistral,
        ..LLAMA
    },
    Family {
        name: "qwen2",
        kv_heads: Some(32),
        max_positions: 32_768,
        biased: [QKV, &[], &[]],
        layers: layers::qwen,
        keys: &[keys::KEYS, keys::QWEN],
        ..LLAMA
    },
    QWEN3,
    Family {
        name: "qwen3_moe",
        kv_heads: Some(4),
        head_dim: None,
        layers: layers::qwen3_moe,
        keys: &[keys::KEYS, keys::QWEN3_MOE],
        ..QWEN3
    },
    Family {
        name: "smollm3",
        kv_heads: Some(4),
        max_positions: 32_768,
        rope_theta: 2e6,
        tied: true,
        layers: layers::smollm3,
        keys: &[keys::KEYS, keys::QWEN, keys::SMOLLM3],
        ..LLAMA
    },
    Family {
        name: "gemma3_text",
        kv_heads: Some(4),
        max_positions: 131_072,
        head_dim: Some(256),
        score_divisor: Some(256.0),
        rope_theta: 1e6,
        tied: true,
        parts: Parts {
            qk_norm: true,
            result_norms: true,
            norm_offset: 1.0,
            activation: Activation::GeluTanh,
            scaled_embedding: true,
        },
        biased: [&[], ATTENTION, &[]],
        layers: layers::gemma3,
        ropes: rope::gemma3,
        keys: &[keys::GEMMA3, keys::KEYS, keys::QWEN],
    },
];

impl Family {
    /// That of a config.json.
    ///
    /// # Errors
    /// Where `model_type` is missing or another.
    pub fn of(f: &Fields) -> Result<Self> {
        let names = || {
            let (last, first) = FAMILIES
                .map(|family| family.name)
                .split_last()
                .map(|(l, f)| (*l, f.join(", ")))
                .expect("there are families");
            format!("{first} or {last}")
        };
        match f.get("model_type") {
            Some(v) => {
                let known = FAMILIES.into_iter().find(|family| v.as_str() == Some(family.name));
                known.ok_or_else(|| match v.as_str() {
                    Some("gemma3") => f.unsupported("model_type", v, &names()).hint(
                        "it sees images too, which are not computed: save its language model alone, by transformers' \
                         AutoModelForImageTextToText.from_pretrained(...).model.language_model.save_pretrained(...)",
                    ),
                    _ => f.unsupported("model_type", v, &names()),
                })
            }
            None => Err(Error::new(Code::ModelConfig, format!("{}: model_type is missing", f.file))
                .hint(format!("expected the config.json of a causal language model of type {}", names()))),
        }
    }
}

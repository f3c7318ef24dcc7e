//! The families of models: what their config.json leave unsaid.

use super::{fields::Fields, keys};
use crate::{Code, Error, Result, keys::Keys};

/// A family of models: what its config.json leaves out or unsaid, as transformers has it.
pub struct Family {
    pub name: &'static str,
    /// `num_key_value_heads`; as many as heads where there is none.
    pub kv_heads: Option<usize>,
    pub max_positions: usize,
    /// Where the file does not say it; otherwise a head has its share of the hidden width.
    pub head_dim: Option<usize>,
    pub rope_theta: f64,
    pub tied: bool,
    pub qk_norm: bool,
    /// Modules with biases always, where `attention_bias` says so, and where `mlp_bias` does.
    pub biased: [&'static [&'static str]; 3],
    pub keys: &'static [&'static Keys],
}

const QKV: &[&str] = &["q_proj", "k_proj", "v_proj"];
pub const ATTENTION: &[&str] = &["q_proj", "k_proj", "v_proj", "o_proj"];
const FEED_FORWARD: &[&str] = &["gate_proj", "up_proj", "down_proj"];

const LLAMA: Family = Family {
    name: "llama",
    kv_heads: None,
    max_positions: 2048,
    head_dim: None,
    rope_theta: 10_000.0,
    tied: false,
    qk_norm: false,
    biased: [&[], ATTENTION, FEED_FORWARD],
    keys: &[keys::KEYS],
};
pub const FAMILIES: [Family; 5] = [
    LLAMA,
    Family { name: "mistral", kv_heads: Some(8), max_positions: 4096 * 32, biased: [&[]; 3], ..LLAMA },
    Family {
        name: "qwen2",
        kv_heads: Some(32),
        max_positions: 32_768,
        biased: [QKV, &[], &[]],
        keys: &[keys::KEYS, keys::QWEN],
        ..LLAMA
    },
    Family {
        name: "qwen3",
        kv_heads: Some(32),
        max_positions: 32_768,
        head_dim: Some(128),
        qk_norm: true,
        biased: [&[], ATTENTION, &[]],
        keys: &[keys::KEYS, keys::QWEN],
        ..LLAMA
    },
    Family {
        name: "smollm3",
        kv_heads: Some(4),
        max_positions: 32_768,
        rope_theta: 2e6,
        tied: true,
        keys: &[keys::KEYS, keys::QWEN, keys::SMOLLM3],
        ..LLAMA
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
                known.ok_or_else(|| f.unsupported("model_type", v, &names()))
            }
            None => Err(Error::new(Code::ModelConfig, format!("{}: model_type is missing", f.file))
                .hint(format!("expected the config.json of a causal language model of type {}", names()))),
        }
    }
}

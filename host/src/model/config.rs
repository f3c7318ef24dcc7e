//! config.json of Hugging Face: which transformer to build. What we do not compute exactly is refused by name.

mod fields;
mod keys;
mod rope;

pub use rope::RopeConfig;

use crate::{
    Code, Error, Result, files,
    keys::{self as lists, Keys},
};
use fields::Fields;
use serde_json::{Map, Value};
use std::path::Path;

/// What the transformer needs to know, and the file it came from.
#[derive(Debug, Clone)]
pub struct ModelConfig {
    /// Tokens.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layers.
    pub intermediate_size: usize,
    /// Layers.
    pub num_layers: usize,
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads.
    pub num_kv_heads: usize,
    /// Numbers of a head.
    pub head_dim: usize,
    /// Longest sequence.
    pub max_positions: usize,
    /// Epsilon of the norms.
    pub rms_norm_eps: f64,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// Linear modules that have biases, by the names of [`linears`](Self::linears).
    pub biased: Vec<&'static str>,
    /// Whether q and k are normalised head by head (Qwen3).
    pub qk_norm: bool,
    /// Sliding window of each layer, if it has one.
    pub windows: Vec<Option<usize>>,
    /// Frequencies of the rotary embedding.
    pub rope: RopeConfig,
    /// The file, for writing it again.
    pub raw: Map<String, Value>,
}

/// A family of models: what its config.json leaves out or unsaid, as transformers has it.
struct Family {
    name: &'static str,
    /// `num_key_value_heads`; as many as heads where there is none.
    kv_heads: Option<usize>,
    max_positions: usize,
    /// Where the file does not say it; otherwise a head has its share of the hidden width.
    head_dim: Option<usize>,
    rope_theta: f64,
    tied: bool,
    qk_norm: bool,
    /// Modules with biases always, where `attention_bias` says so, and where `mlp_bias` does.
    biased: [&'static [&'static str]; 3],
    keys: &'static [&'static Keys],
}

const QKV: &[&str] = &["q_proj", "k_proj", "v_proj"];
const ATTENTION: &[&str] = &["q_proj", "k_proj", "v_proj", "o_proj"];
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
const FAMILIES: [Family; 4] = [
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
];

impl ModelConfig {
    /// Linear modules of every layer: name, inputs, outputs.
    pub fn linears(&self) -> [(&'static str, usize, usize); 7] {
        let (h, f) = (self.hidden_size, self.intermediate_size);
        let (q, kv) = (self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim);
        [
            ("q_proj", h, q),
            ("k_proj", h, kv),
            ("v_proj", h, kv),
            ("o_proj", q, h),
            ("gate_proj", h, f),
            ("up_proj", h, f),
            ("down_proj", f, h),
        ]
    }

    /// Every tensor of a model: Hugging Face's name and shape.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let h = self.hidden_size;
        let table = |name: &str| (name.to_owned(), vec![self.vocab_size, h]);
        let mut all = vec![table("model.embed_tokens.weight"), ("model.norm.weight".to_owned(), vec![h])];
        all.extend((!self.tied).then(|| table("lm_head.weight")));
        for layer in (0..self.num_layers).map(|i| format!("model.layers.{i}")) {
            let mut norm = |name: &str, width| all.push((format!("{layer}.{name}.weight"), vec![width]));
            norm("input_layernorm", h);
            norm("post_attention_layernorm", h);
            if self.qk_norm {
                norm("self_attn.q_norm", self.head_dim);
                norm("self_attn.k_norm", self.head_dim);
            }
        }
        for (name, (inputs, outputs)) in self.modules() {
            all.extend(self.is_biased(&name).then(|| (format!("{name}.bias"), vec![outputs])));
            all.push((format!("{name}.weight"), vec![outputs, inputs]));
        }
        all
    }

    /// Linear modules of all layers: Hugging Face's name, inputs and outputs.
    pub fn modules(&self) -> Vec<(String, (usize, usize))> {
        let of_layer = |i| {
            self.linears().map(|(module, inputs, outputs)| {
                let block = if ATTENTION.contains(&module) { "self_attn" } else { "mlp" };
                (format!("model.layers.{i}.{block}.{module}"), (inputs, outputs))
            })
        };
        (0..self.num_layers).flat_map(of_layer).collect()
    }

    /// Whether a linear module has a bias.
    pub fn is_biased(&self, module: &str) -> bool {
        self.biased.iter().any(|biased| module.ends_with(biased))
    }

    /// Bytes that the backward pass of a layer needs of a token.
    pub fn kept_bytes(&self) -> usize {
        let (q, kv) = (self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim);
        let raw = if self.qk_norm { q + kv } else { 0 };
        4 * (2 * self.hidden_size + 2 * q + 2 * kv + 2 * self.intermediate_size + raw)
    }

    /// Reads and checks a config.json.
    pub fn load(path: &Path) -> Result<Self> {
        let file = path.display().to_string();
        let damaged = |what: &str| Fields { file: &file, map: &Map::new() }.damaged(what);
        let raw: Value =
            serde_json::from_str(&files::read_text(path)?).map_err(|e| damaged(" is not valid JSON").caused_by(e))?;
        let Value::Object(raw) = raw else { return Err(damaged(" is not a JSON object")) };
        Self::read(&file, raw)
    }

    fn read(file: &str, raw: Map<String, Value>) -> Result<Self> {
        let f = Fields { file, map: &raw };
        let family = family(&f)?;
        if let Some(v) = f.get("quantization_config") {
            let method = v.get("quant_method").unwrap_or(v);
            return Err(f.unsupported("quantization_config", method, "a model with float weights"));
        }
        lists::check(family.keys, file, raw.iter().map(|(k, v)| (k.as_str(), v)))?;

        let (hidden_size, num_heads) = (f.required("hidden_size")?, f.required("num_attention_heads")?);
        let num_kv_heads = match (f.size("num_key_value_heads")?, raw.contains_key("num_key_value_heads")) {
            (Some(n), _) => n,
            (None, true) => num_heads,
            (None, false) => family.kv_heads.unwrap_or(num_heads),
        };
        let head_dim = match f.size("head_dim")?.or(family.head_dim) {
            Some(dim) => dim,
            None if hidden_size % num_heads == 0 => hidden_size / num_heads,
            None => {
                let v = hidden_size.into();
                return Err(f.bad("hidden_size", &v, &format!("a multiple of num_attention_heads, {num_heads}")));
            }
        };
        if num_heads % num_kv_heads != 0 {
            let there = raw.contains_key("num_key_value_heads");
            let key = format!("num_key_value_heads{}", if there { "" } else { ", which is missing," });
            return Err(f.bad(&key, &num_kv_heads.into(), &format!("a divisor of num_attention_heads, {num_heads}")));
        }
        if head_dim % 2 != 0 {
            return Err(f.bad("head_dim", &head_dim.into(), "an even number"));
        }
        let num_layers = f.required("num_hidden_layers")?;
        let (vocab_size, intermediate_size) = (f.required("vocab_size")?, f.required("intermediate_size")?);
        let max_positions = f.size("max_position_embeddings")?.unwrap_or(family.max_positions);
        let [always, attention, feed_forward] = family.biased;
        let asked = |key: &str| Ok::<_, Error>(f.flag(key)?.unwrap_or(false));
        let biased = [(true, always), (asked("attention_bias")?, attention), (asked("mlp_bias")?, feed_forward)];
        let biased = biased.into_iter().filter(|(has, _)| *has).flat_map(|(_, modules)| modules).copied().collect();
        let windows = windows(&f, family.name, num_layers)?;
        Ok(Self {
            vocab_size,
            hidden_size,
            intermediate_size,
            num_layers,
            num_heads,
            num_kv_heads,
            head_dim,
            max_positions,
            rms_norm_eps: f.number("rms_norm_eps")?.unwrap_or(1e-6),
            tied: f.flag("tie_word_embeddings")?.unwrap_or(family.tied),
            biased,
            qk_norm: family.qk_norm,
            windows,
            rope: RopeConfig::read(&f, head_dim, max_positions, family.rope_theta)?,
            raw,
        })
    }
}

fn family(f: &Fields) -> Result<Family> {
    let names = || {
        let (last, first) =
            FAMILIES.map(|family| family.name).split_last().map(|(l, f)| (*l, f.join(", "))).expect("some");
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

/// Defaults as in transformers: Mistral's window is 4096 unless null; Qwen's only where `use_sliding_window` says so.
fn windows(f: &Fields, family: &str, layers: usize) -> Result<Vec<Option<usize>>> {
    let window = match f.map.get("sliding_window") {
        Some(Value::Null) => None,
        _ => Some(f.size("sliding_window")?.unwrap_or(4096)),
    };
    match family {
        "mistral" => Ok(vec![window; layers]),
        "qwen2" | "qwen3" if f.flag("use_sliding_window")? == Some(true) => {
            if let Some(types) = f.get("layer_types") {
                let list = types.as_array().filter(|l| l.len() == layers);
                let list = list.ok_or_else(|| f.bad("layer_types", types, &format!("a list of {layers} types")))?;
                let of = |t: &Value| match t.as_str() {
                    Some("full_attention") => Ok(None),
                    Some("sliding_attention") => Ok(window),
                    _ => Err(f.unsupported("layer_types", t, "full_attention or sliding_attention")),
                };
                return list.iter().map(of).collect();
            }
            let full = f.map.get("max_window_layers").and_then(Value::as_u64).unwrap_or(28) as usize;
            Ok((0..layers).map(|i| window.filter(|_| i >= full)).collect())
        }
        _ => Ok(vec![None; layers]),
    }
}

#[cfg(test)]
mod tests;

//! config.json of Hugging Face: which transformer to build. What we do not compute exactly is refused by name.

mod family;
mod fields;
mod keys;
mod rope;

pub use rope::RopeConfig;

use crate::{Error, Result, files, keys as lists};
use family::{ATTENTION, Family};
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
    /// Whether each layer's attention knows positions (SmolLM3 has layers that do not).
    pub rotates: Vec<bool>,
    /// Frequencies of the rotary embedding.
    pub rope: RopeConfig,
    /// The file, for writing it again.
    pub raw: Map<String, Value>,
}

/// Layers of the deepest model that is believed: each takes memory before its weights are looked for.
const MOST_LAYERS: usize = 10_000;

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
        let family = Family::of(&f)?;
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
        if num_layers > MOST_LAYERS {
            let most = format!("at most {MOST_LAYERS}");
            return Err(f.bad("num_hidden_layers", &num_layers.into(), &most));
        }
        let (vocab_size, intermediate_size) = (f.required("vocab_size")?, f.required("intermediate_size")?);
        let max_positions = f.size("max_position_embeddings")?.unwrap_or(family.max_positions);
        let [always, attention, feed_forward] = family.biased;
        let asked = |key: &str| Ok::<_, Error>(f.flag(key)?.unwrap_or(false));
        let biased = [(true, always), (asked("attention_bias")?, attention), (asked("mlp_bias")?, feed_forward)];
        let biased = biased.into_iter().filter(|(has, _)| *has).flat_map(|(_, modules)| modules).copied().collect();
        let rotates = match family.name {
            "smollm3" => rotates(&f, num_layers)?,
            _ => vec![true; num_layers],
        };
        let windows = windows(&f, family.name, &rotates)?;
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
            rotates,
            rope: RopeConfig::read(&f, head_dim, max_positions, family.rope_theta)?,
            raw,
        })
    }
}

/// Defaults as in transformers: every fourth layer of SmolLM3 knows no positions.
fn rotates(f: &Fields, layers: usize) -> Result<Vec<bool>> {
    if let Some(v) = f.get("no_rope_layers") {
        let of = |v: &Value| v.as_u64().filter(|v| *v < 2).map(|v| v == 1);
        let list = v.as_array().filter(|list| list.len() == layers);
        let list: Option<_> = list.and_then(|list| list.iter().map(of).collect());
        return list.ok_or_else(|| f.bad("no_rope_layers", v, &format!("a list of {layers} numbers, 0 or 1")));
    }
    let interval = f.size("no_rope_layer_interval")?.unwrap_or(4);
    Ok((1..=layers).map(|layer| layer % interval != 0).collect())
}

/// Defaults as in transformers: Mistral's window is 4096 unless null; the others' only where `use_sliding_window` says
/// so, and SmolLM3's then in layers without positions.
fn windows(f: &Fields, family: &str, rotates: &[bool]) -> Result<Vec<Option<usize>>> {
    let layers = rotates.len();
    let window = match f.map.get("sliding_window") {
        Some(Value::Null) => None,
        None if family == "smollm3" => None,
        _ => Some(f.size("sliding_window")?.unwrap_or(4096)),
    };
    let wanted = f.flag("use_sliding_window")?.unwrap_or(false);
    match family {
        "mistral" => Ok(vec![window; layers]),
        "qwen2" | "qwen3" | "smollm3" if wanted => {
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
            if family == "smollm3" {
                return Ok(rotates.iter().map(|rotates| window.filter(|_| !rotates)).collect());
            }
            let full = f.map.get("max_window_layers").and_then(Value::as_u64).unwrap_or(28) as usize;
            Ok((0..layers).map(|i| window.filter(|_| i >= full)).collect())
        }
        // Its masks follow layer_types alone, its attention asks for both.
        "smollm3" => match f.get("layer_types") {
            Some(v) if v.to_string().contains("sliding_attention") => {
                Err(f.bad("use_sliding_window", &false.into(), "true, since layer_types has sliding_attention"))
            }
            _ => Ok(vec![None; layers]),
        },
        _ => Ok(vec![None; layers]),
    }
}

#[cfg(test)]
mod tests;

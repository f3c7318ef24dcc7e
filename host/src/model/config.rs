//! config.json of Hugging Face: which transformer to build. What we do not compute exactly is refused by name.

use super::lora::{self, AdapterFile};
use crate::{Code, Error, Result, files};
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
    /// Whether q, k and v have biases (Qwen2).
    pub qkv_bias: bool,
    /// Whether q and k are normalised head by head (Qwen3).
    pub qk_norm: bool,
    /// Sliding window of each layer, if it has one.
    pub windows: Vec<Option<usize>>,
    /// Frequencies of the rotary embedding.
    pub rope: RopeConfig,
    /// The file, for writing it again.
    pub raw: Map<String, Value>,
}

/// Rotary embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// Base of the frequencies.
    pub theta: f64,
    /// Llama 3's scaling of low frequencies.
    pub llama3: Option<Llama3Scaling>,
}

/// `rope_type: llama3`.
#[derive(Debug, Clone, PartialEq)]
pub struct Llama3Scaling {
    /// Low frequencies are divided by this.
    pub factor: f64,
    /// Bounds of the band between scaled and unscaled frequencies, in turns over the original length.
    pub low_freq_factor: f64,
    /// See `low_freq_factor`.
    pub high_freq_factor: f64,
    /// Length the model was first trained for.
    pub original_max_positions: f64,
}

impl RopeConfig {
    /// Radians per position of each pair of a head's numbers: [dim / 2]. In f32 as transformers computes it.
    pub fn frequencies(&self, dim: usize) -> Vec<f32> {
        let base = self.theta as f32;
        let plain = (0..dim / 2).map(|i| 1.0 / base.powf(2.0 * i as f32 / dim as f32));
        let Some(s) = &self.llama3 else { return plain.collect() };
        plain
            .map(|f| {
                let turns = s.original_max_positions * f64::from(f) / (2.0 * std::f64::consts::PI);
                let smooth = (turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
                let smooth = smooth.clamp(0.0, 1.0) as f32;
                (1.0 - smooth) * (f / s.factor as f32) + smooth * f
            })
            .collect()
    }
}

/// What to do with a damaged file.
const SOURCE: &str = "copy config.json from the model's source again";

/// A JSON object being read, with the file's name for messages.
struct Fields<'a> {
    file: &'a str,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|v| !v.is_null())
    }
    fn bad(&self, key: &str, value: &Value, expected: &str) -> Error {
        Error::new(Code::ModelConfig, format!("{}: {key} is {value}, expected {expected}", self.file)).hint(SOURCE)
    }
    fn unsupported(&self, key: &str, value: &Value, supported: &str) -> Error {
        Error::new(Code::ModelUnsupported, format!("{}: {key} is {value}; supported is {supported}", self.file))
            .hint("take another model; what is not computed exactly is refused")
    }
    fn size(&self, key: &str) -> Result<Option<usize>> {
        let Some(v) = self.get(key) else { return Ok(None) };
        match v.as_u64() {
            // Far above any model, and products of two stay far below overflow.
            Some(n) if (1..1 << 31).contains(&n) => Ok(Some(n as usize)),
            _ => Err(self.bad(key, v, "a whole number above 0")),
        }
    }
    fn required(&self, key: &str) -> Result<usize> {
        self.size(key)?
            .ok_or_else(|| Error::new(Code::ModelConfig, format!("{}: {key} is missing", self.file)).hint(SOURCE))
    }
    fn number(&self, key: &str) -> Result<Option<f64>> {
        let Some(v) = self.get(key) else { return Ok(None) };
        v.as_f64().filter(|x| *x > 0.0).map(Some).ok_or_else(|| self.bad(key, v, "a number above 0"))
    }
    fn flag(&self, key: &str) -> Result<bool> {
        let Some(v) = self.get(key) else { return Ok(false) };
        v.as_bool().ok_or_else(|| self.bad(key, v, "true or false"))
    }
    /// Fails unless `key` is absent or one of `values`.
    fn only(&self, key: &str, values: &[Value]) -> Result<()> {
        match self.get(key) {
            Some(v) if !values.contains(v) => {
                let list: Vec<_> = values.iter().map(Value::to_string).collect();
                Err(self.unsupported(key, v, &list.join(" or ")))
            }
            _ => Ok(()),
        }
    }
    fn object(&self, key: &str) -> Result<Option<Fields<'a>>> {
        let Some(v) = self.get(key) else { return Ok(None) };
        let map = v.as_object().ok_or_else(|| self.bad(key, v, "an object"))?;
        Ok(Some(Fields { file: self.file, map }))
    }
}

/// Layers of the deepest model that is believed: each takes memory before its weights are looked for.
const MOST_LAYERS: usize = 10_000;

impl ModelConfig {
    /// That of a model directory, or of the base model that an adapter directory names.
    pub fn of(dir: &Path) -> Result<Self> {
        match dir.join(lora::CONFIG).exists() {
            true => Self::load(&AdapterFile::load(dir)?.base()?.join("config.json")),
            false => Self::load(&dir.join("config.json")),
        }
    }

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

    /// Bytes that the backward pass of a layer needs of a token.
    pub fn kept_bytes(&self) -> usize {
        let (q, kv) = (self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim);
        let raw = if self.qk_norm { q + kv } else { 0 };
        4 * (2 * self.hidden_size + 2 * q + 2 * kv + 2 * self.intermediate_size + raw)
    }

    /// Reads and checks a config.json.
    pub fn load(path: &Path) -> Result<Self> {
        let file = path.display().to_string();
        let raw: Value = serde_json::from_str(&files::read_text(path)?).map_err(|e| {
            Error::new(Code::ModelConfig, format!("{file} is not valid JSON")).hint(SOURCE).caused_by(e)
        })?;
        let Value::Object(raw) = raw else {
            return Err(Error::new(Code::ModelConfig, format!("{file} is not a JSON object")));
        };
        Self::read(&file, raw)
    }

    fn read(file: &str, raw: Map<String, Value>) -> Result<Self> {
        let f = Fields { file, map: &raw };
        const FAMILIES: &str = "llama, mistral, qwen2 or qwen3";
        let family = match f.get("model_type") {
            Some(Value::String(s)) if ["llama", "mistral", "qwen2", "qwen3"].contains(&s.as_str()) => s.as_str(),
            Some(v) => return Err(f.unsupported("model_type", v, FAMILIES)),
            None => {
                return Err(Error::new(Code::ModelConfig, format!("{file}: model_type is missing"))
                    .hint(format!("expected the config.json of a causal language model of type {FAMILIES}")));
            }
        };
        f.only("hidden_act", &["silu".into()])?;
        for key in ["attention_bias", "mlp_bias"] {
            f.only(key, &[false.into()])?;
        }
        f.only("attention_dropout", &[0.into(), 0.0.into()])?;
        f.only("partial_rotary_factor", &[1.into(), 1.0.into()])?;
        if let Some(v) = f.get("quantization_config") {
            let method = v.get("quant_method").unwrap_or(v);
            return Err(f.unsupported("quantization_config", method, "a model with float weights"));
        }

        let (hidden_size, num_heads) = (f.required("hidden_size")?, f.required("num_attention_heads")?);
        let num_kv_heads = f.size("num_key_value_heads")?.unwrap_or(num_heads);
        let head_dim = match f.size("head_dim")? {
            Some(dim) => dim,
            None if family == "qwen3" => 128,
            None if hidden_size % num_heads == 0 => hidden_size / num_heads,
            None => {
                let v = hidden_size.into();
                return Err(f.bad("hidden_size", &v, &format!("a multiple of num_attention_heads, {num_heads}")));
            }
        };
        if num_heads % num_kv_heads != 0 {
            let v = num_kv_heads.into();
            return Err(f.bad("num_key_value_heads", &v, &format!("a divisor of num_attention_heads, {num_heads}")));
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
        let (windows, rope) = (windows(&f, family, num_layers)?, rope(&f)?);
        Ok(Self {
            vocab_size,
            hidden_size,
            intermediate_size,
            num_layers,
            num_heads,
            num_kv_heads,
            head_dim,
            max_positions: f.size("max_position_embeddings")?.unwrap_or(2048),
            rms_norm_eps: f.number("rms_norm_eps")?.unwrap_or(1e-6),
            tied: f.flag("tie_word_embeddings")?,
            qkv_bias: family == "qwen2",
            qk_norm: family == "qwen3",
            windows,
            rope,
            raw,
        })
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
        "qwen2" | "qwen3" if f.flag("use_sliding_window")? => {
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

/// transformers 5 writes `rope_parameters`; before, `rope_theta` and `rope_scaling`.
fn rope(f: &Fields) -> Result<RopeConfig> {
    let parameters = f.object("rope_parameters")?;
    let scaling = f.object("rope_scaling")?;
    let theta = match &parameters {
        Some(p) => p.number("rope_theta")?,
        None => None,
    };
    let theta = theta.or(f.number("rope_theta")?).unwrap_or(10_000.0);
    let Some(p) = parameters.or(scaling) else { return Ok(RopeConfig { theta, llama3: None }) };
    p.only("partial_rotary_factor", &[1.into(), 1.0.into()])?;
    let key = if p.get("rope_type").is_some() { "rope_type" } else { "type" };
    match p.get(key).map(|v| (v, v.as_str())) {
        None | Some((_, Some("default"))) => Ok(RopeConfig { theta, llama3: None }),
        Some((_, Some("llama3"))) => {
            let need = |key: &str| {
                p.number(key)?.ok_or_else(|| {
                    Error::new(Code::ModelConfig, format!("{}: {key} is missing in the llama3 rope scaling", f.file))
                })
            };
            let scaling = Llama3Scaling {
                factor: need("factor")?,
                low_freq_factor: need("low_freq_factor")?,
                high_freq_factor: need("high_freq_factor")?,
                original_max_positions: need("original_max_position_embeddings")?,
            };
            if scaling.high_freq_factor <= scaling.low_freq_factor {
                let v = scaling.high_freq_factor.into();
                return Err(f.bad("high_freq_factor", &v, "a number above low_freq_factor"));
            }
            Ok(RopeConfig { theta, llama3: Some(scaling) })
        }
        Some((v, _)) => Err(f.unsupported(key, v, "default or llama3")),
    }
}

#[cfg(test)]
mod tests;

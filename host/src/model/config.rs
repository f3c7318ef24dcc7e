//! config.json of Hugging Face: which transformer to build. What we do not compute exactly is refused by name.

mod family;
mod fields;
mod keys;
mod layers;
mod rope;

pub use family::Parts;
pub use layers::{Experts, FeedForward, LayerConfig};
pub use rope::{RopeConfig, Scaling};

use crate::{
    Error, Result, files, keys as lists,
    ops::{Attention, Precision, Span},
};
use family::Family;
use fields::Fields;
use serde_json::{Map, Value};
use std::path::Path;

/// The file of a directory that says which transformer it is.
pub const CONFIG: &str = "config.json";
/// The table of embeddings, [vocabulary, hidden].
pub const EMBEDDING: &str = "model.embed_tokens.weight";
/// The head, likewise, where it is not the embedding.
pub const HEAD: &str = "lm_head.weight";

/// What the transformer needs to know, and the file it came from.
#[derive(Debug, Clone)]
pub struct ModelConfig {
    /// Tokens.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Layers.
    pub num_layers: usize,
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads.
    pub num_kv_heads: usize,
    /// Numbers of a head.
    pub head_dim: usize,
    /// By whose root scores are divided: the numbers of a head, or what the file says.
    pub score_divisor: f64,
    /// Longest sequence.
    pub max_positions: usize,
    /// Epsilon of the norms.
    pub rms_norm_eps: f64,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// Linear modules that have biases, by the last part of their names.
    pub biased: Vec<&'static str>,
    /// What the family's layers are made of.
    pub parts: Parts,
    /// How layers differ, one by one.
    pub layers: Vec<LayerConfig>,
    /// The rotary embeddings that layers have.
    pub ropes: Vec<RopeConfig>,
    /// The file, for writing it again.
    pub raw: Map<String, Value>,
}

/// A tensor's name and shape.
pub type Named = (String, Vec<usize>);

/// A linear module of a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Module {
    /// Hugging Face's name.
    pub name: String,
    /// Numbers that go in.
    pub inputs: usize,
    /// Numbers that come out.
    pub outputs: usize,
    /// Whether adapters go on it: in a model with experts on attention alone. PEFT has those of other modules there as
    /// `target_parameters`, which are not computed.
    pub adaptable: bool,
    /// Part of the tokens that go through it.
    pub share: f64,
}

/// Layers of the deepest model that is believed: each takes memory before its weights are looked for.
const MOST_LAYERS: usize = 10_000;

impl ModelConfig {
    /// Linear modules of a layer.
    pub fn linears(&self, layer: usize) -> Vec<Module> {
        let (h, q, kv) = (self.hidden_size, self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim);
        let module = |name: String, inputs, outputs| Module {
            name: format!("model.layers.{layer}.{name}"),
            inputs,
            outputs,
            adaptable: true,
            share: 1.0,
        };
        let attention = [("q_proj", h, q), ("k_proj", h, kv), ("v_proj", h, kv), ("o_proj", q, h)];
        let mut all: Vec<_> = attention.map(|(name, i, o)| module(format!("self_attn.{name}"), i, o)).into();
        let gated = |name: &str, width| {
            [("gate_proj", h, width), ("up_proj", h, width), ("down_proj", width, h)]
                .map(|(part, i, o)| module(format!("{name}.{part}"), i, o))
        };
        match self.layers[layer].feed_forward {
            FeedForward::Gated(width) => {
                // PEFT reads a name such as gate_proj as the experts' in every layer of a model that has any.
                let experts = |layer: &LayerConfig| matches!(layer.feed_forward, FeedForward::Experts(_));
                let adaptable = !self.layers.iter().any(experts);
                all.extend(gated("mlp", width).map(|module| Module { adaptable, ..module }));
            }
            FeedForward::Experts(experts) => {
                all.push(Module { adaptable: false, ..module("mlp.gate".to_owned(), h, experts.count) });
                let share = experts.used as f64 / experts.count as f64;
                let of = |i| gated(&format!("mlp.experts.{i}"), experts.width);
                let of = (0..experts.count).flat_map(of);
                all.extend(of.map(|module| Module { adaptable: false, share, ..module }));
            }
        }
        all
    }

    /// Linear modules of all layers.
    pub fn modules(&self) -> Vec<Module> {
        (0..self.num_layers).flat_map(|layer| self.linears(layer)).collect()
    }

    /// Every tensor of a model: Hugging Face's name and shape.
    pub fn tensors(&self) -> Vec<Named> {
        let h = self.hidden_size;
        let table = |name: &str| (name.to_owned(), vec![self.vocab_size, h]);
        let mut all = vec![table(EMBEDDING), ("model.norm.weight".to_owned(), vec![h])];
        all.extend((!self.tied).then(|| table(HEAD)));
        for layer in (0..self.num_layers).map(|i| format!("model.layers.{i}")) {
            let mut norm = |name: &str, width| all.push((format!("{layer}.{name}.weight"), vec![width]));
            let norms = self.norms().into_iter().flat_map(|(before, after)| [Some(before), after]);
            norms.flatten().for_each(|name| norm(name, h));
            if self.parts.qk_norm {
                norm("self_attn.q_norm", self.head_dim);
                norm("self_attn.k_norm", self.head_dim);
            }
        }
        for Module { name, inputs, outputs, .. } in self.modules() {
            all.extend(self.is_biased(&name).then(|| (format!("{name}.bias"), vec![outputs])));
            all.push((format!("{name}.weight"), vec![outputs, inputs]));
        }
        all
    }

    /// Tensors that a file may have in place of others, which lie in them end to end, and these.
    /// Those of a layer's experts, as transformers 5 holds them in memory.
    pub fn fused(&self) -> Vec<(Named, Vec<Named>)> {
        let of_layer = |(i, layer): (usize, &LayerConfig)| {
            let FeedForward::Experts(Experts { count, width, .. }) = layer.feed_forward else { return vec![] };
            let (h, name) = (self.hidden_size, format!("model.layers.{i}.mlp.experts"));
            let parts = |kinds: &[&str], shape: [usize; 2]| -> Vec<_> {
                let part = |e, kind: &&str| (format!("{name}.{e}.{kind}.weight"), shape.to_vec());
                (0..count).flat_map(|e| kinds.iter().map(move |kind| part(e, kind))).collect()
            };
            let gates = parts(&["gate_proj", "up_proj"], [width, h]);
            vec![
                ((format!("{name}.gate_up_proj"), vec![count, 2 * width, h]), gates),
                ((format!("{name}.down_proj"), vec![count, h, width]), parts(&["down_proj"], [h, width])),
            ]
        };
        self.layers.iter().enumerate().flat_map(of_layer).collect()
    }

    /// Names of the norms of a layer: before and after attention, before and after the feed-forward network.
    pub fn norms(&self) -> [(&'static str, Option<&'static str>); 2] {
        let (input, attention) = ("input_layernorm", "post_attention_layernorm");
        match self.parts.result_norms {
            false => [(input, None), (attention, None)],
            true => [(input, Some(attention)), ("pre_feedforward_layernorm", Some("post_feedforward_layernorm"))],
        }
    }

    /// What embeddings are multiplied by; rounded as the embedding is, as transformers has it.
    pub fn embedding_scale(&self, precision: Precision) -> Option<f32> {
        let scale = (self.hidden_size as f64).sqrt() as f32;
        self.parts.scaled_embedding.then(|| match precision {
            Precision::F32 => scale,
            Precision::Bf16 => half::bf16::from_f32(scale).to_f32(),
        })
    }

    /// What attention is over.
    ///
    /// # Errors
    /// Those of [`Attention::new`].
    pub fn attention(&self, spans: Vec<Span>) -> Result<Attention> {
        Ok(Attention::new(spans, self.head_dim)?.scaled(1.0 / (self.score_divisor as f32).sqrt()))
    }

    /// Whether a linear module has a bias.
    pub fn is_biased(&self, module: &str) -> bool {
        self.biased.iter().any(|biased| module.ends_with(biased))
    }

    /// Bytes that the backward pass of a layer needs of a token: of the layer that needs most.
    pub fn kept_bytes(&self) -> usize {
        let (q, kv) = (self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim);
        let raw = if self.parts.qk_norm { q + kv } else { 0 };
        let results = if self.parts.result_norms { 2 * self.hidden_size } else { 0 };
        let feed_forward = |layer: &LayerConfig| match layer.feed_forward {
            FeedForward::Gated(width) => 2 * width,
            FeedForward::Experts(experts) => 2 * experts.used * (experts.width + 1) + experts.count,
        };
        let feed_forward = self.layers.iter().map(feed_forward).max().unwrap_or(0);
        4 * (2 * self.hidden_size + 2 * q + 2 * kv + feed_forward + raw + results)
    }

    /// Bytes of its own that the backward pass of a layer takes of a token: of the layer that takes most.
    pub fn working_bytes(&self) -> usize {
        let h = self.hidden_size;
        let results = if self.parts.result_norms { h } else { 0 };
        let of = |layer: &LayerConfig| match layer.feed_forward {
            FeedForward::Gated(width) => 2 * width + 4 * h,
            // At worst, an expert has all tokens: what goes in and what comes back, gathered.
            FeedForward::Experts(experts) => 2 * experts.width + 7 * h,
        };
        4 * (self.layers.iter().map(of).max().unwrap_or(0) + results)
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

    /// Checks what a config.json says, or a `file` of another format by the same keys.
    pub fn read(file: &str, raw: Map<String, Value>) -> Result<Self> {
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
        let vocab_size = f.required("vocab_size")?;
        let max_positions = f.size("max_position_embeddings")?.unwrap_or(family.max_positions);
        let [always, attention, feed_forward] = family.biased;
        let asked = |key: &str| Ok::<_, Error>(f.flag(key)?.unwrap_or(false));
        let biased = [(true, always), (asked("attention_bias")?, attention), (asked("mlp_bias")?, feed_forward)];
        let biased = biased.into_iter().filter(|(has, _)| *has).flat_map(|(_, modules)| modules).copied().collect();
        let ropes = (family.ropes)(&f, head_dim, max_positions, family.rope_theta)?;
        Ok(Self {
            vocab_size,
            hidden_size,
            num_layers,
            num_heads,
            num_kv_heads,
            head_dim,
            score_divisor: f.number("query_pre_attn_scalar")?.or(family.score_divisor).unwrap_or(head_dim as f64),
            max_positions,
            rms_norm_eps: f.number("rms_norm_eps")?.unwrap_or(1e-6),
            tied: f.flag("tie_word_embeddings")?.unwrap_or(family.tied),
            biased,
            parts: family.parts,
            layers: (family.layers)(&f, num_layers)?,
            ropes,
            raw,
        })
    }
}

#[cfg(test)]
mod tests;

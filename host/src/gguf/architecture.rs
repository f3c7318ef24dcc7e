//! The model's shape: from GGUF's keys to config.json.

use super::{family::Family, metadata::Metadata, rope::Rope, tokenizer::Ids};
use crate::{Code, Error, Result};
use candle_core::quantized::gguf_file::TensorInfo;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// A decoder-only transformer as its GGUF file describes it.
pub(super) struct Architecture {
    pub family: Family,
    pub vocab_size: usize,
    pub max_positions: usize,
    pub hidden: usize,
    pub intermediate: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    /// Where the networks are mixtures of experts.
    pub experts: Option<Experts>,
    pub tied: bool,
    /// Whether attention and feed-forward have biases beyond those of the family.
    pub biases: [bool; 2],
    pub rope: Rope,
    norm_eps: f64,
    window: Option<Window>,
}

/// Mixtures of experts.
pub(super) struct Experts {
    pub count: usize,
    pub width: usize,
    used: usize,
}

/// A sliding window.
struct Window {
    size: usize,
    /// Which layers have it, where not all have.
    layers: Option<Vec<bool>>,
}

impl Architecture {
    /// Reads and checks the keys of the architecture.
    pub fn read(metadata: Metadata<'_>, tensors: &HashMap<String, TensorInfo>) -> Result<Self> {
        let arch: &str = metadata.need("general.architecture")?;
        let key = |name: &str| format!("{arch}.{name}");
        let window = metadata.get(&key("attention.sliding_window"))?.filter(|w: &usize| *w > 0);
        let family = Family::of(arch, window.is_some())?;
        let size = |name: &str| {
            let found = metadata.size(&key(name))?;
            positive(&key(name), found.map_or_else(|| metadata.need(&key(name)), Ok)?)
        };
        let (hidden, heads) = (size("embedding_length")?, size("attention.head_count")?);
        let kv_heads = metadata.size(&key("attention.head_count_kv"))?.unwrap_or(heads);
        if kv_heads == 0 || heads % kv_heads != 0 {
            let message = format!("{heads} attention heads cannot share {kv_heads} key-value heads");
            return Err(Error::new(Code::GgufKey, message).hint("the file is damaged: copy or convert it again"));
        }
        let head_dim = metadata.get(&key("attention.key_length"))?.unwrap_or(hidden / heads);
        positive(&key("attention.key_length"), head_dim)?;
        for name in ["attention.value_length", "rope.dimension_count"] {
            let found = metadata.get(&key(name))?.unwrap_or(head_dim);
            if found != head_dim || head_dim % 2 != 0 {
                let message = format!("key `{}` is {found}, expected the even head size {head_dim}", key(name));
                return Err(Error::new(Code::GgufKey, message)
                    .hint("supported are heads whose positions turn all their numbers"));
            }
        }
        let embedding = tensors.get("token_embd.weight").ok_or_else(|| missing_tensor("token_embd.weight"))?;
        let max_positions = size("context_length")?;
        let layers = size("block_count")?.min(tensors.len());
        let has = |name: &str| tensors.contains_key(&format!("blk.0.{name}.bias"));
        let [_, attention, network] = family.biases;
        Ok(Self {
            vocab_size: positive("rows of token_embd.weight", embedding.shape.dims().first().copied().unwrap_or(0))?,
            max_positions,
            hidden,
            intermediate: size("feed_forward_length")?,
            layers,
            heads,
            kv_heads,
            head_dim,
            experts: family.experts.then(|| Experts::read(metadata, arch, layers)).transpose()?,
            norm_eps: metadata.need(&key("attention.layer_norm_rms_epsilon"))?,
            rope: Rope::read(metadata, arch, max_positions)?,
            window: window.map(|size| Window::read(size, metadata, &family, layers)).transpose()?,
            tied: !tensors.contains_key("output.weight"),
            biases: [attention && has("attn_q"), network && has("ffn_gate")],
            family,
        })
    }

    /// The content of config.json, the tokens' ids aside.
    pub fn config(&self, ids: &Ids) -> Map<String, Value> {
        let [activation_key, activation] = match self.family.is_gemma3() {
            true => ["hidden_activation", "gelu_pytorch_tanh"],
            false => ["hidden_act", "silu"],
        };
        let config = json!({
            "architectures": [self.family.class],
            "model_type": self.family.model_type,
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocab_size,
            "max_position_embeddings": self.max_positions,
            activation_key: activation,
            "rms_norm_eps": self.norm_eps,
            "rope_theta": self.rope.theta,
            "rope_scaling": self.rope.scaling,
            "tie_word_embeddings": self.tied,
            "bos_token_id": ids.bos,
            "eos_token_id": ids.eos,
            "pad_token_id": ids.pad,
        });
        let Value::Object(mut config) = config else { unreachable!("an object") };
        let mut set = |key: &str, value: Value| drop(config.insert(key.to_owned(), value));
        if let Some(window) = &self.window {
            set("sliding_window", window.size.into());
        }
        if self.family.arch == "smollm3" {
            // The one that llama.cpp knows.
            set("no_rope_layer_interval", 4.into());
        }
        if self.family.is_gemma3() {
            let slides = |layer| self.window.as_ref().is_some_and(|window| window.is_in(layer));
            let kind = |layer| if slides(layer) { "sliding_attention" } else { "full_attention" };
            set("layer_types", (0..self.layers).map(kind).collect());
            set("rope_local_base_freq", self.rope.theta_of_windows.into());
            set("query_pre_attn_scalar", self.score_divisor().into());
        }
        if let Some(experts) = &self.experts {
            set("num_experts", experts.count.into());
            set("num_experts_per_tok", experts.used.into());
            set("moe_intermediate_size", experts.width.into());
            // As llama.cpp computes them all.
            set("norm_topk_prob", true.into());
        }
        for (key, there) in ["attention_bias", "mlp_bias"].into_iter().zip(self.biases) {
            if there {
                set(key, true.into());
            }
        }
        config
    }

    /// By whose root Gemma 3 divides scores, which no key says: llama.cpp tells the largest model by its layers.
    fn score_divisor(&self) -> usize {
        if self.layers == 62 { self.hidden / self.heads } else { self.head_dim }
    }

    /// Takes the frequency factors of Llama 3's RoPE scaling.
    pub fn set_rope_factors(&mut self, factors: &[f32]) -> Result<()> {
        self.rope.set_factors(factors, self.head_dim)
    }
}

/// Experts of all layers that are believed: each has tensors of its own in what is read.
const MOST_EXPERTS: usize = 100_000;

impl Experts {
    fn read(metadata: Metadata<'_>, arch: &str, layers: usize) -> Result<Self> {
        let size = |name: &str| {
            let key = format!("{arch}.{name}");
            positive(&key, metadata.need(&key)?)
        };
        let (count, used) = (size("expert_count")?, size("expert_used_count")?);
        if count * layers > MOST_EXPERTS {
            let message =
                format!("key `{arch}.expert_count` is {count}, expected at most {MOST_EXPERTS} in all {layers} layers");
            return Err(Error::new(Code::GgufKey, message));
        }
        if used > count {
            let message = format!("key `{arch}.expert_used_count` is {used}, but there are {count} experts");
            return Err(Error::new(Code::GgufKey, message));
        }
        Ok(Self { count, used, width: size("expert_feed_forward_length")? })
    }
}

impl Window {
    /// Which layers have a window: of Gemma 3 all but every sixth, or what the pattern says. Others have it in all.
    fn read(size: usize, metadata: Metadata<'_>, family: &Family, layers: usize) -> Result<Self> {
        let size = positive("attention.sliding_window", size)?;
        if !family.is_gemma3() {
            return Ok(Self { size, layers: None });
        }
        let key = format!("{}.attention.sliding_window_pattern", family.arch);
        let slides = match metadata.get::<Vec<bool>>(&key) {
            Ok(Some(list)) if list.len() == layers => list,
            Ok(Some(list)) => {
                let message = format!("key `{key}` has {} entries for {layers} layers", list.len());
                return Err(Error::new(Code::GgufKey, message));
            }
            _ => {
                let pattern = positive(&key, metadata.get(&key)?.unwrap_or(6))?;
                (1..=layers).map(|layer| layer % pattern != 0).collect()
            }
        };
        Ok(Self { size, layers: Some(slides) })
    }

    fn is_in(&self, layer: usize) -> bool {
        self.layers.as_ref().is_none_or(|layers| layers[layer])
    }
}

/// Passes a size on if it can be one; the bound keeps products of a damaged file's sizes from overflowing.
fn positive(name: &str, size: usize) -> Result<usize> {
    if (1..1 << 24).contains(&size) {
        return Ok(size);
    }
    Err(Error::new(Code::GgufKey, format!("`{name}` is {size}, expected 1 to {}", (1 << 24) - 1)))
}

/// The file lacks a tensor.
pub(super) fn missing_tensor(name: &str) -> Error {
    Error::new(Code::GgufTensor, format!("tensor `{name}` is missing")).hint("is this one part of a split file?")
}

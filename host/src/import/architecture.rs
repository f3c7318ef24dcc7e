//! The model's shape: from GGUF's keys to config.json, and which tensor becomes which.

use super::{WeightType, metadata::Metadata, tokenizer::ImportedTokenizer};
use crate::{Code, Error, Result};
use candle_core::quantized::gguf_file::TensorInfo;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Frequency factors of Llama 3's RoPE scaling; not a weight, its meaning goes into config.json.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// A decoder-only transformer as its GGUF file describes it.
pub(super) struct Architecture {
    /// Hugging Face's `model_type`: llama, mistral, qwen2, qwen3 or smollm3.
    pub model_type: &'static str,
    pub vocab_size: usize,
    pub max_positions: usize,
    hidden: usize,
    intermediate: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    norm_eps: f64,
    rope_theta: f64,
    rope_scaling: Option<Value>,
    sliding_window: Option<usize>,
    tied: bool,
    /// Whether attention and feed-forward have biases beyond those of the family.
    biases: [bool; 2],
}

/// One tensor to convert.
pub(super) struct TensorPlan {
    /// Name in the GGUF file.
    pub from: String,
    /// Name in model.safetensors.
    pub to: String,
    /// Shape, the same in both.
    pub shape: Vec<usize>,
    /// Heads whose rows lie interleaved in the file (llama's q and k) and are put back in halves.
    pub interleaved_heads: Option<usize>,
}

impl TensorPlan {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Architecture {
    /// Reads and checks the keys of the architecture.
    pub fn read(metadata: Metadata<'_>, tensors: &HashMap<String, TensorInfo>) -> Result<Self> {
        let arch: &str = metadata.need("general.architecture")?;
        let key = |name: &str| format!("{arch}.{name}");
        let sliding_window = metadata.get(&key("attention.sliding_window"))?.filter(|w| *w > 0);
        let model_type = match arch {
            "llama" if sliding_window.is_some() => "mistral",
            "llama" => "llama",
            "qwen2" => "qwen2",
            "qwen3" => "qwen3",
            "smollm3" => "smollm3",
            other => {
                let message = format!("key `general.architecture` is `{other}`");
                return Err(Error::new(Code::ImportArchitecture, message)
                    .hint("supported are llama (SmolLM, TinyLlama, Llama, Mistral), qwen2, qwen3 and smollm3"));
            }
        };
        if metadata.get::<usize>(&key("expert_count"))?.is_some_and(|n| n > 0) {
            let message = format!("key `{}`: mixtures of experts are not supported", key("expert_count"));
            return Err(Error::new(Code::ImportArchitecture, message)
                .hint("supported are models in which every token goes through the same weights"));
        }
        let size = |name: &str| {
            let found = metadata.size(&key(name))?;
            positive(&key(name), found.map_or_else(|| metadata.need(&key(name)), Ok)?)
        };
        let (hidden, heads) = (size("embedding_length")?, size("attention.head_count")?);
        let kv_heads = metadata.size(&key("attention.head_count_kv"))?.unwrap_or(heads);
        if kv_heads == 0 || heads % kv_heads != 0 {
            let message = format!("{heads} attention heads cannot share {kv_heads} key-value heads");
            return Err(Error::new(Code::ImportKey, message).hint("the file is damaged: copy or convert it again"));
        }
        let head_dim = metadata.get(&key("attention.key_length"))?.unwrap_or(hidden / heads);
        positive(&key("attention.key_length"), head_dim)?;
        for name in ["attention.value_length", "rope.dimension_count"] {
            let found = metadata.get(&key(name))?.unwrap_or(head_dim);
            if found != head_dim || head_dim % 2 != 0 {
                let message = format!("key `{}` is {found}, expected the even head size {head_dim}", key(name));
                return Err(Error::new(Code::ImportKey, message)
                    .hint("supported are heads whose positions turn all their numbers"));
            }
        }
        let embedding = tensors.get("token_embd.weight").ok_or_else(|| missing_tensor("token_embd.weight"))?;
        let rope_theta = metadata.get(&key("rope.freq_base"))?.unwrap_or(10_000.0);
        let max_positions = size("context_length")?;
        let has = |name: &str| tensors.contains_key(&format!("blk.0.{name}.bias"));
        Ok(Self {
            model_type,
            vocab_size: positive("rows of token_embd.weight", embedding.shape.dims().first().copied().unwrap_or(0))?,
            max_positions,
            hidden,
            intermediate: size("feed_forward_length")?,
            layers: size("block_count")?.min(tensors.len()),
            heads,
            kv_heads,
            head_dim,
            norm_eps: metadata.need(&key("attention.layer_norm_rms_epsilon"))?,
            rope_theta,
            rope_scaling: rope_scaling(metadata, arch, max_positions)?,
            sliding_window,
            tied: !tensors.contains_key("output.weight"),
            // Where config.json can say it.
            biases: [
                matches!(model_type, "llama" | "qwen3") && has("attn_q"),
                model_type == "llama" && has("ffn_gate"),
            ],
        })
    }

    /// Recognises Llama 3's RoPE scaling by the values of [`ROPE_FACTORS`].
    ///
    /// The file keeps only these factors. Llama 3.1 to 3.3 share all parameters but `factor`, which is the largest of
    /// them; the factors that follow from it must equal those in the file.
    pub fn set_rope_factors(&mut self, factors: &[f32]) -> Result<()> {
        if let Some(scaling) = &self.rope_scaling {
            let message = format!("tensor `{ROPE_FACTORS}` stands beside the RoPE scaling {scaling}");
            return Err(Error::new(Code::ImportTensor, message).hint("supported is one kind of scaling at a time"));
        }
        let (low, high, original) = (1.0, 4.0, 8192.0);
        let factor = f64::from(factors.iter().copied().fold(1.0, f32::max));
        let expected = (0..self.head_dim / 2).map(|i| {
            let wavelength = 2.0 * std::f64::consts::PI * self.rope_theta.powf(2.0 * i as f64 / self.head_dim as f64);
            if wavelength < original / high {
                1.0
            } else if wavelength > original / low {
                factor
            } else {
                let smooth = (original / wavelength - low) / (high - low);
                1.0 / ((1.0 - smooth) / factor + smooth)
            }
        });
        let equal = |(a, b): (f64, &f32)| (a - f64::from(*b)).abs() <= 1e-4 * a;
        if factors.len() != self.head_dim / 2 || !expected.zip(factors).all(equal) {
            let message = format!("tensor `{ROPE_FACTORS}` holds another RoPE scaling than Llama 3's");
            return Err(Error::new(Code::ImportTensor, message)
                .hint("supported is the scaling of Llama 3.1 to 3.3, of an original length of 8192"));
        }
        self.rope_scaling = Some(json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
            "original_max_position_embeddings": original as u64,
        }));
        Ok(())
    }

    /// The tensors of the model; fails where the file lacks one, has one too many, or has another shape.
    pub fn tensors(&self, found: &HashMap<String, TensorInfo>) -> Result<Vec<TensorPlan>> {
        let mut plans = vec![
            plan("token_embd.weight", "model.embed_tokens.weight", &[self.vocab_size, self.hidden]),
            plan("output_norm.weight", "model.norm.weight", &[self.hidden]),
        ];
        if !self.tied {
            plans.push(plan("output.weight", "lm_head.weight", &[self.vocab_size, self.hidden]));
        }
        for layer in 0..self.layers {
            plans.extend(self.layer(layer));
        }
        for p in &plans {
            let info = found.get(&p.from).ok_or_else(|| missing_tensor(&p.from))?;
            if info.shape.dims() != p.shape {
                let message = format!("tensor `{}` has shape {:?}, expected {:?}", p.from, info.shape.dims(), p.shape);
                return Err(Error::new(Code::ImportTensor, message));
            }
        }
        let known: std::collections::HashSet<_> = plans.iter().map(|p| p.from.as_str()).collect();
        if let Some(name) = found.keys().filter(|n| *n != ROPE_FACTORS && !known.contains(n.as_str())).min() {
            let message = format!("tensor `{name}` has no place in a {} model", self.model_type);
            return Err(Error::new(Code::ImportTensor, message)
                .hint("what the tensor is for is not computed here; docs/models.md says what is"));
        }
        plans.sort_by(|a, b| a.to.cmp(&b.to));
        Ok(plans)
    }

    fn layer(&self, layer: usize) -> Vec<TensorPlan> {
        let (h, f) = (self.hidden, self.intermediate);
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let mut parts = vec![
            ("attn_norm.weight", "input_layernorm.weight", vec![h]),
            ("attn_q.weight", "self_attn.q_proj.weight", vec![q, h]),
            ("attn_k.weight", "self_attn.k_proj.weight", vec![kv, h]),
            ("attn_v.weight", "self_attn.v_proj.weight", vec![kv, h]),
            ("attn_output.weight", "self_attn.o_proj.weight", vec![h, q]),
            ("ffn_norm.weight", "post_attention_layernorm.weight", vec![h]),
            ("ffn_gate.weight", "mlp.gate_proj.weight", vec![f, h]),
            ("ffn_up.weight", "mlp.up_proj.weight", vec![f, h]),
            ("ffn_down.weight", "mlp.down_proj.weight", vec![h, f]),
        ];
        if self.model_type == "qwen3" {
            parts.extend([
                ("attn_q_norm.weight", "self_attn.q_norm.weight", vec![self.head_dim]),
                ("attn_k_norm.weight", "self_attn.k_norm.weight", vec![self.head_dim]),
            ]);
        }
        let biases = [
            ("attn_q.bias", "self_attn.q_proj.bias", q),
            ("attn_k.bias", "self_attn.k_proj.bias", kv),
            ("attn_v.bias", "self_attn.v_proj.bias", kv),
            ("attn_output.bias", "self_attn.o_proj.bias", h),
            ("ffn_gate.bias", "mlp.gate_proj.bias", f),
            ("ffn_up.bias", "mlp.up_proj.bias", f),
            ("ffn_down.bias", "mlp.down_proj.bias", h),
        ];
        let wanted = |name: &str| match self.model_type {
            "qwen2" => ["attn_q", "attn_k", "attn_v"].iter().any(|part| name.starts_with(part)),
            _ => self.biases[usize::from(name.starts_with("ffn"))],
        };
        parts.extend(biases.iter().filter(|b| wanted(b.0)).map(|(from, to, width)| (*from, *to, vec![*width])));
        // llama.cpp rotates neighbouring pairs for llama and its like, and halves (as Hugging Face) for Qwen.
        let interleaved = matches!(self.model_type, "llama" | "mistral" | "smollm3");
        let heads = |name: &str| match name {
            "attn_q.weight" | "attn_q.bias" if interleaved => Some(self.heads),
            "attn_k.weight" | "attn_k.bias" if interleaved => Some(self.kv_heads),
            _ => None,
        };
        let full = |(from, to, shape): (&str, &str, Vec<usize>)| TensorPlan {
            from: format!("blk.{layer}.{from}"),
            to: format!("model.layers.{layer}.{to}"),
            shape,
            interleaved_heads: heads(from),
        };
        parts.into_iter().map(full).collect()
    }

    /// The content of config.json.
    pub fn config(&self, tokenizer: &ImportedTokenizer<'_>, weight_type: WeightType) -> Value {
        let class = match self.model_type {
            "mistral" => "MistralForCausalLM",
            "qwen2" => "Qwen2ForCausalLM",
            "qwen3" => "Qwen3ForCausalLM",
            "smollm3" => "SmolLM3ForCausalLM",
            _ => "LlamaForCausalLM",
        };
        let mut config = json!({
            "architectures": [class],
            "model_type": self.model_type,
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocab_size,
            "max_position_embeddings": self.max_positions,
            "hidden_act": "silu",
            "rms_norm_eps": self.norm_eps,
            "rope_theta": self.rope_theta,
            "rope_scaling": self.rope_scaling,
            "tie_word_embeddings": self.tied,
            "bos_token_id": tokenizer.bos,
            "eos_token_id": tokenizer.eos,
            "pad_token_id": tokenizer.pad,
            "torch_dtype": match weight_type { WeightType::F32 => "float32", WeightType::Bf16 => "bfloat16" },
        });
        if let Some(window) = self.sliding_window {
            config["sliding_window"] = window.into();
        }
        if self.model_type == "smollm3" {
            // The one that llama.cpp knows.
            config["no_rope_layer_interval"] = 4.into();
        }
        for (key, there) in ["attention_bias", "mlp_bias"].into_iter().zip(self.biases) {
            if there {
                config[key] = true.into();
            }
        }
        config
    }
}

fn plan(from: &str, to: &str, shape: &[usize]) -> TensorPlan {
    TensorPlan { from: from.into(), to: to.into(), shape: shape.into(), interleaved_heads: None }
}

/// Passes a size on if it can be one; the bound keeps products of a damaged file's sizes from overflowing.
fn positive(name: &str, size: usize) -> Result<usize> {
    if (1..1 << 24).contains(&size) {
        return Ok(size);
    }
    Err(Error::new(Code::ImportKey, format!("`{name}` is {size}, expected 1 to {}", (1 << 24) - 1)))
}

fn missing_tensor(name: &str) -> Error {
    Error::new(Code::ImportTensor, format!("tensor `{name}` is missing")).hint("is this one part of a split file?")
}

/// RoPE scaling where the keys say so, as llama.cpp reads them: a factor without a type is linear.
fn rope_scaling(metadata: Metadata<'_>, arch: &str, context: usize) -> Result<Option<Value>> {
    let key = |name: &str| format!("{arch}.rope.{name}");
    let number = |name: &str| metadata.get::<f64>(&key(name));
    // 0 stands for no factor.
    let factor = number("scaling.factor")?.or(number("scale_linear")?).filter(|f| *f != 0.0).unwrap_or(1.0);
    if !(factor.is_finite() && factor > 0.0) {
        let message = format!("key `{}` is {factor}, expected a number above 0", key("scaling.factor"));
        return Err(Error::new(Code::ImportKey, message).hint("the file is damaged: copy or convert it again"));
    }
    match metadata.get::<&str>(&key("scaling.type"))?.unwrap_or("linear") {
        "none" => Ok(None),
        "linear" if factor == 1.0 => Ok(None),
        "linear" => Ok(Some(json!({ "rope_type": "linear", "factor": factor }))),
        "yarn" => {
            let original = metadata.get::<usize>(&key("scaling.original_context_length"))?.filter(|n| *n > 0);
            let original = original.unwrap_or(context);
            Ok(Some(json!({ "rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original })))
        }
        other => {
            let message = format!("key `{}` is `{other}`", key("scaling.type"));
            Err(Error::new(Code::ImportArchitecture, message)
                .hint("supported are none, linear, yarn and the frequency factors of Llama 3"))
        }
    }
}

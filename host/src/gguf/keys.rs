//! The keys of a GGUF file, by what is made of them. `*` stands for any text: the architecture's name, a number.

use super::metadata::Metadata;
use crate::{
    Code, Error, Result,
    keys::{self, Keys, Use},
};
use candle_core::quantized::gguf_file::Value;
use std::collections::HashMap;

/// Of llama, qwen2, qwen3, qwen3moe, smollm3 and gemma3.
pub const KEYS: &Keys = &[
    (Use::Used, &["general.architecture", "general.alignment"], "the family; where tensors lie"),
    (Use::Only(&["\"model\""]), &["general.type"], "a file of another kind, such as an adapter"),
    (Use::Harmless, &["general.*"], "descriptions, and how to sample: the run's config says that"),
    (
        Use::Used,
        &[
            "*.context_length",
            "*.embedding_length",
            "*.block_count",
            "*.feed_forward_length",
            "*.attention.head_count",
            "*.attention.head_count_kv",
            "*.attention.key_length",
            "*.attention.value_length",
            "*.attention.layer_norm_rms_epsilon",
            "*.attention.sliding_window",
        ],
        "sizes, which may be lists of one number for every layer; epsilon; windows (llama with windows is mistral)",
    ),
    (
        Use::Used,
        &[
            "*.rope.dimension_count",
            "*.rope.freq_base",
            "*.rope.scaling.type",
            "*.rope.scaling.factor",
            "*.rope.scale_linear",
            "*.rope.scaling.original_context_length",
        ],
        "the rotary embedding: none, linear (which a factor without a type means, as in llama.cpp) or yarn",
    ),
    (
        Use::Used,
        &["gemma3.rope.freq_base_swa", "gemma3.attention.sliding_window_pattern"],
        "layers with windows, and their rotary embedding",
    ),
    (
        Use::Used,
        &["qwen3moe.expert_count", "qwen3moe.expert_used_count", "qwen3moe.expert_feed_forward_length"],
        "experts, and how many a token goes through",
    ),
    (Use::Only(&["1"]), &["qwen3moe.expert_gating_func"], "other weights of experts than a softmax's"),
    (Use::Only(&["true"]), &["qwen3moe.expert_weights_norm"], "weights of experts that do not add up to 1"),
    (Use::Only(&["0", "1"]), &["qwen3moe.expert_weights_scale"], "weights of experts that do not add up to 1"),
    (
        Use::Only(&["1"]),
        &["*.rope.scaling.attn_factor", "*.rope.scaling.yarn_attn_factor"],
        "another attention of yarn",
    ),
    (Use::Only(&["1", "-1"]), &["*.rope.scaling.yarn_ext_factor"], "another mixture of yarn"),
    (Use::Only(&["32"]), &["*.rope.scaling.yarn_beta_fast"], "another band of yarn"),
    (Use::Only(&["1"]), &["*.rope.scaling.yarn_beta_slow"], "another band of yarn"),
    (Use::Only(&["0"]), &["*.rope.scaling.yarn_log_multiplier"], "another attention of yarn"),
    (Use::Harmless, &["*.rope.scaling.finetuned", "*.vocab_size", "*.tensor_data_layout"], "remarks"),
    (
        Use::Only(&["0"]),
        &["*.expert_count", "*.expert_used_count", "*.expert_shared_count", "*.leading_dense_block_count"],
        "mixtures of experts",
    ),
    (Use::Only(&["0"]), &["*.nextn_predict_layers", "*.pooling_type"], "parts beside a language model"),
    (Use::Only(&["true"]), &["*.attention.causal"], "attention to later tokens"),
    (Use::Only(&["false"]), &["*.use_parallel_residual", "*.swin_norm"], "layers built otherwise"),
    (
        Use::Used,
        &[
            "tokenizer.ggml.model",
            "tokenizer.ggml.pre",
            "tokenizer.ggml.tokens",
            "tokenizer.ggml.token_type",
            "tokenizer.ggml.scores",
            "tokenizer.ggml.merges",
            "tokenizer.ggml.bos_token_id",
            "tokenizer.ggml.eos_token_id",
            "tokenizer.ggml.eot_token_id",
            "tokenizer.ggml.eom_token_id",
            "tokenizer.ggml.unknown_token_id",
            "tokenizer.ggml.padding_token_id",
            "tokenizer.ggml.add_bos_token",
            "tokenizer.ggml.add_space_prefix",
            "tokenizer.chat_template",
        ],
        "tokenizer and template",
    ),
    (Use::Only(&["false"]), &["tokenizer.ggml.remove_extra_whitespaces"], "another text before tokens"),
    (Use::Only(&[]), &["tokenizer.ggml.precompiled_charsmap"], "another text before tokens"),
    (
        Use::Harmless,
        &["tokenizer.ggml.add_eos_token", "tokenizer.ggml.add_sep_token"],
        "responses end with an end token anyway",
    ),
    (
        Use::Harmless,
        &[
            "tokenizer.ggml.*_token_id",
            "tokenizer.ggml.token_type_count",
            "tokenizer.chat_template.*",
            "tokenizer.chat_templates",
            "tokenizer.huggingface.json",
        ],
        "tokens and templates of other tasks; the tokenizer once more",
    ),
    (Use::Only(&["0", "1"]), &["split.count"], "a part of several files: join them with llama-gguf-split --merge"),
    (
        Use::Harmless,
        &["split.no", "split.tensors.count", "quantize.imatrix.*", "imatrix.*", "mradermacher.*"],
        "how the file was made",
    ),
    (
        Use::Only(&[]),
        &[
            "*.*_length*",
            "*.expert*",
            "*.moe_*",
            "*.interleave_moe_layer_step",
            "*.n_deepstack_layers",
            "*.*scale",
            "*.*softcapping",
            "*.decoder_*",
            "*.rescale_every_n_layers",
            "*.time_*",
            "*.token_shift_count",
            "*.full_attention_interval",
            "*.altup.*",
            "*.swiglu_clamp_*",
            "*.*_feat_*",
            "*.attention.*",
            "*.rope.*",
            "*.ssm.*",
            "*.kda.*",
            "*.wkv.*",
            "*.posnet.*",
            "*.convnext.*",
            "*.classifier.*",
            "*.shortconv.*",
            "tokenizer.rwkv.world",
            "adapter.*",
            "clip.*",
            "diffusion.*",
            "xielu.*",
        ],
        "parts of other architectures",
    ),
];

/// Fails by name where a file is no model, or not the whole of one.
pub fn check_kind(metadata: Metadata<'_>, without_tensors: bool) -> Result<()> {
    let text = |key| metadata.get::<&str>(key).ok().flatten();
    let kind = match (text("general.type"), text("general.architecture")) {
        (None, _) if metadata.0.contains_key("adapter.type") => Some("adapter"),
        (None, Some("clip")) => Some("mmproj"),
        (kind, _) => kind,
    };
    let parts = metadata.get::<usize>("split.count")?.unwrap_or(1);
    let (what, hint) = match kind {
        Some("adapter") => (
            "it is an adapter, no model".into(),
            "give an adapter as PEFT writes it, a directory whose adapter_config.json names its base",
        ),
        Some("mmproj") => {
            ("it is what sees images or hears for a model, no model".into(), "give the file of the language model")
        }
        _ if parts > 1 => (
            format!("it is one of {parts} parts of a model (split.count)"),
            "join them first: llama-gguf-split --merge FIRST-PART WHOLE.gguf",
        ),
        _ if without_tensors => {
            ("it holds a vocabulary alone, no tensors".into(), "give the file with the weights of the model")
        }
        _ => return Ok(()),
    };
    Err(Error::new(Code::GgufArchitecture, what).hint(hint))
}

/// Fails by name where a key is on no list, or has a value that is not taken.
pub fn check(metadata: &HashMap<String, Value>) -> Result<()> {
    let mut entries: Vec<(&str, serde_json::Value)> = metadata.iter().map(|(k, v)| (k.as_str(), json(v))).collect();
    entries.sort_by_key(|(key, _)| *key);
    keys::check(&[KEYS], "metadata", entries.iter().map(|(k, v)| (*k, v)))
}

/// A value, of a list its beginning.
fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::U8(v) => (*v).into(),
        Value::I8(v) => (*v).into(),
        Value::U16(v) => (*v).into(),
        Value::I16(v) => (*v).into(),
        Value::U32(v) => (*v).into(),
        Value::I32(v) => (*v).into(),
        Value::U64(v) => (*v).into(),
        Value::I64(v) => (*v).into(),
        Value::F32(v) => (*v).into(),
        Value::F64(v) => (*v).into(),
        Value::Bool(v) => (*v).into(),
        Value::String(v) => v.as_str().into(),
        Value::Array(list) => list.iter().take(8).map(json).collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_key_of_gguf_is_on_a_list() {
        let all: BTreeMap<String, Vec<String>> =
            serde_json::from_str(include_str!("../../../tests/fixtures/keys.json")).unwrap();
        keys::covers(&[KEYS], all["gguf"].iter().map(String::as_str));
        let docs = include_str!("../../../docs/models.md");
        assert!(docs.contains(&keys::table(&[KEYS])), "docs/models.md must have\n{}", keys::table(&[KEYS]));
    }
}

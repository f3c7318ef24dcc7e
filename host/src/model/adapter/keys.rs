//! The keys of adapter_config.json, by what is made of them.

use crate::keys::{Keys, Use};

/// Keys of adapter_config.json, those of PEFT's LoraConfig.
pub const KEYS: &Keys = &[
    (Use::Used, &["base_model_name_or_path"], "the base: a directory or GGUF file, also one beside the adapter's"),
    (
        Use::Used,
        &["r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern"],
        "rank and scale of each module; patterns are regular expressions on the end of its name, the first counts",
    ),
    (Use::Only(&["\"LORA\""]), &["peft_type"], "another kind of adapter"),
    (Use::Only(&["\"CAUSAL_LM\""]), &["task_type"], "a model with another head"),
    (
        Use::Only(&["true", "false", "\"gaussian\"", "\"eva\"", "\"orthogonal\"", "\"mica\""]),
        &["init_lora_weights"],
        "kinds that changed the base (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA): save again with PEFT's path_initial_model_for_weight_conversion, or merge with PEFT",
    ),
    (Use::Only(&["\"none\""]), &["bias"], "biases of the base that were trained too: merge the adapter with PEFT"),
    (
        Use::Used,
        &["modules_to_save", "ensure_weight_tying"],
        "embedding and head where they were trained as a whole, and whether they stay one; other modules are refused",
    ),
    (
        Use::Only(&["[]", "{}"]),
        &["trainable_token_indices", "target_parameters"],
        "tokens or tensors that were trained by themselves: merge the adapter with PEFT",
    ),
    (
        Use::Only(&["false"]),
        &["use_dora", "use_qalora", "use_bdlora", "lora_bias", "fan_in_fan_out", "enable_lora", "merge_weights"],
        "another formula than W + scale B A: merge the adapter with PEFT",
    ),
    (
        Use::Only(&["[]"]),
        &["layer_replication", "alora_invocation_tokens"],
        "layers that are repeated; adapters that begin at a token",
    ),
    (
        Use::Only(&[]),
        &["arrow_config", "kasa_config", "velora_config", "monteclora_config"],
        "another formula than W + scale B A: merge the adapter with PEFT",
    ),
    (
        Use::Harmless,
        &["target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"],
        "which modules have adapters is what the tensors say",
    ),
    (Use::Harmless, &["lora_dropout"], "dropout, which training here has not"),
    (
        Use::Harmless,
        &["loftq_config", "eva_config", "corda_config", "lora_ga_config", "qalora_group_size"],
        "of ways to begin or to compute that other keys turn on",
    ),
    (
        Use::Harmless,
        &[
            "auto_mapping",
            "peft_version",
            "revision",
            "inference_mode",
            "megatron_config",
            "megatron_core",
            "runtime_config",
        ],
        "of PEFT's calls",
    ),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::keys;
    use std::collections::BTreeMap;

    #[test]
    fn every_key_of_peft_is_on_a_list() {
        let all: BTreeMap<String, Vec<String>> =
            serde_json::from_str(include_str!("../../../../tests/fixtures/keys.json")).unwrap();
        keys::covers(&[KEYS], all["peft"].iter().map(String::as_str));
        let docs = include_str!("../../../../docs/models.md");
        assert!(docs.contains(&keys::table(&[KEYS])), "docs/models.md must have\n{}", keys::table(&[KEYS]));
    }
}

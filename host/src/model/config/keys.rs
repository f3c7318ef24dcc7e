//! The keys of config.json, by what is made of them.

use crate::keys::{Keys, Use};

/// Of every family.
pub const KEYS: &Keys = &[
    (
        Use::Used,
        &[
            "model_type",
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "head_dim",
        ],
        "family and sizes",
    ),
    (Use::Used, &["max_position_embeddings", "rms_norm_eps"], "the longest sequence; epsilon of the norms"),
    (Use::Used, &["tie_word_embeddings"], "whether the head is the embedding"),
    (Use::Used, &["attention_bias", "mlp_bias"], "biases, in the families that have them; weights and file must agree"),
    (
        Use::Used,
        &["sliding_window", "use_sliding_window", "max_window_layers"],
        "windows of mistral, qwen, smollm3 and gemma3; llama has none, whatever they say",
    ),
    (
        Use::Used,
        &["rope_theta", "rope_scaling", "rope_parameters", "original_max_position_embeddings"],
        "the rotary embedding, see below",
    ),
    (Use::Used, &["eos_token_id"], "a token that ends a response"),
    (Use::Only(&["\"silu\"", "\"swish\""]), &["hidden_act"], "the activation"),
    (Use::Only(&["1"]), &["partial_rotary_factor"], "positions in a part of a head's numbers"),
    (Use::Only(&["0"]), &["rotary_dim"], "positions in a part of a head's numbers"),
    (Use::Only(&["false"]), &["rope_interleaved"], "another order of a head's numbers"),
    (Use::Only(&["false"]), &["use_mrope"], "several axes of positions"),
    (Use::Only(&["true"]), &["is_causal"], "attention to later tokens"),
    (
        Use::Only(&["false"]),
        &["is_encoder_decoder", "add_cross_attention", "use_qk_norm", "qk_layernorm"],
        "parts that the families have not",
    ),
    (Use::Only(&["{}", "[]"]), &["pruned_heads"], "heads that are left out"),
    (Use::Only(&["{}"]), &["auto_map", "per_layer_config"], "code of the model's own; layers that differ"),
    (
        Use::Only(&[]),
        &["quantization_config", "compression_config"],
        "weights in few bits: take a model with float weights",
    ),
    (
        Use::Harmless,
        &["attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop"],
        "dropout, which training here has not, as DPO in TRL",
    ),
    (
        Use::Harmless,
        &["initializer_range", "use_cache", "pretraining_tp", "gradient_checkpointing", "chunk_size_feed_forward"],
        "how training began; how it is computed elsewhere",
    ),
    (
        Use::Harmless,
        &["dtype", "torch_dtype", "use_bfloat16", "torchscript", "model_parallel"],
        "how it is kept elsewhere; the weights say their own type",
    ),
    (
        Use::Harmless,
        &["dual_chunk_attention_config"],
        "attention beyond the length of training, which transformers has not",
    ),
    (
        Use::Harmless,
        &[
            "attn_implementation",
            "experts_implementation",
            "_attn_implementation*",
            "_experts_implementation*",
            "use_flash_attn",
            "use_flash_attention_2",
            "_flash_attn_2_enabled",
            "tf_legacy_loss",
        ],
        "which kernels compute it elsewhere",
    ),
    (
        Use::Harmless,
        &[
            "architectures",
            "_name_or_path",
            "name_or_path",
            "_commit_hash",
            "transformers_version",
            "transformers.js_config",
        ],
        "where it comes from; what the tensors are, they say",
    ),
    (
        Use::Harmless,
        &["unsloth_version", "unsloth_fixed", "unsloth_training_args", "is_llama_config", "model_name"],
        "remarks of tools",
    ),
    (
        Use::Harmless,
        &[
            "bos_token_id",
            "pad_token_id",
            "unk_token_id",
            "sep_token_id",
            "cls_token_id",
            "mask_token_id",
            "decoder_start_token_id",
            "tokenizer_class",
            "prefix",
        ],
        "tokens: the tokenizer's files say them",
    ),
    (
        Use::Harmless,
        &["max_sequence_length", "seq_length", "model_max_length"],
        "lengths of training; max_position_embeddings counts",
    ),
    (
        Use::Harmless,
        &[
            "output_attentions",
            "output_hidden_states",
            "output_scores",
            "return_dict",
            "return_dict_in_generate",
            "remove_invalid_values",
            "finetuning_task",
            "task_specific_params",
            "problem_type",
            "id2label",
            "label2id",
            "num_labels",
            "classifier_dropout",
            "is_decoder",
            "cross_attention_hidden_size",
            "tie_encoder_decoder",
        ],
        "of other tasks, and of transformers' calls",
    ),
    (
        Use::Harmless,
        &[
            "max_length",
            "min_length",
            "max_new_tokens",
            "do_sample",
            "early_stopping",
            "num_beams",
            "num_beam_groups",
            "diversity_penalty",
            "temperature",
            "top_k",
            "top_p",
            "typical_p",
            "repetition_penalty",
            "length_penalty",
            "no_repeat_ngram_size",
            "encoder_no_repeat_ngram_size",
            "bad_words_ids",
            "num_return_sequences",
            "forced_bos_token_id",
            "forced_eos_token_id",
            "exponential_decay_length_penalty",
            "suppress_tokens",
            "begin_suppress_tokens",
            "encoder_repetition_penalty",
            "epsilon_cutoff",
            "eta_cutoff",
            "assistant_*",
            "num_assistant_tokens*",
            "target_lookbehind",
        ],
        "sampling: the run's config says how",
    ),
];

/// Of families with several kinds of layers.
pub const QWEN: &Keys =
    &[(Use::Used, &["layer_types"], "which layers have windows (qwen2, qwen3, smollm3 and gemma3 alone)")];
/// Of SmolLM3 besides.
pub const SMOLLM3: &Keys =
    &[(Use::Used, &["no_rope_layers", "no_rope_layer_interval"], "which layers know no positions (smollm3 alone)")];
/// Of Qwen3-MoE besides.
pub const QWEN3_MOE: &Keys = &[
    (
        Use::Used,
        &["num_experts", "num_local_experts", "num_experts_per_tok", "moe_intermediate_size", "norm_topk_prob"],
        "experts, and how many a token goes through (qwen3_moe alone, as what follows)",
    ),
    (Use::Used, &["mlp_only_layers", "decoder_sparse_step"], "which layers have experts"),
    (Use::Only(&["false"]), &["output_router_logits"], "the auxiliary loss of pretraining, no part of DPO"),
    (Use::Harmless, &["router_aux_loss_coef"], "its weight"),
];
/// Of Gemma 3 besides, before those of every family.
pub const GEMMA3: &Keys = &[
    (Use::Only(&["\"gelu_pytorch_tanh\""]), &["hidden_activation"], "the activation of gemma3"),
    (Use::Only(&["\"gelu_pytorch_tanh\""]), &["hidden_act"], "another name of it, which transformers passes over"),
    (Use::Used, &["query_pre_attn_scalar"], "by whose root scores are divided (gemma3 alone, as what follows)"),
    (Use::Used, &["rope_local_base_freq"], "the base of layers with windows"),
    (Use::Used, &["sliding_window_pattern"], "every layer of this number has no window"),
    (Use::Harmless, &["_sliding_window_pattern"], "the same, which transformers writes beside layer_types"),
    (Use::Only(&[]), &["final_logit_softcapping", "attn_logit_softcapping"], "logits or scores that are bent"),
    (Use::Only(&["false"]), &["use_bidirectional_attention"], "attention to later tokens"),
    (Use::Harmless, &["cache_implementation"], "how it is computed elsewhere"),
];

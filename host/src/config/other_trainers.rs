//! What keys of other trainers' configs are called here: TRL's (DPOConfig with transformers' TrainingArguments,
//! ModelConfig, ScriptArguments), and the commonest of Axolotl and LLaMA-Factory. docs/from-trl.md has the table.

/// What there is here in the place of a key.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Here {
    /// The same thing under another key.
    Key(&'static str),
    /// What is so in any case, or what to do.
    Says(&'static str),
}

/// What a message says of a key that is another trainer's; None of other keys.
pub fn called(name: &str) -> Option<String> {
    let (_, here) = KEYS.iter().find(|(keys, _)| keys.split(' ').any(|key| key == name))?;
    Some(match here {
        Here::Key(key) => format!("it is called `{key}` here"),
        Here::Says(what) => (*what).to_owned(),
    })
}

use Here::{Key, Says};

/// Keys apart by spaces.
const KEYS: &[(&str, Here)] = &[
    ("model_name_or_path model_name base_model", Key("model")),
    ("model_revision hub_revision", Says("a revision is part of `model`: hub:owner/name@revision")),
    (
        "tokenizer_name_or_path tokenizer_name tokenizer_config tokenizer_type tokenizer pad_token special_tokens template \
         chat_template chat_template_path default_system",
        Says("tokenizer and chat template are those of the model's directory; `data.system` is a default for rows"),
    ),
    (
        "model_type model_init_kwargs trust_remote_code config_name",
        Says("config.json says what the model is; no code of a model is run"),
    ),
    (
        "dtype torch_dtype fp16 tf32 bf16_full_eval fp16_full_eval pure_bf16 float16 bfloat16",
        Says("weights that are trained are f32; `bf16: true` rounds the products' operands"),
    ),
    (
        "attn_implementation flash_attention flash_attn xformers_attention sdp_attention use_liger_kernel \
         liger_kernel_config torch_compile torch_compile_backend torch_compile_mode",
        Says("attention and kernels are the program's own"),
    ),
    (
        "use_peft adapter finetuning_type",
        Says("`train.lora: {}` trains an adapter; without it all weights are trained"),
    ),
    ("lora_r lora_rank", Key("train.lora.r")),
    ("lora_alpha", Key("train.lora.lora_alpha")),
    ("lora_target_modules lora_target lora_target_linear", Key("train.lora.target_modules")),
    (
        "lora_dropout use_rslora use_dora lora_bias lora_task_type",
        Says("adapters are plain LoRA, with neither dropout nor biases"),
    ),
    (
        "lora_target_parameters lora_modules_to_save lora_fan_in_fan_out lora_on_cpu additional_target",
        Says("adapters are on linear modules alone"),
    ),
    (
        "load_in_8bit load_in_4bit bnb_4bit_quant_type use_bnb_nested_quant bnb_4bit_quant_storage quantization_bit \
         quantization_method",
        Says("weights are not quantized; frozen weights take half the memory with `bf16: true`"),
    ),
    ("lora_model_dir adapter_name_or_path", Says("`model` may be an adapter's directory: it is trained on")),
    ("datasets dataset_name dataset train_file dataset_path dataset_dir", Key("data.path")),
    (
        "dataset_config dataset_train_split dataset_streaming split dataset_prepared_path dataset_num_proc \
         preprocessing_num_workers overwrite_cache",
        Says("`data.path` is a file, JSONL or Parquet, or a list of them; rows are read as they are needed"),
    ),
    ("max_samples max_train_samples", Key("data.max_rows")),
    ("sequence_len cutoff_len max_seq_length max_seq_len", Key("data.max_length")),
    ("max_completion_length", Key("generate.max_new_tokens")),
    (
        "truncation_mode padding_free pad_to_multiple_of sample_packing packing group_by_length length_column_name \
         pad_to_sequence_len train_sampling_strategy",
        Says("prompts keep their end and responses their beginning; there is no padding, and rows are packed"),
    ),
    (
        "train_on_inputs train_on_prompt mask_history completion_only_loss assistant_only_loss",
        Says("responses alone are trained on; `data.turns` says of which turns"),
    ),
    ("dataset_test_split test_datasets eval_dataset val_size val_set_size validation_file", Key("eval.data")),
    (
        "eval_strategy evaluation_strategy eval_steps eval_delay eval_on_start do_eval evals_per_epoch \
         load_best_model_at_end metric_for_best_model greater_is_better early_stopping_patience",
        Says("rows of `eval` are answered before the first and after every round, and the last model is kept"),
    ),
    (
        "per_device_eval_batch_size eval_batch_size eval_accumulation_steps batch_eval_metrics include_for_metrics \
         prediction_loss_only eval_do_concat_batches eval_use_gather_object do_predict compute_metrics",
        Says(
            "`eval.generate.batch_size` is how many responses are sampled side by side; `eval.checker` says which are right",
        ),
    ),
    ("do_train stage rl method", Says("`ldalign run` trains by preferences, `ldalign sft` on responses alone")),
    ("micro_batch_size", Key("train.per_device_train_batch_size")),
    ("lr", Key("train.learning_rate")),
    ("lr_scheduler", Key("train.lr_scheduler_type")),
    ("num_epochs epochs", Key("train.num_train_epochs")),
    ("optim optimizer optim_args optim_target_modules", Says("the optimizer is AdamW, as adamw_torch")),
    ("gradient_clipping", Key("train.max_grad_norm")),
    (
        "auto_find_batch_size average_tokens_across_devices",
        Says("only the product of the two batch sizes counts; passes fit the memory"),
    ),
    (
        "gradient_checkpointing gradient_checkpointing_kwargs activation_checkpointing activation_checkpointing_kwargs \
         activation_offloading torch_empty_cache_steps use_cache disable_gradient_checkpointing",
        Says("what a pass keeps, and what it computes again, follows from the memory"),
    ),
    ("label_smoothing_factor dpo_label_smoothing", Key("train.label_smoothing")),
    ("neftune_noise_alpha disable_dropout", Says("training has neither noise nor dropout")),
    ("rl_beta pref_beta dpo_beta", Key("train.beta")),
    ("pref_loss dpo_loss", Key("train.loss_type")),
    ("rpo_alpha pref_ftx dpo_ftx", Key("train.sft_weight")),
    (
        "ld_alpha f_divergence_type f_alpha_divergence_coef discopop_tau router_aux_loss_coef reference_free",
        Says("the divergence is the reverse Kullback-Leibler; `train.loss_type` has the losses that there are"),
    ),
    ("use_weighting", Says("pairs are weighted by a `schedule` of the distances of their responses")),
    (
        "sync_ref_model ref_model_mixup_alpha ref_model_sync_steps ref_model ref_model_name_or_path",
        Says("the reference of a round is the model that it begins with; `rounds` says how many there are"),
    ),
    (
        "precompute_ref_log_probs precompute_ref_batch_size",
        Says("the reference's log-probabilities are computed once, before training"),
    ),
    (
        "report_to logging_strategy logging_first_step log_on_each_node logging_nan_inf_filter log_level log_level_replica \
         disable_tqdm run_name project trackio_space_id trackio_bucket_id trackio_static_space_id logging_dir plot_loss \
         include_num_input_tokens_seen wandb_project wandb_entity wandb_name use_tensorboard use_wandb",
        Says("report.html, metrics.jsonl and TensorBoard's events are written in any case, by `train.logging_steps`"),
    ),
    (
        "save_strategy save_only_model save_on_each_node saves_per_epoch enable_jit_checkpoint save_safetensors \
         resume_from_checkpoint auto_resume_from_checkpoints ignore_data_skip restore_callback_states_from_checkpoint \
         overwrite_output_dir",
        Says("checkpoints come by `train.save_steps`; a run that was cut off goes on when it is started again"),
    ),
    (
        "push_to_hub hub_token hub_private_repo hub_model_id hub_strategy hub_always_push",
        Says("nothing is uploaded: round-N/model is a Hugging Face directory"),
    ),
    ("use_cpu no_cuda", Key("device")),
    ("data_seed full_determinism", Says("all that is random follows from `seed`, to the bit")),
    (
        "local_rank deepspeed fsdp fsdp_config accelerator_config parallelism_config ddp_find_unused_parameters \
         ddp_bucket_cap_mb ddp_broadcast_buffers ddp_static_graph ddp_backend ddp_timeout tensor_parallel_size",
        Says("one process trains, on one device"),
    ),
    (
        "dataloader_drop_last dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers \
         dataloader_prefetch_factor dataloader_multiprocessing_context dataloader_in_order remove_unused_columns label_names \
         skip_memory_metrics debug ignore_bias_buffers include_tokens_per_second",
        Says("there is nothing of this to set"),
    ),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::RunConfig;
    use serde_json::Value;

    /// Every key of the schema, with the sections that it is in.
    fn ours() -> Vec<String> {
        fn walk(root: &Value, schema: &Value, path: &str, keys: &mut Vec<String>) {
            let target = schema["$ref"].as_str().and_then(|r| root.pointer(r.trim_start_matches('#')));
            let schema = target.unwrap_or(schema);
            for branch in ["anyOf", "oneOf"].iter().flat_map(|of| schema[*of].as_array().into_iter().flatten()) {
                walk(root, branch, path, keys);
            }
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                let path = format!("{path}{name}");
                walk(root, property, &format!("{path}."), keys);
                keys.push(path);
            }
        }
        let (schema, mut keys) = (RunConfig::schema(), vec![]);
        walk(&schema, &schema, "", &mut keys);
        keys
    }

    #[test]
    fn every_key_of_trl_is_a_key_here_or_in_the_table() {
        let ours = ours();
        let same = |name: &str| ours.iter().any(|key| key.rsplit('.').next() == Some(name));
        let theirs: Value = serde_json::from_str(include_str!("../../../tests/fixtures/trl_keys.json")).unwrap();
        let theirs: Vec<&str> = theirs
            .as_object()
            .unwrap()
            .values()
            .flat_map(|keys| keys.as_array().unwrap())
            .map(|key| key.as_str().unwrap())
            .collect();
        assert!(theirs.len() > 160);
        let missing: Vec<_> = theirs.iter().filter(|key| !same(key) && called(key).is_none()).collect();
        assert!(missing.is_empty(), "{missing:?}");
        for (keys, here) in KEYS {
            for key in keys.split(' ') {
                assert_eq!(
                    KEYS.iter().filter(|(other, _)| other.split(' ').any(|k| k == key)).count(),
                    1,
                    "{key} twice"
                );
                assert!(key == "lora_alpha" || !same(key), "{key} is a key here");
            }
            if let Here::Key(key) = here {
                assert!(ours.iter().any(|our| our == key), "there is no {key}");
            }
        }
    }

    #[test]
    fn the_documented_table_is_this_one() {
        let line = |(keys, here): &(&str, Here)| {
            let keys: Vec<String> = keys.split(' ').map(|key| format!("`{key}`")).collect();
            let here = match here {
                Here::Key(key) => format!("`{key}`"),
                Here::Says(what) => (*what).to_owned(),
            };
            format!("| {} | {here} |\n", keys.join(" "))
        };
        let table: String = KEYS.iter().map(line).collect();
        let page = include_str!("../../../docs/from-trl.md");
        assert!(
            page.contains(&format!("| there | here |\n|---|---|\n{table}\n")),
            "docs/from-trl.md should have\n{table}"
        );
    }

    #[test]
    fn the_documented_config_is_one() {
        let page = include_str!("../../../docs/from-trl.md");
        let yaml = page.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("model")).unwrap();
        std::fs::write(dir.path().join("rows.jsonl"), "").unwrap();
        std::fs::write(dir.path().join("run.yaml"), yaml).unwrap();
        let config = RunConfig::load(&dir.path().join("run.yaml"), &[]).unwrap();
        assert_eq!(config.train.lora.unwrap().r, 16);
        // All keys of TRL's are told of at once.
        let theirs: Vec<&str> = page
            .split("A DPO configuration of TRL,")
            .nth(1)
            .unwrap()
            .split("is this here")
            .next()
            .unwrap()
            .lines()
            .collect();
        let theirs: String =
            theirs.iter().filter_map(|line| line.strip_prefix("    ")).map(|line| format!("{line}\n")).collect();
        std::fs::write(dir.path().join("run.yaml"), theirs).unwrap();
        let error = RunConfig::load(&dir.path().join("run.yaml"), &[]).unwrap_err().to_string();
        for said in [
            "model_name_or_path (line 1): unknown key; it is called `model` here",
            "dataset_name (line 2): unknown key; it is called `data.path` here",
            "beta (line 4): unknown key; did you mean `train.beta`?",
            "use_peft (line 8): unknown key; `train.lora: {}` trains an adapter",
            "lora_r (line 9): unknown key; it is called `train.lora.r` here",
            "report_to (line 11): unknown key; report.html, metrics.jsonl",
        ] {
            assert!(error.contains(said), "{said} is not in\n{error}");
        }
    }

    #[test]
    fn keys_of_other_trainers_are_told_what_they_are_here() {
        assert_eq!(called("lora_r").unwrap(), "it is called `train.lora.r` here");
        assert_eq!(called("optim").unwrap(), "the optimizer is AdamW, as adamw_torch");
        assert_eq!(called("learning_rate"), None);
    }
}

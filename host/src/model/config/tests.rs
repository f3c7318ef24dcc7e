#![allow(clippy::unwrap_used)]
use super::{family::FAMILIES, *};
use serde_json::json;

fn base() -> Value {
    json!({
        "model_type": "llama", "vocab_size": 100, "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 512, "rope_theta": 5000.0,
    })
}
fn read(changes: Value) -> Result<ModelConfig> {
    let (Value::Object(mut map), Value::Object(changes)) = (base(), changes) else { panic!("objects") };
    map.extend(changes);
    map.retain(|_, value| value != "GONE");
    ModelConfig::read("config.json", map)
}

/// Something of every layer.
fn of_layers<T>(config: &ModelConfig, f: impl Fn(&LayerConfig) -> T) -> Vec<T> {
    config.layers.iter().map(f).collect()
}

#[test]
fn old_and_new_spellings_of_rope_mean_the_same() {
    let llama3 = json!({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192});
    let old = read(json!({"rope_theta": 5e5, "rope_scaling": llama3.clone()})).unwrap();
    let mut new = llama3;
    new["rope_theta"] = 5e5.into();
    let new = read(json!({"rope_theta": null, "rope_parameters": new})).unwrap();
    assert_eq!(old.ropes, new.ropes);
    let rope = &new.ropes[0];
    assert!(matches!(rope.scaling, Scaling::Llama3 { original: 8192.0, .. }) && rope.theta == 5e5);
    let plain = read(json!({"rope_scaling": null})).unwrap();
    assert_eq!(plain.ropes, [RopeConfig { theta: 5000.0, scaling: Scaling::None }]);
    let plain = read(json!({"rope_parameters": {"rope_type": "default", "rope_theta": 7.0}})).unwrap();
    assert_eq!(plain.ropes, [RopeConfig { theta: 7.0, scaling: Scaling::None }]);
}

#[test]
fn windows_follow_the_family() {
    let windows = |changes| of_layers(&read(changes).unwrap(), |layer| layer.window);
    assert_eq!(windows(json!({"sliding_window": 9})), [None; 4]);
    assert_eq!(windows(json!({"model_type": "mistral"})), [Some(4096); 4]);
    assert_eq!(windows(json!({"model_type": "mistral", "sliding_window": null})), [None; 4]);
    assert_eq!(windows(json!({"model_type": "mistral", "sliding_window": 9})), [Some(9); 4]);
    assert_eq!(windows(json!({"model_type": "qwen2", "sliding_window": 9})), [None; 4]);
    let qwen = json!({"model_type": "qwen2", "sliding_window": 9, "use_sliding_window": true, "max_window_layers": 3});
    assert_eq!(windows(qwen), [None, None, None, Some(9)]);
    let types = ["sliding_attention", "full_attention", "full_attention", "sliding_attention"];
    let qwen = json!({"model_type": "qwen3", "sliding_window": 9, "use_sliding_window": true, "layer_types": types});
    assert_eq!(windows(qwen), [Some(9), None, None, Some(9)]);
}

/// The spellings of transformers 4 and 5, and what its configuration takes where nothing is said.
#[test]
fn layers_of_gemma3_are_those_of_transformers() {
    let read = |changes: Value| {
        let mut all = json!({"model_type": "gemma3_text", "num_hidden_layers": 7, "sliding_window": 9});
        all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        read(all).unwrap()
    };
    let plain = read(json!({"rope_theta": "GONE"}));
    let (local, global) = ((Some(9), Some(1)), (None, Some(0)));
    let layers = |config: &ModelConfig| of_layers(config, |layer| (layer.window, layer.rope));
    assert_eq!(layers(&plain), [local, local, local, local, local, global, local]);
    let rope = |theta, scaling| RopeConfig { theta, scaling };
    assert_eq!(plain.ropes, [rope(1e6, Scaling::None), rope(1e4, Scaling::None)]);
    assert!(plain.tied && (plain.head_dim, plain.score_divisor) == (256, 256.0));
    let old = read(json!({
        "rope_theta": 50.0, "rope_local_base_freq": 7.0, "sliding_window_pattern": 2,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    }));
    assert_eq!(layers(&old), [local, global, local, global, local, global, local]);
    assert_eq!(old.ropes, [rope(50.0, Scaling::Linear(8.0)), rope(7.0, Scaling::None)]);
    let new = json!({
        "full_attention": {"rope_type": "linear", "rope_theta": 50.0, "factor": 8.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 7.0},
    });
    assert_eq!(read(json!({"rope_theta": "GONE", "rope_parameters": new})).ropes, old.ropes);
}

/// The root of the width is rounded as a weight is, as in transformers: by 1152, Gemma 3's smallest, it is 34.
#[test]
fn gemma3_multiplies_embeddings_by_the_root_of_their_width() {
    let scale = |width: u64, precision| {
        let all = json!({"model_type": "gemma3_text", "hidden_size": width, "sliding_window": 9});
        read(all).unwrap().embedding_scale(precision)
    };
    assert_eq!(scale(1152, Precision::F32), Some(33.941_125));
    assert_eq!(scale(1152, Precision::Bf16), Some(34.0));
    assert_eq!(scale(1024, Precision::Bf16), Some(32.0));
    assert_eq!(read(json!({})).unwrap().embedding_scale(Precision::Bf16), None);
}

#[test]
fn layers_of_smollm3_without_positions_are_those_of_transformers() {
    let read = |changes: Value| {
        let mut all = json!({"model_type": "smollm3"});
        all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        read(all)
    };
    let layers = |config: &ModelConfig| of_layers(config, |layer| (layer.rope.is_some(), layer.window));
    let plain = read(json!({})).unwrap();
    assert_eq!(layers(&plain), [(true, None), (true, None), (true, None), (false, None)]);
    assert!(plain.tied);
    let second = read(json!({"no_rope_layer_interval": 2, "use_sliding_window": true, "sliding_window": 9})).unwrap();
    assert_eq!(layers(&second), [(true, None), (false, Some(9)), (true, None), (false, Some(9))]);
    // More than there are layers are left out, as in transformers.
    for list in [json!([0, 1, 1, 1]), json!([0, 1, 1, 1, 0, 2])] {
        let given = read(json!({"no_rope_layers": list, "use_sliding_window": true})).unwrap();
        assert_eq!(layers(&given), [(false, None), (true, None), (true, None), (true, None)]);
    }
    let short = read(json!({"no_rope_layers": [1]})).unwrap_err();
    assert_eq!(short.message(), "config.json: no_rope_layers is [1], expected a list of 4 numbers, 0 or 1");
    let sliding = json!(["sliding_attention", "full_attention", "full_attention", "full_attention"]);
    assert!(read(json!({"layer_types": sliding})).unwrap_err().message().contains("use_sliding_window is false"));
}

#[test]
fn what_is_not_computed_is_refused_by_key_and_value() {
    let cases = [
        (
            json!({"model_type": "gpt2"}),
            r#"model_type is "gpt2"; supported is llama, mistral, qwen2, qwen3, qwen3_moe, smollm3 or gemma3_text"#,
        ),
        (json!({"model_type": null}), "model_type is missing"),
        (json!({"hidden_act": "gelu"}), r#"hidden_act is "gelu"; supported is "silu" or "swish""#),
        (json!({"attention_bias": 1}), "attention_bias is 1, expected true or false"),
        (json!({"partial_rotary_factor": 0.5}), "partial_rotary_factor is 0.5; supported is 1"),
        (
            json!({"layer_types": ["full_attention"]}),
            "the key layer_types is not known, and might change what is computed; it is [\"full_attention\"]",
        ),
        (json!({"logit_scale": 0.5}), "the key logit_scale is not known, and might change what is computed; it is 0.5"),
        (
            json!({"quantization_config": {"quant_method": "gptq", "bits": 4}}),
            r#"quantization_config is "gptq"; supported is a model with float weights"#,
        ),
        (
            json!({"rope_scaling": {"type": "ntk", "factor": 2.0}}),
            r#"type is "ntk"; supported is default, linear, dynamic, yarn or llama3"#,
        ),
        (
            json!({"rope_parameters": {"rope_type": "longrope", "long_factor": [1.0]}}),
            "long_factor is [1.0]; supported is none",
        ),
        (json!({"rope_parameters": {"rope_type": "linear"}}), "factor is missing in the linear rope scaling"),
        (
            json!({"rope_scaling": {"rope_type": "llama3", "factor": 2.0}}),
            "low_freq_factor is missing in the llama3 rope scaling",
        ),
        (
            json!({"rope_theta": null, "rope_parameters": {"rope_theta": 7.0}, "rope_scaling": {"type": "linear", "factor": 2}}),
            "rope_scaling stands beside rope_parameters, and takes its place: rope_theta 7 would be lost",
        ),
        (json!({"hidden_size": null}), "hidden_size is missing"),
        (json!({"hidden_size": "64"}), r#"hidden_size is "64", expected a whole number above 0"#),
        (json!({"vocab_size": 0}), "vocab_size is 0, expected a whole number above 0"),
        (json!({"num_hidden_layers": 1e18}), "num_hidden_layers is 1e+18, expected a whole number above 0"),
        (json!({"num_hidden_layers": 2_000_000_000}), "num_hidden_layers is 2000000000, expected at most 10000"),
        (json!({"hidden_size": 63}), "hidden_size is 63, expected a multiple of num_attention_heads, 8"),
        (json!({"num_key_value_heads": 3}), "num_key_value_heads is 3, expected a divisor of num_attention_heads, 8"),
        (
            json!({"model_type": "mistral", "num_attention_heads": 4, "num_key_value_heads": "GONE"}),
            "num_key_value_heads, which is missing, is 8, expected a divisor of num_attention_heads, 4",
        ),
        (json!({"head_dim": 9}), "head_dim is 9, expected an even number"),
        (
            json!({"model_type": "qwen2", "max_window_layers": "3"}),
            "max_window_layers is \"3\", expected a whole number above 0",
        ),
        (
            json!({"model_type": "qwen3_moe", "num_experts": 4, "num_experts_per_tok": 5}),
            "num_experts_per_tok is 5, expected at most num_experts, 4",
        ),
        (
            json!({"model_type": "qwen3_moe", "num_experts": 4, "num_local_experts": 5}),
            "num_local_experts is 5, expected num_experts, 4",
        ),
        (
            json!({"model_type": "qwen3_moe", "output_router_logits": true}),
            "output_router_logits is true; supported is false",
        ),
        (
            json!({"model_type": "gemma3_text", "final_logit_softcapping": 30.0}),
            "final_logit_softcapping is 30.0; supported is none",
        ),
        (
            json!({"model_type": "gemma3_text", "rope_parameters": {"rope_theta": 5.0}}),
            "rope_parameters.rope_theta is 5.0; supported is full_attention and sliding_attention",
        ),
        (
            json!({"model_type": "gemma3_text", "rope_scaling": {"type": "linear", "factor": 8.0}}),
            "type is \"linear\"; supported is rope_type",
        ),
        (
            json!({"model_type": "gemma3_text", "rope_theta": "GONE", "rope_parameters": {"full_attention":
                {"rope_type": "yarn", "factor": 8.0}}}),
            "rope_type is \"yarn\"; supported is default or linear",
        ),
        (
            json!({"model_type": "gemma3_text", "sliding_window": null}),
            "sliding_window is null, expected a number of tokens, since layers have sliding_attention",
        ),
        (
            json!({"model_type": "qwen3_moe", "num_experts": 1_000_000}),
            "num_experts is 1000000, expected at most 25000 in each of 4 layers",
        ),
        (json!({"rms_norm_eps": -1}), "rms_norm_eps is -1, expected a number above 0"),
        (json!({"tie_word_embeddings": 1}), "tie_word_embeddings is 1, expected true or false"),
    ];
    for (changes, message) in cases {
        let error = read(changes.clone()).expect_err(message);
        assert_eq!(error.message(), format!("config.json: {message}"));
    }
}

/// As transformers: `rope_scaling` takes the place of `rope_parameters`, the model's own original length goes first,
/// and its longest sequence stands for one that is missing.
#[test]
fn rope_is_read_as_transformers_reads_it() {
    let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0});
    let original = |changes| match read(changes).unwrap().ropes.remove(0).scaling {
        Scaling::Llama3 { original, .. } => original,
        other => panic!("{other:?}"),
    };
    assert_eq!(original(json!({"rope_scaling": llama3})), 512.0);
    assert_eq!(original(json!({"rope_scaling": llama3, "original_max_position_embeddings": 32})), 32.0);
    let mut given = llama3.clone();
    given["original_max_position_embeddings"] = 64.into();
    assert_eq!(original(json!({"rope_scaling": given})), 64.0);
    assert_eq!(original(json!({"rope_scaling": given, "original_max_position_embeddings": 32})), 32.0);

    let plain = json!({"rope_type": "default", "rope_theta": 10000.0});
    let beside = read(json!({"rope_theta": "GONE", "rope_parameters": plain, "rope_scaling": given}));
    let beside = beside.unwrap().ropes.remove(0);
    assert_eq!(beside, read(json!({"rope_theta": null, "rope_scaling": given})).unwrap().ropes.remove(0));
    assert!(matches!(beside.scaling, Scaling::Llama3 { .. }));
    let empty = read(json!({"rope_parameters": given, "rope_scaling": {}})).unwrap().ropes.remove(0);
    assert!(matches!(empty.scaling, Scaling::Llama3 { .. }));
    // In transformers a `truncate` of null does not truncate, and one that is missing does.
    let band = |truncate: Value| {
        let mut changes = json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "truncate": truncate}});
        changes["rope_scaling"].as_object_mut().unwrap().retain(|_, v| *v != "GONE");
        read(changes).unwrap().ropes.remove(0)
    };
    assert_eq!(band(Value::Null), band(false.into()));
    assert_eq!(band("GONE".into()), band(true.into()));
    assert_ne!(band(Value::Null), band(true.into()));
    let linear =
        |factor: f64| read(json!({"rope_scaling": {"type": "linear", "factor": factor}})).unwrap().ropes.remove(0);
    let plain = read(json!({})).unwrap().ropes.remove(0);
    assert_eq!(linear(1.0).frequencies(8), plain.frequencies(8));
    assert_eq!(linear(4.0).frequencies(8), plain.frequencies(8).iter().map(|f| f / 4.0).collect::<Vec<_>>());
}

#[test]
fn what_is_unsaid_is_what_transformers_takes() {
    let kv = |changes| read(changes).unwrap().num_kv_heads;
    assert_eq!(kv(json!({"num_key_value_heads": "GONE"})), 8);
    assert_eq!(kv(json!({"num_attention_heads": 16, "num_key_value_heads": "GONE", "model_type": "mistral"})), 8);
    assert_eq!(kv(json!({"num_attention_heads": 16, "num_key_value_heads": null, "model_type": "mistral"})), 16);
    let biased = |changes| read(changes).unwrap().biased;
    assert_eq!(biased(json!({"model_type": "qwen2", "attention_bias": true})), ["q_proj", "k_proj", "v_proj"]);
    assert_eq!(biased(json!({"model_type": "mistral", "attention_bias": true, "mlp_bias": true})), [""; 0]);
    assert_eq!(biased(json!({"attention_bias": true, "mlp_bias": true})).len(), 7);
    assert_eq!(biased(json!({"model_type": "qwen3", "attention_bias": true, "mlp_bias": true})).len(), 4);
}

#[test]
fn every_key_of_transformers_is_on_a_list() {
    let all: std::collections::BTreeMap<String, Vec<String>> =
        serde_json::from_str(include_str!("../../../../tests/fixtures/keys.json")).unwrap();
    for family in FAMILIES {
        lists::covers(family.keys, all[family.name].iter().chain(&all["sampling"]).map(String::as_str));
    }
    lists::covers(&[rope::KEYS], all["rope"].iter().map(String::as_str));
    let all_keys = [keys::KEYS, keys::QWEN, keys::SMOLLM3, keys::QWEN3_MOE, keys::GEMMA3];
    let docs = include_str!("../../../../docs/models.md");
    for table in [lists::table(&all_keys), lists::table(&[rope::KEYS])] {
        assert!(docs.contains(&table), "docs/models.md must have\n{table}");
    }
}

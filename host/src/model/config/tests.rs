#![allow(clippy::unwrap_used)]
use super::*;
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
    ModelConfig::read("config.json", map)
}

#[test]
fn old_and_new_spellings_of_rope_mean_the_same() {
    let llama3 = json!({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192});
    let old = read(json!({"rope_theta": 5e5, "rope_scaling": llama3.clone()})).unwrap();
    let mut new = llama3;
    new["rope_theta"] = 5e5.into();
    let new = read(json!({"rope_theta": null, "rope_parameters": new})).unwrap();
    assert_eq!(old.rope, new.rope);
    assert!(new.rope.llama3.is_some() && new.rope.theta == 5e5);
    let plain = read(json!({"rope_scaling": null})).unwrap();
    assert_eq!(plain.rope, RopeConfig { theta: 5000.0, llama3: None });
    let plain = read(json!({"rope_parameters": {"rope_type": "default", "rope_theta": 7.0}})).unwrap();
    assert_eq!(plain.rope, RopeConfig { theta: 7.0, llama3: None });
}

#[test]
fn windows_follow_the_family() {
    let windows = |changes| read(changes).unwrap().windows;
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

#[test]
fn what_is_not_computed_is_refused_by_key_and_value() {
    let cases = [
        (json!({"model_type": "gpt2"}), r#"model_type is "gpt2"; supported is llama, mistral, qwen2 or qwen3"#),
        (json!({"model_type": null}), "model_type is missing"),
        (json!({"hidden_act": "gelu"}), r#"hidden_act is "gelu"; supported is "silu""#),
        (json!({"attention_bias": true}), "attention_bias is true; supported is false"),
        (json!({"mlp_bias": true}), "mlp_bias is true; supported is false"),
        (json!({"attention_dropout": 0.1}), "attention_dropout is 0.1; supported is 0 or 0.0"),
        (json!({"partial_rotary_factor": 0.5}), "partial_rotary_factor is 0.5; supported is 1 or 1.0"),
        (
            json!({"quantization_config": {"quant_method": "gptq", "bits": 4}}),
            r#"quantization_config is "gptq"; supported is a model with float weights"#,
        ),
        (
            json!({"rope_scaling": {"type": "linear", "factor": 2.0}}),
            r#"type is "linear"; supported is default or llama3"#,
        ),
        (json!({"rope_parameters": {"rope_type": "yarn"}}), r#"rope_type is "yarn"; supported is default or llama3"#),
        (
            json!({"rope_scaling": {"rope_type": "llama3", "factor": 2.0}}),
            "low_freq_factor is missing in the llama3 rope scaling",
        ),
        (json!({"hidden_size": null}), "hidden_size is missing"),
        (json!({"hidden_size": "64"}), r#"hidden_size is "64", expected a whole number above 0"#),
        (json!({"vocab_size": 0}), "vocab_size is 0, expected a whole number above 0"),
        (json!({"num_hidden_layers": 1e18}), "num_hidden_layers is 1e+18, expected a whole number above 0"),
        (json!({"num_hidden_layers": 2_000_000_000}), "num_hidden_layers is 2000000000, expected at most 10000"),
        (json!({"hidden_size": 63}), "hidden_size is 63, expected a multiple of num_attention_heads, 8"),
        (json!({"num_key_value_heads": 3}), "num_key_value_heads is 3, expected a divisor of num_attention_heads, 8"),
        (json!({"head_dim": 9}), "head_dim is 9, expected an even number"),
        (json!({"rms_norm_eps": -1}), "rms_norm_eps is -1, expected a number above 0"),
        (json!({"tie_word_embeddings": 1}), "tie_word_embeddings is 1, expected true or false"),
    ];
    for (changes, message) in cases {
        let error = read(changes.clone()).expect_err(message);
        assert_eq!(error.message(), format!("config.json: {message}"));
    }
}

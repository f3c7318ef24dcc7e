use super::*;

/// Each fault with its whole message.
#[test]
fn faults_name_the_key_or_tensor() {
    let good = || Gguf::new("llama", GgmlDType::F32);
    let integer = |n: u32| Value::U32(n);
    let experts = |count, used| {
        let keys = [("expert_count", count), ("expert_used_count", used), ("expert_feed_forward_length", 256)];
        let set = |gguf: Gguf, (key, n)| gguf.set(&format!("qwen3moe.{key}"), integer(n));
        keys.into_iter().fold(Gguf::new("qwen3moe", GgmlDType::F32), set)
    };
    let gemma = |pattern| {
        let gguf = Gguf::new("gemma3", GgmlDType::F32).set("gemma3.attention.sliding_window", integer(4));
        gguf.set("gemma3.attention.sliding_window_pattern", pattern)
    };
    let cases = [
        (good().set("general.architecture", text("gemma")), "key `general.architecture` is `gemma`"),
        (good().without("general.architecture"), "key `general.architecture` is missing"),
        (good().without("llama.block_count"), "key `llama.block_count` is missing"),
        (
            good().set("llama.block_count", text("1")),
            "key `llama.block_count` is String, expected an integer of at least 0",
        ),
        (good().set("llama.embedding_length", integer(0)), "`llama.embedding_length` is 0, expected 1 to 16777215"),
        (good().set("llama.attention.head_count_kv", integer(3)), "4 attention heads cannot share 3 key-value heads"),
        (
            good().set("llama.rope.dimension_count", integer(32)),
            "key `llama.rope.dimension_count` is 32, expected the even head size 64",
        ),
        (good().set("llama.expert_count", integer(8)), "metadata: llama.expert_count is 8; supported is 0"),
        (good().set("llama.rope.scaling.type", text("longrope")), "key `llama.rope.scaling.type` is `longrope`"),
        (
            good().set("llama.attention.head_count_kv", Value::Array(vec![integer(2), integer(1)])),
            "key `llama.attention.head_count_kv` is [2, 1]; its numbers differ",
        ),
        (good().set("llama.logit_scale", Value::F32(0.5)), "metadata: llama.logit_scale is 0.5; supported is none"),
        (
            good().set("llama.rope.scaling.yarn_beta_fast", Value::F32(16.0)),
            "metadata: llama.rope.scaling.yarn_beta_fast is 16.0; supported is 32",
        ),
        (
            good().set("llama.new_way", Value::Bool(true)),
            "metadata: the key llama.new_way is not known, and might change what is computed; it is true",
        ),
        (good().set("split.count", Value::U16(2)), "it is one of 2 parts of a model (split.count)"),
        (good().set("general.type", text("adapter")), "it is an adapter, no model"),
        (good().set("adapter.type", text("lora")), "it is an adapter, no model"),
        (good().set("general.type", text("mmproj")), "it is what sees images or hears for a model, no model"),
        (good().set("general.architecture", text("clip")), "it is what sees images or hears for a model, no model"),
        (good().set("general.type", text("imatrix")), "metadata: general.type is \"imatrix\"; supported is \"model\""),
        (Gguf { tensors: vec![], ..good() }, "it holds a vocabulary alone, no tensors"),
        (experts(4, 5), "key `qwen3moe.expert_used_count` is 5, but there are 4 experts"),
        (experts(4, 2).without("qwen3moe.expert_count"), "key `qwen3moe.expert_count` is missing"),
        (experts(1 << 20, 2), "key `qwen3moe.expert_count` is 1048576, expected at most 100000 in all 1 layers"),
        (
            experts(4, 2).set("qwen3moe.expert_gating_func", integer(2)),
            "metadata: qwen3moe.expert_gating_func is 2; supported is 1",
        ),
        (experts(4, 2), "tensor `blk.0.attn_q_norm.weight` is missing"),
        (
            gemma(Value::Array(vec![Value::Bool(true), Value::Bool(false)])),
            "key `gemma3.attention.sliding_window_pattern` has 2 entries for 1 layers",
        ),
        (gemma(integer(0)), "`gemma3.attention.sliding_window_pattern` is 0, expected 1 to 16777215"),
        (gemma(integer(2)), "tensor `blk.0.post_attention_norm.weight` is missing"),
        (good().without("token_embd.weight"), "tensor `token_embd.weight` is missing"),
        (good().without("blk.0.ffn_up.weight"), "tensor `blk.0.ffn_up.weight` is missing"),
        (
            good().set("llama.feed_forward_length", integer(512)),
            "tensor `blk.0.ffn_gate.weight` has shape [256, 256], expected [512, 256]",
        ),
        (good().set("tokenizer.ggml.model", text("bert")), "key `tokenizer.ggml.model` is `bert`"),
        (good().set("tokenizer.ggml.pre", text("tekken")), "key `tokenizer.ggml.pre` is `tekken`"),
        (
            good().set("tokenizer.ggml.token_type", Value::Array(vec![Value::I32(1)])),
            "key `tokenizer.ggml.token_type` has 1 entries, `tokenizer.ggml.tokens` 264",
        ),
        (
            good().set("tokenizer.ggml.eos_token_id", integer(264)),
            "key `tokenizer.ggml.eos_token_id` is 264, but there are only 264 tokens",
        ),
        (
            good().set("tokenizer.ggml.add_bos_token", Value::Bool(true)).without("tokenizer.ggml.bos_token_id"),
            "key `tokenizer.ggml.bos_token_id` is missing although prompts begin with that token",
        ),
        (
            good().set("tokenizer.ggml.tokens", Value::Array(vec![text("a"); 264])),
            "key `tokenizer.ggml.tokens` has `a` twice, the second time at 1",
        ),
        (
            good().set("tokenizer.ggml.merges", Value::Array(vec![text("x yz")])),
            "the embedded tokenizer is inconsistent: Token `yz` out of vocabulary",
        ),
    ];
    for (gguf, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        let error = gguf.import(dir.path(), WeightType::F32).unwrap_err();
        assert!(error.hint_text().is_some(), "{error}");
        let error = format!("{error:#}");
        let (file, message) = error.split_once(": ").unwrap();
        assert_eq!(file, dir.path().join("model.gguf").display().to_string());
        assert_eq!(message, expected);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something is left behind after: {expected}");
    }
}

#[test]
fn a_tensor_too_many_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut gguf = Gguf::new("llama", GgmlDType::F32);
    gguf.tensor("blk.0.attn_v.bias", "", &[HIDDEN], GgmlDType::F32);
    let error = gguf.import(dir.path(), WeightType::F32).unwrap_err();
    assert!(error.message().ends_with("tensor `blk.0.attn_v.bias` has no place in a llama model"), "{error}");
}

#[test]
fn damaged_files_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = Gguf::new("llama", GgmlDType::F32).write(dir.path());
    let bytes = fs::read(&path).unwrap();
    let import = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let error = gguf(&path, &dir.path().join("out"), WeightType::F32).unwrap_err();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{error}");
        error
    };
    assert_eq!(import(b"# Model card").code(), Code::GgufFormat);
    assert_eq!(import(&bytes[..1000]).code(), Code::GgufFormat);
    let cut = import(&bytes[..bytes.len() - 100]);
    assert_eq!(cut.code(), Code::GgufTensor);
    assert!(cut.message().contains("tensor `blk.0.ffn_down.weight` cannot be read: it ends behind"), "{cut}");
    // The last tensor's first value.
    let mut nan = bytes.clone();
    let at = bytes.len() - 4 * HIDDEN * HIDDEN;
    nan[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let nan = import(&nan);
    assert!(nan.message().ends_with("tensor `blk.0.ffn_down.weight` holds NaN at element 0"), "{nan}");
}

#[test]
fn an_output_directory_with_content_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    let gguf = Gguf::new("llama", GgmlDType::F32);
    gguf.import(dir.path(), WeightType::F32).unwrap();
    let before = fs::read(out.join("model.safetensors")).unwrap();
    assert_eq!(gguf.import(dir.path(), WeightType::Bf16).unwrap_err().code(), Code::ImportOutput);
    assert_eq!(fs::read(out.join("model.safetensors")).unwrap(), before);
}

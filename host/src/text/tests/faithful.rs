//! What would be lost or doubled between rows and tokens without a word.

use super::*;

#[test]
fn what_the_template_does_not_read_is_refused() {
    let codec = load(&chatml());
    let row = |key: &str| {
        let mut message = user("Hi");
        message.more.insert(key.into(), json!("x"));
        codec.encode_prompt(&vec![message].into())
    };
    assert!(row("name").is_ok() && row("tool_call_id").is_ok());
    for key in ["tool_calls", "reasoning_content", "thinking", "persona"] {
        let error = row(key).unwrap_err();
        assert_eq!(error.message(), format!("the model's chat template does not read `{key}`, which the row has"));
        assert!(error.hint_text().unwrap().ends_with(&format!("data.ignore_fields: [{key}]")));
    }
    let variables = json!({"tools": []}).as_object().unwrap().clone();
    let error = codec.encode_prompt(&Prompt { messages: vec![user("Hi")], variables }).unwrap_err();
    assert_eq!(error.code(), Code::TextTemplate);
    // Without a template nothing reads it.
    let files =
        [("tokenizer.json", byte_tokenizer(&["</s>"])), ("tokenizer_config.json", json!({"eos_token": "</s>"}))];
    let mut response = Message::assistant("Ho");
    response.more.insert("tool_calls".into(), json!([]));
    let error = load(&model(&files)).encode_turn(&vec![user("Hi")].into(), &response).unwrap_err();
    assert_eq!(error.message(), "the model has no chat template that could read `tool_calls`, which the row has");
}

#[test]
fn reasoning_is_shown_under_the_names_that_transformers_gives_it() {
    let template = "{% for m in messages %}{{ m.reasoning_content }}/{{ m.thinking }}/{{ m.content }}</s>{% endfor %}";
    let dir = model(&[
        ("tokenizer.json", byte_tokenizer(&["</s>"])),
        ("tokenizer_config.json", json!({ "eos_token": "</s>", "chat_template": template })),
    ]);
    let codec = load(&dir);
    for (name, shown) in [("reasoning", "r/r/a</s>"), ("thinking", "r/r/a</s>"), ("reasoning_content", "r/r/a</s>")] {
        let mut message = Message::assistant("a");
        message.more.insert(name.into(), json!("r"));
        assert_eq!(codec.render_prompt(&vec![message].into()).unwrap(), shown, "{name}");
    }
}

#[test]
fn texts_that_were_rendered_before_are_refused() {
    let codec = load(&chatml());
    let rendered = codec.render_prompt(&vec![user("Hi")].into()).unwrap();
    let error = codec.encode_prompt(&vec![user(&rendered)].into()).unwrap_err();
    assert_eq!(error.code(), Code::TextRendered);
    assert!(error.message().contains("<|im_start|>assistant"), "{error}");
    let turn = |response: &str| codec.encode_turn(&vec![user("Hi")].into(), &Message::assistant(response));
    let error = turn("Ho<|im_end|>\n").unwrap_err();
    assert_eq!(error.message(), "the response has the end token `<|im_end|>`, which is added to it");
    // To speak of one is no fault.
    assert!(turn("<|im_end|> ends it").is_ok());
    assert!(codec.encode_prompt(&vec![user("What does <|im_start|>assistant mean?")].into()).is_ok());
}

#[test]
fn a_token_beyond_the_embedding_is_refused_where_it_is_used() {
    let dir = chatml();
    let mut tokenizer = byte_tokenizer(&["<|im_start|>", "<|im_end|>", "<|endoftext|>"]);
    tokenizer["added_tokens"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "id": 259, "content": "[PAD]", "single_word": false,
        "lstrip": false, "rstrip": false, "normalized": false, "special": true }));
    fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    fs::write(dir.path().join("config.json"), json!({ "vocab_size": 259 }).to_string()).unwrap();
    let codec = load(&dir);
    assert!(codec.knows_model() && !load(&chatml()).knows_model());
    assert!(codec.encode_prompt(&vec![user("Hi")].into()).is_ok());
    let error = codec.encode_prompt(&vec![user("a [PAD] b")].into()).unwrap_err();
    assert_eq!(error.code(), Code::ModelVocabulary);
    assert_eq!(error.message(), "the text has token 259 `[PAD]`, which the model does not know");
}

use super::*;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, Tokenizer};

fn tokenizer(gguf: &Gguf) -> Tokenizer {
    let dir = tempfile::tempdir().unwrap();
    gguf.import(dir.path(), WeightType::F32).unwrap();
    Tokenizer::from_file(dir.path().join("out/tokenizer.json")).unwrap()
}

#[test]
fn pre_tokenizers_split_as_their_patterns_say() {
    // Expected pieces: Python's `regex` with the patterns of the models' tokenizer.json and of llama.cpp (default).
    let sample = "I'm 12345 years-old, it'S $9.50!!\n\n  Ok\tnaïve  ";
    let expected = [
        ("gpt-2", "I·'m· 12345· years·-·old·,· it·'·S· $·9·.·50·!!·\n\n · Ok·\t·naïve·  "),
        ("smollm", "I·'m· ·1·2·3·4·5· years·-·old·,· it·'·S· $·9·.·5·0·!!·\n\n · Ok·\t·naïve·  "),
        ("llama-bpe", "I·'m· ·123·45· years·-old·,· it·'S· $·9·.·50·!!\n\n· · Ok·\tnaïve·  "),
        ("qwen2", "I·'m· ·1·2·3·4·5· years·-old·,· it·'S· $·9·.·5·0·!!\n\n· · Ok·\tnaïve·  "),
        ("default", "I·'·m· ·123·45· years·-·old·,· it·'·S· ·$·9·.·50·!!·\n\n · Ok·\t·naïve·  "),
    ];
    for (pre, expected) in expected {
        let tokenizer = tokenizer(&Gguf::new("llama", GgmlDType::F32).set("tokenizer.ggml.pre", text(pre)));
        let mut pieces = PreTokenizedString::from(sample);
        tokenizer.get_pre_tokenizer().unwrap().pre_tokenize(&mut pieces).unwrap();
        let spans = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
        let found: Vec<&str> = spans.iter().map(|(_, (start, end), _)| &sample[*start..*end]).collect();
        assert_eq!(found.join("·"), expected, "{pre}");
    }
}

#[test]
fn byte_level_tokenizers_merge_mark_special_tokens_and_add_bos_if_told() {
    let gguf = Gguf::new("llama", GgmlDType::F32);
    let shown = |t: &Tokenizer, s: &str| t.encode(s, true).unwrap().get_tokens().join(" ");
    let plain = tokenizer(&gguf);
    assert_eq!(shown(&plain, "he he</s>"), "he Ġhe </s>");
    assert_eq!(plain.decode(&[260, 261, 1], true).unwrap(), " he");
    assert_eq!(plain.get_vocab_size(true), VOCAB - 3);
    let with_bos = tokenizer(&gguf.set("tokenizer.ggml.add_bos_token", Value::Bool(true)));
    assert_eq!(shown(&with_bos, "he"), "<s> he");
}

/// llama.cpp's way (llm_tokenizer_spm): join the neighbours whose union has the highest score, leftmost first.
fn sentence_piece_reference(pieces: &[(&str, f32)], sample: &str) -> Vec<String> {
    let mut symbols: Vec<String> = format!(" {sample}").replace(' ', "▁").chars().map(String::from).collect();
    loop {
        let score = |i: usize| {
            let union = symbols[i].clone() + &symbols[i + 1];
            pieces.iter().find(|(p, _)| *p == union).map(|(_, s)| (*s, i))
        };
        let best = (0..symbols.len() - 1).filter_map(score).reduce(|a, b| if b.0 > a.0 { b } else { a });
        let Some((_, at)) = best else { return symbols };
        let right = symbols.remove(at + 1);
        symbols[at] += &right;
    }
}

#[test]
fn sentence_piece_merges_by_score() {
    let merged = ["▁t", "he", "in", "▁the", "at", "▁a", "▁in", "th", "ing", "▁th", "the", "an", "▁an", "hat", "▁that"];
    let mut pieces = vec![("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("<0x21>", 0.0)];
    pieces.extend(merged.iter().zip(0..).map(|(p, i)| (*p, -(i as f32))));
    pieces.extend(["▁", "t", "h", "e", "i", "n", "a", "g"].map(|c| (c, -99.0)));
    let array = |f: &dyn Fn(usize) -> Value| Value::Array((0..pieces.len()).map(f).collect());
    let gguf = Gguf::new("llama", GgmlDType::F32)
        .set("tokenizer.ggml.model", text("llama"))
        .set("tokenizer.ggml.tokens", array(&|i| text(pieces[i].0)))
        .set("tokenizer.ggml.scores", array(&|i| Value::F32(pieces[i].1)))
        .set("tokenizer.ggml.token_type", array(&|i| Value::I32([2, 3, 3, 6].get(i).copied().unwrap_or(1))))
        .set("tokenizer.ggml.unknown_token_id", Value::U32(0))
        .set("tokenizer.ggml.bos_token_id", Value::U32(1))
        .set("tokenizer.ggml.eos_token_id", Value::U32(2));
    let tokenizer = tokenizer(&gguf);
    for sample in ["the hat that ate in the thing", "nineteen  at the inn", "a", "tatting an ant", "gate"] {
        let found = tokenizer.encode(sample, true).unwrap();
        let expected = [vec!["<s>".to_owned()], sentence_piece_reference(&pieces, sample)].concat();
        assert_eq!(found.get_tokens(), expected, "{sample}");
        assert_eq!(tokenizer.decode(found.get_ids(), true).unwrap(), sample);
    }
    assert_eq!(tokenizer.encode("a!z", false).unwrap().get_tokens(), ["▁a", "<0x21>", "<unk>"]);
}

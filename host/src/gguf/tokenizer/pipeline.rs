//! The parts of tokenizer.json that follow from the tokenizer's kind: normalizer, pre-tokenizer, model, decoder.

use super::super::metadata::Metadata;
use super::{HashMap, Map, Value, json, same_length};
use crate::{Code, Error, Result};

/// Everything of tokenizer.json but vocabulary and special tokens.
pub(super) struct Pipeline {
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
    /// Pairs in the order in which they merge.
    merges: Vec<Value>,
    /// Whole words of the vocabulary are taken without merging.
    ignore_merges: bool,
    /// Characters outside the vocabulary become byte tokens `<0xNN>`.
    byte_fallback: bool,
    /// Whether llama.cpp puts BOS before the text where the file does not say.
    pub adds_bos: bool,
}

impl Pipeline {
    /// Reads the tokenizer's kind and its merges.
    pub fn read(metadata: Metadata<'_>, tokens: &[&str]) -> Result<Self> {
        match metadata.need("tokenizer.ggml.model")? {
            "gpt2" => Self::byte_level(metadata),
            "llama" => Self::sentence_piece(metadata, tokens),
            other => Err(Error::new(Code::GgufTokenizer, format!("key `tokenizer.ggml.model` is `{other}`"))
                .hint("supported are gpt2 (byte-level BPE) and llama (SentencePiece BPE)")),
        }
    }

    /// Byte-level BPE; patterns as in the models' own tokenizer.json, and llama.cpp's for `default`.
    fn byte_level(metadata: Metadata<'_>) -> Result<Self> {
        // Names that llama.cpp has for the same rules.
        let pre = match metadata.get("tokenizer.ggml.pre")?.unwrap_or("default") {
            "llama3" | "llama-v3" => "llama-bpe",
            pre => pre,
        };
        let mut normalizer = Value::Null;
        let pre_tokenizer = match pre {
            "gpt-2" => byte_level(true),
            "smollm" => sequence([json!({ "type": "Digits", "individual_digits": true }), byte_level(true)]),
            "llama-bpe" => sequence([split(&words(r"\p{N}{1,3}")), byte_level(false)]),
            "qwen2" | "deepseek-r1-qwen" => {
                if pre == "qwen2" {
                    normalizer = json!({ "type": "NFC" });
                }
                sequence([split(&words(r"\p{N}")), byte_level(false)])
            }
            "default" => sequence([
                split(r"[\p{P}\$\+<=>\^~\|]+"),
                split(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"),
                split(r"\p{N}+"),
                split("[0-9][0-9][0-9]"),
                byte_level(false),
            ]),
            other => {
                return Err(Error::new(Code::GgufTokenizer, format!("key `tokenizer.ggml.pre` is `{other}`")).hint(
                    "supported are gpt-2, smollm, llama-bpe (llama3, llama-v3), qwen2, deepseek-r1-qwen and default",
                ));
            }
        };
        let merges: Vec<&str> = metadata.need("tokenizer.ggml.merges")?;
        Ok(Self {
            normalizer,
            pre_tokenizer,
            decoder: byte_level(true),
            merges: merges.into_iter().map(Value::from).collect(),
            ignore_merges: pre == "llama-bpe",
            byte_fallback: false,
            adds_bos: pre == "llama-bpe",
        })
    }

    /// SentencePiece BPE: two pieces merge if their union is a piece, the highest score first.
    fn sentence_piece(metadata: Metadata<'_>, tokens: &[&str]) -> Result<Self> {
        let scores: Vec<f64> = metadata.need("tokenizer.ggml.scores")?;
        same_length("tokenizer.ggml.scores", scores.len(), tokens.len())?;
        let ids: HashMap<&str, usize> = tokens.iter().copied().zip(0..).collect();
        let mut merges = Vec::new();
        for (&token, &score) in tokens.iter().zip(&scores) {
            for (at, _) in token.char_indices().skip(1) {
                let (left, right) = token.split_at(at);
                if let (Some(&l), Some(&r)) = (ids.get(left), ids.get(right)) {
                    merges.push((score, l, r, json!([left, right])));
                }
            }
        }
        merges.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        let space = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" });
        let prefix = metadata.get("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
        let strip = json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 });
        let back = [
            json!({ "type": "Replace", "pattern": { "String": "▁" }, "content": " " }),
            json!({ "type": "ByteFallback" }),
            json!({ "type": "Fuse" }),
        ];
        let prepend = json!({ "type": "Prepend", "prepend": "▁" });
        Ok(Self {
            normalizer: json!({
                "type": "Sequence",
                "normalizers": prefix.then_some(prepend).into_iter().chain([space]).collect::<Vec<_>>(),
            }),
            pre_tokenizer: Value::Null,
            decoder: json!({
                "type": "Sequence",
                "decoders": back.into_iter().chain(prefix.then_some(strip)).collect::<Vec<_>>(),
            }),
            merges: merges.into_iter().map(|m| m.3).collect(),
            ignore_merges: false,
            byte_fallback: true,
            adds_bos: true,
        })
    }

    /// The whole tokenizer.json.
    pub fn tokenizer_json(
        self,
        vocab: Map<String, Value>,
        added_tokens: Vec<Value>,
        bos: Option<(usize, &str)>,
        unknown: Option<&str>,
    ) -> Value {
        let post_processor = bos.map(|(id, token)| {
            let start = json!({ "SpecialToken": { "id": token, "type_id": 0 } });
            let text = |name: &str, type_id: u32| json!({ "Sequence": { "id": name, "type_id": type_id } });
            json!({
                "type": "TemplateProcessing",
                "single": [start, text("A", 0)],
                "pair": [start, text("A", 0), text("B", 1)],
                "special_tokens": { token: { "id": token, "ids": [id], "tokens": [token] } },
            })
        });
        json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added_tokens,
            "normalizer": self.normalizer,
            "pre_tokenizer": self.pre_tokenizer,
            "post_processor": post_processor,
            "decoder": self.decoder,
            "model": {
                "type": "BPE",
                "dropout": null,
                // Byte-level BPE knows every byte, so it has no unknown token.
                "unk_token": unknown.filter(|_| self.byte_fallback),
                "continuing_subword_prefix": null,
                "end_of_word_suffix": null,
                "fuse_unk": self.byte_fallback,
                "byte_fallback": self.byte_fallback,
                "ignore_merges": self.ignore_merges,
                "vocab": vocab,
                "merges": self.merges,
            },
        })
    }
}

/// The byte-level step; with `pattern`, it also splits words as GPT-2 does.
fn byte_level(pattern: bool) -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": pattern })
}

fn split(pattern: &str) -> Value {
    json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false })
}

fn sequence<const N: usize>(parts: [Value; N]) -> Value {
    json!({ "type": "Sequence", "pretokenizers": parts.to_vec() })
}

/// Llama 3's and Qwen2's words, which differ in how digits group.
fn words(digits: &str) -> String {
    [
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|",
        digits,
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ]
    .concat()
}

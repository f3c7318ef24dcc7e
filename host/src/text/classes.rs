//! Where transformers 5 makes other tokens of a text than tokenizer.json says: the class that tokenizer_config.json or
//! the model's type names builds parts of the tokenizer anew, whatever the file has. Here, in transformers 4 and in the
//! tokenizers library the file is followed.

use serde_json::{Map, Value, json};
use tokenizers::Tokenizer;

/// What Qwen's class splits texts by.
const QWEN: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// What a class builds: it decides over ids. Decoders and offsets do not.
#[derive(Debug, PartialEq)]
pub(super) struct Parts {
    normalizer: Value,
    pre_tokenizer: Value,
    /// Kind, byte fallback, and whether whole words of the vocabulary are taken without merging.
    model: Value,
}

/// What a user should know of a tokenizer that transformers 5 reads otherwise; None where the ids are the same.
///
/// `configs`: tokenizer_config.json and config.json.
pub(super) fn otherwise(tokenizer: &Tokenizer, file: &[u8], configs: [&Map<String, Value>; 2]) -> Option<String> {
    let class = class(file, configs)?;
    let found = Parts::of(tokenizer);
    let differ = match Parts::built(&class, configs[0]) {
        Some(built) => {
            let parts = [
                ("its normalizer", built.normalizer != found.normalizer),
                ("its pre_tokenizer", built.pre_tokenizer != found.pre_tokenizer),
                ("settings of its model", built.model != found.model),
            ];
            parts.iter().filter(|(_, differs)| *differs).map(|(part, _)| *part).collect()
        }
        None => vec!["parts of it"],
    };
    (!differ.is_empty()).then(|| {
        format!(
            "transformers 5 may make other tokens of the same text than tokenizer.json, which is followed here: its \
             class {class} builds {} anew. transformers 4 follows the file, and so does \
             PreTrainedTokenizerFast.from_pretrained",
            differ.join(" and ")
        )
    })
}

/// The class that transformers' AutoTokenizer takes, if it is one that may build parts anew.
fn class(file: &[u8], [tokenizer, model]: [&Map<String, Value>; 2]) -> Option<String> {
    let text = |map: &Map<String, Value>, key: &str| map.get(key).and_then(Value::as_str).map(str::to_owned);
    let kind = text(model, "model_type").unwrap_or_default();
    let named = text(tokenizer, "tokenizer_class").or_else(|| text(model, "tokenizer_class"));
    let named = named.map(|class| class.strip_suffix("Fast").map_or(class.clone(), str::to_owned));
    // Of the model's type.
    let own = match &*kind {
        "qwen2" | "qwen3" | "qwen3_moe" => Some("Qwen2Tokenizer"),
        "gemma3_text" => Some("GemmaTokenizer"),
        "mistral" => return None,
        _ => None,
    };
    let byte_level = || file.windows(11).any(|window| window == br#""ByteLevel""#);
    let class = match (own, named) {
        // Names in the files of this family are known to be wrong.
        (Some(own), _) if kind == "qwen2" => own.to_owned(),
        (_, Some(named)) if named == "LlamaTokenizer" && byte_level() => return None,
        (_, Some(named)) => named,
        (own, None) => own?.to_owned(),
    };
    // These follow the file.
    (!["PreTrainedTokenizer", "TokenizersBackend", "PythonBackend"].contains(&&*class)).then_some(class)
}

impl Parts {
    /// Of tokenizer.json.
    fn of(tokenizer: &Tokenizer) -> Self {
        let value = |part: serde_json::Result<Value>| plain(part.unwrap_or_default());
        let model = serde_json::to_value(ModelKind::of(tokenizer)).unwrap_or_default();
        Self {
            normalizer: value(serde_json::to_value(tokenizer.get_normalizer())),
            pre_tokenizer: value(serde_json::to_value(tokenizer.get_pre_tokenizer())),
            model,
        }
    }

    /// Of a class, with the settings of tokenizer_config.json; None of one that no model here goes with.
    pub fn built(class: &str, config: &Map<String, Value>) -> Option<Self> {
        let is = |key: &str, default: bool| config.get(key).and_then(Value::as_bool).unwrap_or(default);
        let byte_level = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": is("add_prefix_space", false), "use_regex": regex});
        let bytes = json!({"type": "BPE", "byte_fallback": false, "ignore_merges": false});
        let pieces = json!({"type": "BPE", "byte_fallback": true, "ignore_merges": false});
        let nfc = json!({"type": "NFC"});
        let (normalizer, pre_tokenizer, model) = match class {
            "LlamaTokenizer" | "CodeLlamaTokenizer" => {
                let scheme = match (is("add_prefix_space", true), class == "LlamaTokenizer" && is("legacy", false)) {
                    (false, _) => "never",
                    (true, true) => "always",
                    (true, false) => "first",
                };
                let words = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false});
                (Value::Null, words, pieces)
            }
            "GemmaTokenizer" => (
                json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"}),
                json!({"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false}),
                pieces,
            ),
            "Qwen2Tokenizer" => {
                let split =
                    json!({"type": "Split", "pattern": {"Regex": QWEN}, "behavior": "Isolated", "invert": false});
                (nfc, json!({"type": "Sequence", "pretokenizers": [split, byte_level(false)]}), bytes)
            }
            "GPT2Tokenizer" => (Value::Null, byte_level(true), bytes),
            "GPTNeoXTokenizer" => (nfc, byte_level(true), bytes),
            _ => return None,
        };
        Some(Self { normalizer, pre_tokenizer, model })
    }
}

/// What of a tokenizer's model decides over ids, beside vocabulary and merges.
#[derive(serde::Serialize)]
struct ModelKind {
    #[serde(rename = "type")]
    kind: &'static str,
    byte_fallback: bool,
    ignore_merges: bool,
}

impl ModelKind {
    fn of(tokenizer: &Tokenizer) -> Self {
        use tokenizers::ModelWrapper::{BPE, Unigram, WordLevel, WordPiece};
        let (kind, byte_fallback, ignore_merges) = match tokenizer.get_model() {
            BPE(bpe) => ("BPE", bpe.byte_fallback, bpe.ignore_merges),
            Unigram(unigram) => ("Unigram", unigram.byte_fallback(), false),
            WordLevel(_) => ("WordLevel", false, false),
            WordPiece(_) => ("WordPiece", false, false),
        };
        Self { kind, byte_fallback, ignore_merges }
    }
}

/// A part without what does not decide over ids, and out of a sequence of it alone.
fn plain(part: Value) -> Value {
    match part {
        Value::Object(mut map) => {
            map.remove("trim_offsets");
            let key = if map.contains_key("normalizers") { "normalizers" } else { "pretokenizers" };
            match map.get_mut(key).and_then(Value::as_array_mut) {
                Some(list) if list.len() == 1 => plain(list.remove(0)),
                Some(list) => {
                    list.iter_mut().for_each(|part| *part = plain(part.take()));
                    map.into()
                }
                None => map.into(),
            }
        }
        other => other,
    }
}

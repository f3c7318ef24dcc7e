//! The embedded tokenizer as tokenizer.json: byte-level BPE (`gpt2`) and SentencePiece BPE (`llama`).

mod pipeline;

use super::metadata::Metadata;
use crate::{Code, Error, Result};
use pipeline::Pipeline;
use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, HashMap};

/// `tokenizer.ggml.token_type` values (llama.cpp, llama_token_type).
const UNKNOWN: usize = 2;
const CONTROL: usize = 3;
const USER_DEFINED: usize = 4;
const UNUSED: usize = 5;

/// The tokens that begin, end and fill texts, by their ids.
pub(super) struct Ids {
    pub bos: Option<usize>,
    pub eos: Option<usize>,
    pub pad: Option<usize>,
    unknown: Option<usize>,
    /// End of a turn or message, where it differs from `eos`.
    other_ends: BTreeSet<usize>,
}

impl Ids {
    /// Reads them; each must be a token's.
    pub fn read(metadata: Metadata<'_>) -> Result<Self> {
        let tokens = metadata.need::<Vec<&str>>("tokenizer.ggml.tokens")?.len();
        let id = |name: &str| {
            let key = format!("tokenizer.ggml.{name}_token_id");
            match metadata.get::<usize>(&key)? {
                Some(id) if id >= tokens => {
                    let message = format!("key `{key}` is {id}, but there are only {tokens} tokens");
                    Err(Error::new(Code::GgufTokenizer, message))
                }
                id => Ok(id),
            }
        };
        let eos = id("eos")?;
        let mut other_ends = BTreeSet::from_iter([id("eot")?, id("eom")?].into_iter().flatten());
        other_ends.retain(|end| Some(*end) != eos);
        Ok(Self { bos: id("bos")?, eos, pad: id("padding")?, unknown: id("unknown")?, other_ends })
    }

    /// The content of generation_config.json.
    pub fn generation_config(&self) -> Value {
        let mut config = Map::new();
        config.extend(self.bos.map(|id| ("bos_token_id".to_owned(), id.into())));
        let ends: Vec<usize> = self.eos.into_iter().chain(self.other_ends.iter().copied()).collect();
        match ends[..] {
            [] => {}
            [one] => drop(config.insert("eos_token_id".into(), one.into())),
            _ => drop(config.insert("eos_token_id".into(), ends.into())),
        }
        config.extend(self.pad.map(|id| ("pad_token_id".to_owned(), id.into())));
        config.into()
    }
}

/// A tokenizer ready to be written.
pub(super) struct GgufTokenizer<'a> {
    /// The content of tokenizer.json.
    pub json: Value,
    ids: &'a Ids,
    chat_template: Option<&'a str>,
    tokens: Vec<&'a str>,
    add_bos: bool,
}

/// Reads the tokenizer; `vocab_size` bounds its ids.
pub(super) fn read<'a>(metadata: Metadata<'a>, ids: &'a Ids, vocab_size: usize) -> Result<GgufTokenizer<'a>> {
    let tokens: Vec<&str> = metadata.need("tokenizer.ggml.tokens")?;
    if tokens.len() > vocab_size {
        let message =
            format!("key `tokenizer.ggml.tokens` has {} tokens, the embedding {vocab_size} rows", tokens.len());
        return Err(Error::new(Code::GgufTokenizer, message));
    }
    let types: Vec<usize> = metadata.get("tokenizer.ggml.token_type")?.unwrap_or_else(|| vec![1; tokens.len()]);
    same_length("tokenizer.ggml.token_type", types.len(), tokens.len())?;
    let pipeline = Pipeline::read(metadata, &tokens)?;
    let add_bos = metadata.get("tokenizer.ggml.add_bos_token")?.unwrap_or(pipeline.adds_bos);
    let bos_token = match (add_bos, ids.bos) {
        (true, None) => {
            let message = "key `tokenizer.ggml.bos_token_id` is missing although prompts begin with that token";
            return Err(Error::new(Code::GgufTokenizer, message));
        }
        (true, Some(id)) => Some((id, tokens[id])),
        (false, _) => None,
    };

    let mut vocab = Map::new();
    let mut added = Vec::new();
    for (id, (&token, &kind)) in tokens.iter().zip(&types).enumerate() {
        // Converters pad the vocabulary to the embedding's rows; such ids are never text.
        if kind == UNUSED {
            continue;
        }
        if vocab.insert(token.to_owned(), id.into()).is_some() {
            let message = format!("key `tokenizer.ggml.tokens` has `{token}` twice, the second time at {id}");
            return Err(Error::new(Code::GgufTokenizer, message));
        }
        if matches!(kind, UNKNOWN | CONTROL | USER_DEFINED) {
            added.push(json!({
                "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": kind != USER_DEFINED,
            }));
        }
    }
    let json = pipeline.tokenizer_json(vocab, added, bos_token, ids.unknown.map(|id| tokens[id]));
    check(&json)?;
    Ok(GgufTokenizer { json, ids, chat_template: metadata.get("tokenizer.chat_template")?, tokens, add_bos })
}

fn same_length(key: &str, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    let message = format!("key `{key}` has {found} entries, `tokenizer.ggml.tokens` {expected}");
    Err(Error::new(Code::GgufTokenizer, message))
}

/// What is written must load: merges of unknown tokens, for one, are found here.
fn check(json: &Value) -> Result<()> {
    tokenizers::Tokenizer::from_bytes(json.to_string()).map(drop).map_err(|e| {
        // Where it stands in a text that nobody sees says nothing.
        let reason = e.to_string().split(" at line ").next().unwrap_or_default().to_owned();
        Error::new(Code::GgufTokenizer, format!("the embedded tokenizer is inconsistent: {reason}"))
    })
}

impl GgufTokenizer<'_> {
    /// The content of tokenizer_config.json.
    pub fn config(&self, max_positions: usize) -> Value {
        let mut config = Map::new();
        // The class that takes tokenizer.json as it is; others rebuild parts of it.
        config.insert("tokenizer_class".into(), "PreTrainedTokenizerFast".into());
        config.insert("model_max_length".into(), max_positions.into());
        config.insert("clean_up_tokenization_spaces".into(), false.into());
        config.insert("add_bos_token".into(), self.add_bos.into());
        let Ids { bos, eos, pad, unknown, .. } = *self.ids;
        for (name, id) in [("bos_token", bos), ("eos_token", eos), ("pad_token", pad), ("unk_token", unknown)] {
            config.extend(id.map(|id| (name.to_owned(), self.tokens[id].into())));
        }
        config.extend(self.chat_template.map(|t| ("chat_template".to_owned(), t.into())));
        config.into()
    }
}

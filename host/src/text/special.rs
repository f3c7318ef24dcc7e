//! Special tokens as the model directory's JSON files name them.

use crate::{Code, Error, Result, files};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, path::Path};
use tokenizers::Tokenizer;

/// The tokens that begin and end texts.
pub(super) struct SpecialTokens {
    /// `bos_token`, `eos_token`, ... -> text, as templates see them.
    pub named: BTreeMap<String, String>,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    /// Every token that ends a response, ascending.
    pub end_ids: Vec<u32>,
    /// How many tokens the model knows, where config.json says so.
    pub model_vocab: Option<usize>,
}

impl SpecialTokens {
    pub fn read(model_dir: &Path, base: &Path, tokenizer: &Tokenizer) -> Result<Self> {
        let mut named = BTreeMap::new();
        for file in ["special_tokens_map.json", "tokenizer_config.json"] {
            for (key, value) in read_object(&model_dir.join(file))?.unwrap_or_default() {
                // Either the text or an added token's description.
                let text = value.as_str().or_else(|| value.get("content").and_then(Value::as_str));
                if let (true, Some(text)) = (key.ends_with("_token"), text) {
                    named.insert(key, text.to_owned());
                }
            }
        }
        let id = |name: &str| match named.get(name) {
            None => Ok(None),
            Some(text) => tokenizer.token_to_id(text).map(Some).ok_or_else(|| {
                let message =
                    format!("{}: {name} is `{text}`, which tokenizer.json does not know", model_dir.display());
                Error::new(Code::TextTokenizer, message)
            }),
        };
        let (bos, eos) = (id("bos_token")?, id("eos_token")?);
        let mut end_ids = Vec::from_iter(eos);
        let own = model_dir.join("generation_config.json");
        let generation = if own.is_file() { own } else { base.join("generation_config.json") };
        for file in [generation, base.join("config.json")] {
            end_ids.extend(read_end_ids(&file)?);
        }
        end_ids.sort_unstable();
        end_ids.dedup();
        if end_ids.is_empty() {
            let message = format!("{} names no end token", model_dir.display());
            return Err(Error::new(Code::TextEnd, message)
                .hint("set eos_token_id in generation_config.json or eos_token in tokenizer_config.json"));
        }
        let config = read_object(&base.join("config.json"))?.unwrap_or_default();
        let model_vocab = config.get("vocab_size").and_then(Value::as_u64).map(|size| size as usize);
        Ok(Self { named, bos, eos, end_ids, model_vocab })
    }

    /// All of it as text, for hashing.
    pub fn fingerprint(&self) -> String {
        format!("{:?} {:?}", self.named, self.end_ids)
    }
}

/// `eos_token_id`: a number or a list of numbers.
fn read_end_ids(path: &Path) -> Result<Vec<u32>> {
    let Some(value) = read_object(path)?.and_then(|mut object| object.remove("eos_token_id")) else {
        return Ok(Vec::new());
    };
    let ids = match &value {
        Value::Null => Some(Vec::new()),
        Value::Array(ids) => ids.iter().map(to_id).collect(),
        one => to_id(one).map(|id| vec![id]),
    };
    ids.ok_or_else(|| {
        let message = format!("{}: eos_token_id is {value}, expected a token id or a list of them", path.display());
        Error::new(Code::TextTokenizer, message)
    })
}

fn to_id(value: &Value) -> Option<u32> {
    value.as_u64()?.try_into().ok()
}

/// A JSON object in a file that may be absent.
pub(super) fn read_object(path: &Path) -> Result<Option<Map<String, Value>>> {
    if !path.exists() {
        return Ok(None);
    }
    serde_json::from_slice(&files::read(path)?)
        .map(Some)
        .map_err(|e| Error::new(Code::TextTokenizer, format!("{} is not a JSON object", path.display())).caused_by(e))
}

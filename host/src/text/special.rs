//! Special tokens as the model directory's JSON files name them.

use super::TextFiles;
use crate::{Code, Error, Result};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use tokenizers::{AddedToken, Tokenizer};

const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";

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
    pub fn read(model: &TextFiles, base: &TextFiles, tokenizer: &Tokenizer) -> Result<Self> {
        let mut named = BTreeMap::new();
        for file in ["special_tokens_map.json", "tokenizer_config.json"] {
            for (key, value) in model.object(file)?.unwrap_or_default() {
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
                    format!("{}: {name} is `{text}`, which tokenizer.json does not know", model.place().display());
                Error::new(Code::TextTokenizer, message).hint(
                    "both files are written by transformers' save_pretrained: copy them from the model's source again, \
                     or name a token that it knows",
                )
            }),
        };
        let (bos, eos) = (id("bos_token")?, id("eos_token")?);
        let mut end_ids = Vec::from_iter(eos);
        let config = base.object(CONFIG)?.unwrap_or_default();
        let model_vocab = config.get("vocab_size").and_then(Value::as_u64).map(|size| size as usize);
        let own = model.find(GENERATION)?.is_some();
        for (files, name) in [(if own { model } else { base }, GENERATION), (base, CONFIG)] {
            let ids = read_end_ids(files, name)?;
            if let Some((id, size)) =
                model_vocab.and_then(|size| Some((ids.iter().find(|id| **id as usize >= size)?, size)))
            {
                let message =
                    format!("{}: eos_token_id is {id}, but the model has {size} tokens", files.path(name).display());
                return Err(Error::new(Code::TextEnd, message)
                    .hint("no response would end with it: name an end token that the model has"));
            }
            end_ids.extend(ids);
        }
        end_ids.sort_unstable();
        end_ids.dedup();
        if end_ids.is_empty() {
            let message = format!("{} names no end token", model.place().display());
            return Err(Error::new(Code::TextEnd, message)
                .hint("set eos_token_id in generation_config.json or eos_token in tokenizer_config.json"));
        }
        Ok(Self { named, bos, eos, end_ids, model_vocab })
    }

    /// All of it as text, for hashing.
    pub fn fingerprint(&self) -> String {
        format!("{:?} {:?}", self.named, self.end_ids)
    }
}

/// Lets the tokenizer treat as one token whatever tokenizer_config.json and special_tokens_map.json name, as
/// transformers does; what it treats so already stays as it is.
pub(super) fn add_tokens(
    tokenizer: &mut Tokenizer,
    config: &Map<String, Value>,
    special: &SpecialTokens,
) -> Result<()> {
    let unreadable = |what: String| {
        Error::new(Code::TextTokenizer, format!("tokenizer_config.json: {what}"))
            .hint("it is written by transformers' save_pretrained; copy it from the model's source again")
    };
    let mut tokens = BTreeMap::new();
    for (id, token) in config.get("added_tokens_decoder").and_then(Value::as_object).into_iter().flatten() {
        let read = id.parse::<u32>().ok().zip(added_token(token));
        let (id, token) = read.ok_or_else(|| unreadable(format!("added_tokens_decoder.{id} is no token: {token}")))?;
        tokens.insert(id, token);
    }
    let more =
        ["extra_special_tokens", "additional_special_tokens"].iter().find_map(|key| config.get(*key)?.as_array());
    let more = more.into_iter().flatten().filter_map(|token| token.as_str().or_else(|| token.get("content")?.as_str()));
    let named = special.named.values().map(String::as_str).chain(more).map(|text| AddedToken::from(text, true));
    let known = tokenizer.get_added_vocabulary().get_vocab();
    let new: Vec<_> = tokens.into_values().chain(named).filter(|token| !known.contains_key(&token.content)).collect();
    tokenizer.add_tokens(new).map_err(|e| unreadable(e.to_string()))?;
    if config.get("split_special_tokens") == Some(&Value::Bool(true)) {
        tokenizer.set_encode_special_tokens(true);
    }
    Ok(())
}

/// A token as `added_tokens_decoder` describes it, with the defaults of transformers.
fn added_token(described: &Value) -> Option<AddedToken> {
    let is = |key: &str, default: bool| described.get(key).map_or(Some(default), Value::as_bool);
    let special = is("special", false)?;
    Some(
        AddedToken::from(described.get("content")?.as_str()?, special)
            .single_word(is("single_word", false)?)
            .lstrip(is("lstrip", false)?)
            .rstrip(is("rstrip", false)?)
            .normalized(is("normalized", !special)?),
    )
}

/// `eos_token_id`: a number or a list of numbers.
fn read_end_ids(files: &TextFiles, name: &str) -> Result<Vec<u32>> {
    let Some(value) = files.object(name)?.and_then(|mut object| object.remove("eos_token_id")) else {
        return Ok(Vec::new());
    };
    let ids = match &value {
        Value::Null => Some(Vec::new()),
        Value::Array(ids) => ids.iter().map(to_id).collect(),
        one => to_id(one).map(|id| vec![id]),
    };
    ids.ok_or_else(|| {
        let place = files.path(name);
        let message = format!("{}: eos_token_id is {value}, expected a token id or a list of them", place.display());
        Error::new(Code::TextTokenizer, message)
    })
}

fn to_id(value: &Value) -> Option<u32> {
    value.as_u64()?.try_into().ok()
}

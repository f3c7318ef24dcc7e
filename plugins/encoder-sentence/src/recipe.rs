//! What sentence-transformers does around the network, as the files of a model directory say: which hidden states are
//! taken, and what is not done here. A key that might change a latent is used or refused by name.

use ldalign_sdk::Error;
use serde_json::{Map, Value, json};
use std::{fs, path::Path};

/// How hidden states become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Mean over all tokens, special ones included.
    Mean,
    /// That of the first token.
    Cls,
}

/// The pooling of a directory: the mean where it says nothing.
///
/// # Errors
/// Where a file cannot be read, or says what is not done here.
pub fn read(dir: &Path) -> Result<Pooling, Error> {
    let modules = modules(dir)?;
    let pooling = modules.as_deref().unwrap_or("1_Pooling");
    transformer(dir)?;
    prompts(dir)?;
    let file = format!("{pooling}/config.json");
    match object(dir, &file)? {
        Some(config) => mode(&file, &config),
        None if modules.is_some() => {
            Err(Error::options(format!("{file} is missing, which modules.json names: copy it from the model's source")))
        }
        None => Ok(Pooling::Mean),
    }
}

/// What is done to texts before the network: nothing. sentence-transformers reads the first of these files.
fn transformer(dir: &Path) -> Result<(), Error> {
    const KINDS: [&str; 7] = ["bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"];
    let names = KINDS.map(|kind| format!("sentence_{kind}_config.json"));
    let Some(file) = names.iter().find(|name| dir.join(name).exists()) else { return Ok(()) };
    let states = json!({ "text": { "method": "forward", "method_output_name": "last_hidden_state" } });
    for (key, value) in object(dir, file)?.unwrap_or_default() {
        let supported = match key.as_str() {
            // The option max_tokens says it.
            "max_seq_length" => continue,
            "do_lower_case" => json!(false),
            "transformer_task" => json!("feature-extraction"),
            "module_output_name" => json!("token_embeddings"),
            "modality_config" => states.clone(),
            _ => json!({}),
        };
        if !value.is_null() && value != supported {
            return Err(refused(file, &key, &value, &supported.to_string()));
        }
    }
    Ok(())
}

/// A text that goes before every other, which none does here.
fn prompts(dir: &Path) -> Result<(), Error> {
    const FILE: &str = "config_sentence_transformers.json";
    for (key, value) in object(dir, FILE)?.unwrap_or_default() {
        match key.as_str() {
            // Prompts are put before a text where one is named; a similarity is the distance's.
            "__version__" | "prompts" | "similarity_fn_name" => {}
            "model_type" if value == "SentenceTransformer" => {}
            _ if value.is_null() => {}
            "default_prompt_name" => return Err(refused(FILE, &key, &value, "null: no text goes before another")),
            "model_type" => return Err(refused(FILE, &key, &value, "SentenceTransformer")),
            _ => return Err(refused(FILE, &key, &value, "none")),
        }
    }
    Ok(())
}

/// Where modules.json says the pooling lies, if there is such a file.
fn modules(dir: &Path) -> Result<Option<String>, Error> {
    const FILE: &str = "modules.json";
    let Some(list) = parse(dir, FILE)? else { return Ok(None) };
    let mut pooling = None;
    for module in list.as_array().ok_or_else(|| Error::options(format!("{FILE} is not a list of modules")))? {
        let kind = module["type"].as_str().unwrap_or_default();
        match kind.rsplit('.').next().unwrap_or_default() {
            "Transformer" if module["path"] == "" => {}
            // Every latent has length 1.
            "Normalize" => {}
            "Pooling" => pooling = module["path"].as_str().map(str::to_owned),
            _ => {
                let what = format!("{FILE} has the module {module}; supported are Transformer, Pooling and Normalize");
                return Err(Error::options(what));
            }
        }
    }
    match pooling {
        Some(path) if Path::new(&path).file_name() == Some(path.as_ref()) => Ok(Some(path)),
        _ => Err(Error::options(format!("{FILE} names no Pooling in the directory"))),
    }
}

/// Of the keys that sentence-transformers has had.
fn mode(file: &str, config: &Map<String, Value>) -> Result<Pooling, Error> {
    const LEGACY: [(&str, &str); 2] = [("pooling_mode_mean_tokens", "mean"), ("pooling_mode_cls_token", "cls")];
    let mut modes = vec![];
    for (key, value) in config {
        match key.as_str() {
            "pooling_mode" => modes = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]),
            // Without prompts, whether they count says nothing.
            "word_embedding_dimension" | "embedding_dimension" | "include_prompt" => {}
            key if key.starts_with("pooling_mode_") && *value == Value::Bool(false) => {}
            key if config.contains_key("pooling_mode") && key.starts_with("pooling_mode_") => {}
            key => match LEGACY.iter().find(|(legacy, _)| *legacy == key) {
                Some((_, mode)) if *value == Value::Bool(true) => modes.push((*mode).into()),
                _ => return Err(refused(file, key, value, "mean or cls, by pooling_mode_mean_tokens or _cls_token")),
            },
        }
    }
    match modes.as_slice() {
        [] => Ok(Pooling::Mean),
        [one] if one == "mean" => Ok(Pooling::Mean),
        [one] if one == "cls" => Ok(Pooling::Cls),
        _ => Err(refused(file, "pooling_mode", &modes.into(), "mean or cls")),
    }
}

/// A key whose value is not taken.
pub fn refused(file: &str, key: &str, value: &Value, supported: &str) -> Error {
    Error::options(format!("{file}: {key} is {value}; supported is {supported}"))
}

fn object(dir: &Path, file: &str) -> Result<Option<Map<String, Value>>, Error> {
    match parse(dir, file)? {
        None => Ok(None),
        Some(Value::Object(map)) => Ok(Some(map)),
        Some(_) => Err(Error::options(format!("{file} is not a JSON object"))),
    }
}

fn parse(dir: &Path, file: &str) -> Result<Option<Value>, Error> {
    let path = dir.join(file);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = fs::read(&path).map_err(|e| Error::options(format!("cannot read {}: {e}", path.display())))?;
    let value = serde_json::from_slice(&bytes);
    value.map(Some).map_err(|e| Error::options(format!("{} is not JSON: {e}", path.display())))
}

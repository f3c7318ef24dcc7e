//! Files of models, adapters and tokenizers.

use super::{folder, put, taken};
use crate::workspace_root;
use ldalign::{
    Result, import,
    model::ModelDir,
    text::{Message, Prompt, TextCodec},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The model with weights, of two small layers.
pub(super) fn llama() -> PathBuf {
    workspace_root().join("tests/fixtures/models/llama")
}

/// The model with a tokenizer and a chat template.
pub(super) fn talking() -> PathBuf {
    workspace_root().join("examples/clean-golden/model")
}

/// A folder with copies of some files of a model, all where none is named.
pub(super) fn model(name: &str, of: &Path, files: &[&str]) -> PathBuf {
    folder(name, |folder| {
        for entry in fs::read_dir(of).expect("a fixture can be listed") {
            let name = entry.expect("an entry can be read").file_name();
            if files.is_empty() || files.iter().any(|file| name == **file) {
                fs::copy(of.join(&name), folder.join(&name)).expect("a fixture can be copied");
            }
        }
    })
}

/// The files of [`talking`] that make text into tokens.
pub(super) const TEXT: [&str; 5] =
    ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json", "config.json"];

fn verified(dir: &Path, file: &str, bytes: &[u8]) -> bool {
    put(&dir.join(file), bytes);
    taken(ModelDir::open(dir).and_then(|model| model.verify(None, None)))
}

pub fn safetensors(bytes: &[u8]) -> bool {
    verified(&model("safetensors", &llama(), &[]), "model.safetensors", bytes)
}

pub fn config(bytes: &[u8]) -> bool {
    verified(&model("config", &llama(), &[]), "config.json", bytes)
}

pub fn adapter_config(bytes: &[u8]) -> bool {
    // Where the adapter's base_model_name_or_path looks for it.
    model("llama", &llama(), &[]);
    let adapter = workspace_root().join("tests/fixtures/models/llama-lora");
    verified(&model("adapter", &adapter, &[]), "adapter_config.json", bytes)
}

pub fn gguf(bytes: &[u8]) -> bool {
    let folder = folder("gguf", |_| ());
    let (file, out) = (folder.join("model.gguf"), folder.join("out"));
    put(&file, bytes);
    let _ = fs::remove_dir_all(&out);
    // As a model, too, whose configuration is checked as a directory's.
    let model = taken(ModelDir::open(&file).and_then(|model| model.verify(None, None)));
    taken(import::gguf(&file, &out, import::WeightType::F32)) && model
}

fn spoken(dir: &Path, file: &str, bytes: &[u8]) -> bool {
    put(&dir.join(file), bytes);
    let speak = || -> Result<()> {
        let codec = TextCodec::load(dir)?;
        let turns = ["Reverse loper.", "repol", "Say it \u{e9}\u{4e2d} two times, <|end|> please."];
        let turns = turns.iter().zip(["user", "assistant", "user"]).map(|(text, role)| Message::new(role, *text));
        let prompt: Prompt = turns.collect::<Vec<_>>().into();
        codec.render_prompt(&prompt)?;
        // Tokens for its text the model need not have.
        let turn = codec.encode_turn(&prompt, &Message::new("assistant", "repol repol"));
        taken(turn.and_then(|turn| codec.decode(&turn.response)));
        Ok(())
    };
    taken(speak())
}

pub fn tokenizer(bytes: &[u8]) -> bool {
    spoken(&model("tokenizer", &talking(), &TEXT), "tokenizer.json", bytes)
}

pub fn tokenizer_config(bytes: &[u8]) -> bool {
    spoken(&model("tokenizer_config", &talking(), &TEXT), "tokenizer_config.json", bytes)
}

pub fn template(bytes: &[u8]) -> bool {
    spoken(&model("template", &talking(), &TEXT), "chat_template.jinja", bytes)
}

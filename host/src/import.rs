//! Turns a GGUF file into a Hugging Face model directory: weights de-quantised, tokenizer and chat template unpacked.

mod architecture;
mod keys;
mod metadata;
mod tokenizer;
mod weights;

use crate::{Code, Error, Result, files};
use architecture::{Architecture, ROPE_FACTORS};
use candle_core::quantized::gguf_file::Content;
use metadata::Metadata;
use std::{collections::BTreeMap, fs::File, io::BufReader, path::Path};

/// How the imported weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum WeightType {
    /// 32-bit floats: exactly what the quantised values stand for.
    F32,
    /// bfloat16, rounded to nearest: half the size.
    Bf16,
}

/// What an import found and wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportReport {
    /// `model_type` of the written config.json.
    pub model_type: String,
    /// Parameters in all.
    pub parameters: usize,
    /// Tensors of each storage kind in the file, such as `Q4_1`.
    pub kinds: BTreeMap<String, usize>,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Whether the file brought a chat template.
    pub chat_template: bool,
}

/// Reads the GGUF file `input` and writes the model directory `output_dir`, which must not hold anything yet.
///
/// Files written: config.json, generation_config.json, model.safetensors, tokenizer.json, tokenizer_config.json.
/// Memory stays at about the largest tensor. Errors name the key or tensor at fault; nothing is left behind then.
pub fn gguf(input: &Path, output_dir: &Path, weight_type: WeightType) -> Result<ImportReport> {
    if output_dir.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        let message = format!("output directory {} is not empty", output_dir.display());
        return Err(Error::new(Code::ImportOutput, message).hint("name a new directory, or remove this one"));
    }
    let file = files::open(input).map_err(|e| files::io_error(input, "read", e))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let content = Content::read(&mut reader).map_err(|e| {
        let reason = e.to_string().lines().next().unwrap_or_default().to_owned();
        Error::new(Code::ImportFormat, format!("{} is not a GGUF file that can be read: {reason}", input.display()))
            .hint(
                "supported are GGUF 1 to 3 with tensors of F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K",
            )
    })?;
    convert(&content, &mut reader, output_dir, weight_type).map_err(|e| match e.hint_text() {
        Some(_) => e.at(input.display()),
        None => {
            e.at(input.display()).hint("the file is damaged or incomplete: copy it again, or convert the model again")
        }
    })
}

fn convert(
    content: &Content,
    reader: &mut BufReader<File>,
    output_dir: &Path,
    weight_type: WeightType,
) -> Result<ImportReport> {
    let metadata = Metadata(&content.metadata);
    let mut architecture = Architecture::read(metadata, &content.tensor_infos)?;
    keys::check(&content.metadata)?;
    if content.tensor_infos.contains_key(ROPE_FACTORS) {
        architecture.set_rope_factors(&weights::values(content, reader, ROPE_FACTORS)?)?;
    }
    let tensors = architecture.tensors(&content.tensor_infos)?;
    let tokenizer = tokenizer::read(metadata, architecture.vocab_size)?;
    let mut kinds = BTreeMap::new();
    for info in content.tensor_infos.values() {
        *kinds.entry(weights::kind_name(info.ggml_dtype)).or_insert(0) += 1;
    }
    files::write_dir(output_dir, |dir| {
        weights::write(&dir.join("model.safetensors"), content, reader, &tensors, weight_type)?;
        files::write_json(&dir.join("config.json"), &architecture.config(&tokenizer, weight_type))?;
        files::write_json(&dir.join("generation_config.json"), &tokenizer.generation_config())?;
        files::write_json(&dir.join("tokenizer.json"), &tokenizer.json)?;
        files::write_json(&dir.join("tokenizer_config.json"), &tokenizer.config(architecture.max_positions))
    })?;
    Ok(ImportReport {
        model_type: architecture.model_type.to_owned(),
        parameters: tensors.iter().map(|t| t.elements()).sum(),
        kinds,
        vocab_size: architecture.vocab_size,
        chat_template: tokenizer.chat_template.is_some(),
    })
}

#[cfg(test)]
mod tests;

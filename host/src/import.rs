//! Turns a GGUF file into a Hugging Face model directory: weights unpacked, tokenizer and chat template beside them.

use crate::{
    Code, Error, Result, files,
    gguf::Gguf,
    tensors::{self, Spec},
};
use half::bf16;
use safetensors::Dtype;
use std::{collections::BTreeMap, path::Path};

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
    let gguf = Gguf::open(input)?;
    let (mut config, texts) = (gguf.config(), gguf.texts()?);
    let dtype = match weight_type {
        WeightType::F32 => "float32",
        WeightType::Bf16 => "bfloat16",
    };
    config.insert("torch_dtype".into(), dtype.into());
    files::write_dir(output_dir, |dir| {
        write_weights(&dir.join("model.safetensors"), &gguf, weight_type)?;
        files::write_json(&dir.join("config.json"), &config)?;
        texts.iter().try_for_each(|(name, bytes)| files::write(&dir.join(name), bytes))
    })?;
    Ok(ImportReport {
        model_type: config["model_type"].as_str().unwrap_or_default().to_owned(),
        parameters: gguf.shapes().map(|(_, shape)| shape.iter().product::<usize>()).sum(),
        kinds: gguf.kinds().clone(),
        vocab_size: gguf.vocab_size(),
        chat_template: gguf.has_chat_template(),
    })
}

/// Writes all tensors, one in memory at a time.
fn write_weights(path: &Path, gguf: &Gguf, weight_type: WeightType) -> Result<()> {
    let dtype = match weight_type {
        WeightType::F32 => Dtype::F32,
        WeightType::Bf16 => Dtype::BF16,
    };
    let spec = |(name, shape): (&str, &[usize])| Spec { name: name.to_owned(), dtype, shape: shape.to_owned() };
    let specs: Vec<Spec> = gguf.shapes().map(spec).collect();
    tensors::write(path, &[tensors::PYTORCH], &specs, |out| {
        gguf.shapes().try_for_each(|(name, _)| {
            let values = gguf.values(name)?.expect("a tensor that is listed");
            let bytes: Vec<u8> = match weight_type {
                WeightType::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
                WeightType::Bf16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
            };
            Ok(out.bytes(&bytes)?)
        })
    })
}

#[cfg(test)]
mod tests;

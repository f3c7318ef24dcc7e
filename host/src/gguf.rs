//! GGUF files as models: what config.json, the tokenizer's files and the tensors of a Hugging Face directory would be.
//!
//! The file is opened once; tensors are read one at a time by Hugging Face's names, so memory stays at about the
//! largest of them. Errors name the file, and the key or tensor at fault.

mod architecture;
mod family;
mod keys;
mod metadata;
mod plan;
mod rope;
mod tensors;
mod tokenizer;

use crate::{Code, Error, Result, files, ops::Blocks};
use architecture::Architecture;
use candle_core::quantized::gguf_file::Value as GgufValue;
use metadata::Metadata;
use rope::ROPE_FACTORS;
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, HashMap},
    io::{BufReader, ErrorKind},
    path::{Path, PathBuf},
};
use tensors::Tensors;
use tokenizer::Ids;

/// An open GGUF file whose keys and tensors are those of a model that is computed here.
pub struct Gguf {
    path: PathBuf,
    metadata: HashMap<String, GgufValue>,
    architecture: Architecture,
    ids: Ids,
    tensors: Tensors,
}

impl Gguf {
    /// Opens a file and checks its keys, and names and shapes of its tensors, and that all of them are there.
    ///
    /// # Errors
    /// Where it is no GGUF file, one of another kind (a part of several, an adapter, a vocabulary alone, what sees
    /// images), or of a model that is not computed.
    pub fn open(path: &Path) -> Result<Self> {
        let file = files::open(path).map_err(|e| files::io_error(path, "read", e))?;
        let mut reader = BufReader::with_capacity(1 << 20, &file);
        let content = candle_core::quantized::gguf_file::Content::read(&mut reader).map_err(|e| {
            let reason = match e {
                candle_core::Error::Io(e) if e.kind() == ErrorKind::UnexpectedEof => "it ends too early".into(),
                e => e.to_string().lines().next().unwrap_or_default().to_owned(),
            };
            Error::new(Code::GgufFormat, format!("{} is not a GGUF file that can be read: {reason}", path.display()))
                .hint(
                    "supported are GGUF 1 to 3 with tensors of F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to \
                     Q6_K",
                )
        })?;
        let read = || {
            let metadata = Metadata(&content.metadata);
            keys::check_kind(metadata, content.tensor_infos.is_empty())?;
            let mut architecture = Architecture::read(metadata, &content.tensor_infos)?;
            keys::check(&content.metadata)?;
            let ids = Ids::read(metadata)?;
            let size = file.metadata().map_err(|e| files::io_error(path, "read", e))?.len();
            let mut tensors = Tensors::new(file, size, &content)?;
            if let Some(factors) = tensors.values_of_file(ROPE_FACTORS)? {
                architecture.set_rope_factors(&factors)?;
            }
            tensors.set(architecture.tensors(&content.tensor_infos)?);
            Ok((architecture, ids, tensors))
        };
        let (architecture, ids, tensors) = read().map_err(|e| within(path, e))?;
        Ok(Self { path: path.to_owned(), metadata: content.metadata, architecture, ids, tensors })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The content of config.json, but for the type of the weights.
    pub fn config(&self) -> Map<String, Value> {
        self.architecture.config(&self.ids)
    }

    /// The files of a model directory that say how text becomes tokens and where it ends, by name: tokenizer.json,
    /// tokenizer_config.json and generation_config.json.
    ///
    /// # Errors
    /// Where the tokenizer is of a kind that is not known, or inconsistent.
    pub fn texts(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let tokenizer = tokenizer::read(Metadata(&self.metadata), &self.ids, self.architecture.vocab_size);
        let tokenizer = tokenizer.map_err(|e| within(&self.path, e))?;
        let all = [
            ("tokenizer.json", &tokenizer.json),
            ("tokenizer_config.json", &tokenizer.config(self.architecture.max_positions)),
            ("generation_config.json", &self.ids.generation_config()),
        ];
        Ok(all.map(|(name, value)| (name, format!("{value:#}\n").into_bytes())).into())
    }

    /// Rows of the embedding.
    pub fn vocab_size(&self) -> usize {
        self.architecture.vocab_size
    }

    /// Whether it brings a chat template.
    pub fn has_chat_template(&self) -> bool {
        self.metadata.contains_key("tokenizer.chat_template")
    }

    /// Names and shapes of the model's tensors, sorted by name.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.shapes()
    }

    /// Tensors in the file of each storage kind, such as `Q4_1`.
    pub fn kinds(&self) -> &BTreeMap<String, usize> {
        self.tensors.kinds()
    }

    /// The shape of a tensor; None where the model has none of this name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.shape(name)
    }

    /// The numbers of a tensor, row by row; None where the model has none of this name.
    ///
    /// # Errors
    /// Where the file cannot be read, or holds a number that is not finite.
    pub fn values(&self, name: &str) -> Result<Option<Vec<f32>>> {
        self.tensors.values(name).map_err(|e| within(&self.path, e))
    }

    /// Bytes of a matrix that [`blocks`](Self::blocks) gives.
    pub fn block_bytes(&self, name: &str) -> Option<u64> {
        self.tensors.block_bytes(name)
    }

    /// A matrix in blocks as they lie in the file, which stand for its [values](Self::values) to the bit; None where
    /// the model has none of this name, or the file has it otherwise.
    ///
    /// # Errors
    /// Those of [`values`](Self::values).
    pub fn blocks(&self, name: &str) -> Result<Option<Blocks>> {
        self.tensors.blocks(name).map_err(|e| within(&self.path, e))
    }
}

/// Says which file it was.
fn within(path: &Path, e: Error) -> Error {
    let e = e.at(path.display());
    match e.hint_text() {
        Some(_) => e,
        None => e.hint("the file is damaged or incomplete: copy it again, or convert the model again"),
    }
}

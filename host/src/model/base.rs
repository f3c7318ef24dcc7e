//! The weights of a base model, a directory's or a GGUF file's, read one by one into what they stay.

use super::{
    config::{CONFIG, EMBEDDING, FeedForward, HEAD, ModelConfig},
    weights::{Weights, differ},
};
use crate::{
    Code, Error, Result,
    gguf::Gguf,
    ops::{Blocks, Compute, Precision, Stored, Weight},
};
use candle_core::{Device, Tensor, Var};
use std::{collections::BTreeSet, path::Path};

/// Fails where the matrices of a model cannot be kept in blocks.
pub fn quantizable(config: &ModelConfig, device: &Device) -> Result<()> {
    let refused =
        |what: &str, hint: &str| Err(Error::new(Code::ModelUnsupported, format!("quantize: {what}")).hint(hint));
    if config.layers.iter().any(|layer| matches!(layer.feed_forward, FeedForward::Experts(_))) {
        return refused(
            "a model with experts is not made into 4 bits",
            "remove quantize; bf16: true halves its memory",
        );
    }
    match device.is_cpu() {
        true => Ok(()),
        false => refused("products with blocks are computed on the CPU alone", "use device: cpu, or remove quantize"),
    }
}

/// A model's weights, with the configuration that they must fit.
pub struct Base<'a> {
    /// What config.json says.
    pub config: ModelConfig,
    weights: Source<'a>,
    /// The matrices of linear modules, the head's not among them.
    linears: BTreeSet<String>,
}

/// Where the weights come from.
enum Source<'a> {
    Directory(Weights),
    Gguf(&'a Gguf),
}

/// What becomes of a base's numbers when they are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// They can be trained: f32.
    Trained,
    /// They are read alone: matrices in bf16 where products are.
    Frozen,
    /// Likewise, and the matrices of linear modules become NF4 with double quantisation; embedding, head and vectors
    /// stay, as PEFT and bitsandbytes have it.
    Nf4,
}

impl<'a> Base<'a> {
    /// Those of a model directory.
    ///
    /// # Errors
    /// Where they are missing or damaged.
    pub fn of_directory(config: ModelConfig, dir: &Path) -> Result<Self> {
        let mut weights = Weights::open(dir)?;
        // One table under either name.
        if config.tied && !weights.has(EMBEDDING) {
            weights.rename(HEAD, EMBEDDING);
        }
        for ((name, shape), parts) in config.fused() {
            weights.split(&name, &shape, parts)?;
        }
        Ok(Self::new(config, Source::Directory(weights)))
    }

    /// Those of a GGUF file.
    pub fn of_gguf(config: ModelConfig, gguf: &'a Gguf) -> Self {
        Self::new(config, Source::Gguf(gguf))
    }

    fn new(config: ModelConfig, weights: Source<'a>) -> Self {
        let linears = config.modules().into_iter().map(|module| format!("{}.weight", module.name)).collect();
        Self { config, weights, linears }
    }

    /// Reads a tensor straight into what it stays: f32 where it is trained, and where it is frozen what
    /// [`Weight::frozen`] makes of it, or blocks of NF4.
    ///
    /// # Errors
    /// Those of [`take`](Self::take).
    pub fn keep(&mut self, name: &str, shape: &[usize], compute: &Compute, kept: Kept) -> Result<Stored> {
        let device = compute.device();
        if let (Kept::Nf4, [rows, columns], true) = (kept, shape, self.linears.contains(name)) {
            let numbers = self.take(name, shape, false, device)?;
            let blocks = compute.read(&numbers, |numbers| Blocks::nf4(*rows, *columns, numbers))?;
            return Ok(Stored::Blocks(blocks?));
        }
        let frozen = kept != Kept::Trained;
        let narrow = frozen && shape.len() == 2 && compute.precision() == Precision::Bf16;
        let tensor = self.take(name, shape, narrow, device)?;
        match frozen {
            true => Ok(Weight::frozen(&tensor.into(), compute)?),
            false => Ok(Var::from_tensor(&tensor)?.into_inner().into()),
        }
    }

    /// Reads a tensor as f32, or where `narrow` says so as bf16 if it is that in the file.
    ///
    /// # Errors
    /// Where it is missing, of another shape, or damaged.
    pub fn take(&mut self, name: &str, shape: &[usize], narrow: bool, device: &Device) -> Result<Tensor> {
        match &mut self.weights {
            Source::Gguf(gguf) => unpacked(gguf, name, shape, device),
            Source::Directory(weights) if name == HEAD && !weights.has(HEAD) => {
                let what = format!(
                    "{}: {HEAD} is missing, and config.json does not say that it is the embedding",
                    weights.place()
                );
                Err(Error::new(Code::ModelTensor, what).hint(
                    "set tie_word_embeddings to true in config.json if it is; otherwise copy the weights again",
                ))
            }
            Source::Directory(weights) => weights.take_as(name, shape, CONFIG, device, narrow),
        }
    }

    /// Fails if a tensor has no place in the model; those of a GGUF file were looked at when it was opened.
    ///
    /// # Errors
    /// Names it.
    pub fn finish(self) -> Result<()> {
        let Source::Directory(mut weights) = self.weights else { return Ok(()) };
        if self.config.tied && weights.has(HEAD) {
            let shape = [self.config.vocab_size, self.config.hidden_size];
            let [a, b] = [EMBEDDING, HEAD].map(|name| weights.take(name, &shape, CONFIG, &Device::Cpu));
            if differ(&a?, &b?)? {
                let what =
                    format!("{}: {HEAD} is not {EMBEDDING}, but config.json says so (tie_word_embeddings)", weights.place());
                return Err(Error::new(Code::ModelTensor, what).hint(
                    "set tie_word_embeddings to false to use the file's head, or remove that to use the embedding",
                ));
            }
        }
        // Old checkpoints hold buffers that follow from the configuration.
        match weights.left().find(|name| !name.ends_with("rotary_emb.inv_freq")) {
            Some(name) => Err(weights.no_place(name)),
            None => Ok(()),
        }
    }
}

/// A tensor of a GGUF file, unpacked.
fn unpacked(gguf: &Gguf, name: &str, shape: &[usize], device: &Device) -> Result<Tensor> {
    let wrong = |what: String| {
        let what = format!("{}: {name} {what}", gguf.path().display());
        Error::new(Code::ModelTensor, what).hint("keys and tensors of the file must be of the same model")
    };
    match gguf.shape(name) {
        Some(found) if found == shape => {}
        found => return Err(wrong(format!("is {found:?}, but the keys ask for {shape:?}"))),
    }
    let values = gguf.values(name)?.ok_or_else(|| wrong("is missing".into()))?;
    Ok(Tensor::from_vec(values, shape, device)?)
}

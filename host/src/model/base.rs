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
    /// They are read alone: matrices in blocks as a GGUF file has them, otherwise in bf16 where products are.
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

    /// Fails where the matrices of linear modules cannot be made into NF4.
    ///
    /// # Errors
    /// With experts, on a GPU, and where they are in blocks already.
    pub fn quantizable(&self, device: &Device) -> Result<()> {
        let refused =
            |what: &str, hint: &str| Err(Error::new(Code::ModelUnsupported, format!("quantize: {what}")).hint(hint));
        if self.config.layers.iter().any(|layer| matches!(layer.feed_forward, FeedForward::Experts(_))) {
            return refused(
                "a model with experts is not made into 4 bits",
                "remove quantize; bf16: true halves its memory",
            );
        }
        if let Source::Gguf(gguf) = self.weights
            && let Some(name) = self.linears.iter().find(|name| gguf.block_bytes(name).is_some())
        {
            let what = format!("{name} is in blocks already in {}", gguf.path().display());
            return refused(&what, "remove quantize: they stay in the file's");
        }
        match device.is_cpu() {
            true => Ok(()),
            false => {
                refused("products with blocks are computed on the CPU alone", "use device: cpu, or remove quantize")
            }
        }
    }

    /// Reads a tensor straight into what it stays: f32 where it is trained, and where it is frozen the file's blocks,
    /// what [`Weight::frozen`] makes of it, or blocks of NF4.
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
        if let (true, true, Source::Gguf(gguf)) = (frozen, device.is_cpu(), &self.weights)
            && let Some(blocks) = gguf.blocks(name)?
        {
            fits(gguf, name, shape)?;
            return Ok(Stored::Blocks(blocks));
        }
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
            Source::Gguf(gguf) => {
                fits(gguf, name, shape)?;
                let values = gguf.values(name)?.expect("a tensor that has a shape");
                Ok(Tensor::from_vec(values, shape, device)?)
            }
            Source::Directory(weights) if name == HEAD && !weights.has(HEAD) => {
                let what = format!(
                    "{}: {HEAD} is missing, and config.json does not say that it is the embedding",
                    weights.place()
                );
                Err(Error::new(Code::ModelTensor, what)
                    .hint("set tie_word_embeddings to true in config.json if it is; otherwise copy the weights again"))
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
                let what = format!(
                    "{}: {HEAD} is not {EMBEDDING}, but config.json says so (tie_word_embeddings)",
                    weights.place()
                );
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

/// Fails unless a tensor of a GGUF file is there, and of this shape.
fn fits(gguf: &Gguf, name: &str, shape: &[usize]) -> Result<()> {
    match gguf.shape(name) {
        Some(found) if found == shape => Ok(()),
        found => {
            let what = format!("{}: {name} is {found:?}, but the keys ask for {shape:?}", gguf.path().display());
            Err(Error::new(Code::ModelTensor, what).hint("keys and tensors of the file must be of the same model"))
        }
    }
}

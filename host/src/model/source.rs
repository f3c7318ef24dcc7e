//! A model directory as it lies on disk: which files of it are read, and whether they fit each other.

use super::{
    adapter::{self, Adapter},
    config::{EMBEDDING, FeedForward, HEAD, ModelConfig},
    lora,
    weights::{Weights, differ},
};
use crate::{
    Code, Error, Result,
    config::{LoraConfig, Quantize},
    files,
    ops::{Blocks, Compute, Precision, Stored, Weight},
    text::TextCodec,
};
use candle_core::{Device, Tensor, Var};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

const CONFIG: &str = "config.json";

/// Files of a model directory that say how text becomes tokens.
const TEXT: [&str; 4] = ["tokenizer.json", "tokenizer_config.json", TEMPLATE, "special_tokens_map.json"];
const TEMPLATE: &str = "chat_template.jinja";
/// Says which tokens end a response.
const GENERATION: &str = "generation_config.json";

/// Says of an adapter what its base was made into before it was trained: without it the base would be another model.
const QUANTIZATION: &str = "base_quantization.json";

/// What [`QUANTIZATION`] holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Quantization {
    quantize: Quantize,
}

/// Writes down that the adapter in `dir` was trained on a base that was made into this.
pub fn save_quantization(dir: &Path, quantize: Quantize) -> Result<()> {
    files::write_json(&dir.join(QUANTIZATION), &Quantization { quantize })
}

/// A directory with a model, or with an adapter that names one.
#[derive(Debug)]
pub struct ModelDir {
    dir: PathBuf,
    /// What an adapter's base is made into.
    quantize: Option<Quantize>,
    /// Of the model, the same where there is no adapter.
    base: PathBuf,
    adapter: Option<Adapter>,
}

impl ModelDir {
    /// Finds the base of an adapter.
    ///
    /// # Errors
    /// Where there is no such directory, or the adapter's configuration is not computed here.
    pub fn open(dir: &Path) -> Result<Self> {
        Self::open_on(dir, None)
    }

    /// [`open`](Self::open), of an adapter on another base than it names, used as it is.
    pub fn open_on(dir: &Path, base: Option<&Path>) -> Result<Self> {
        if !dir.is_dir() {
            let what = format!("there is no model directory {}", dir.display());
            return Err(Error::new(Code::ModelDirectory, what)
                .hint("expected a directory with config.json and model.safetensors"));
        }
        let adapter = dir.join(adapter::CONFIG).exists().then(|| Adapter::load(dir)).transpose()?;
        let given = base.is_some();
        let base = match (&adapter, base) {
            (Some(_), Some(base)) => base.to_owned(),
            (Some(adapter), None) => adapter.base(dir)?,
            (None, _) => dir.to_owned(),
        };
        // As a cache leaves them that was cleared: not the same as no file.
        let named = TEXT.iter().chain([&GENERATION]).flat_map(|name| [dir.join(name), base.join(name)]);
        if let Some(path) = named.into_iter().find(|path| path.is_symlink() && !path.exists()) {
            let what = format!("{} is a link to nothing", path.display());
            return Err(Error::new(Code::ModelDirectory, what).hint("copy the file again, or remove the link"));
        }
        if adapter.is_some() && dir.join(TEMPLATE).exists() && !dir.join(TEXT[0]).exists() {
            let place = dir.display();
            let what = format!("{place} has {TEMPLATE} and no {}, so that its base's template would be taken", TEXT[0]);
            return Err(Error::new(Code::ModelDirectory, what).hint(
                "save the tokenizer beside the adapter (its save_pretrained), or remove the template to use the base's",
            ));
        }
        let path = dir.join(QUANTIZATION);
        let quantize = (adapter.is_some() && !given && path.exists()).then(|| -> Result<Quantize> {
            let Quantization { quantize } = serde_json::from_str(&files::read_text(&path)?).map_err(|e| {
                Error::new(Code::ModelLora, format!("{}: {e}", path.display()))
                    .hint(r#"expected {"quantize": "nf4"}, or no such file where the base is used as it is"#)
            })?;
            Ok(quantize)
        });
        Ok(Self { dir: dir.to_owned(), quantize: quantize.transpose()?, base, adapter })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The base's directory.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// What the base is made into before it is used, where it is an adapter that was trained on such a base.
    pub fn quantize(&self) -> Option<Quantize> {
        self.quantize
    }

    /// Whether it is an adapter.
    pub fn is_adapter(&self) -> bool {
        self.adapter.is_some()
    }

    /// The model's shape.
    pub fn config(&self) -> Result<ModelConfig> {
        ModelConfig::load(&self.base.join(CONFIG))
    }

    /// Where the tokenizer is: with the adapter, or where that has none with its base.
    pub fn text_dir(&self) -> &Path {
        if self.dir.join(TEXT[0]).exists() { &self.dir } else { &self.base }
    }

    /// Files that go with the weights wherever these are saved.
    pub fn companions(&self) -> Vec<PathBuf> {
        let text = TEXT.map(|name| self.text_dir().join(name));
        text.into_iter()
            .filter(|path| path.is_file())
            .chain(
                [self.text_dir(), &self.base].map(|dir| dir.join(GENERATION)).into_iter().find(|path| path.is_file()),
            )
            .collect()
    }

    /// Every file that is read, by its name; those of an adapter's base as `base/NAME`.
    ///
    /// # Errors
    /// Where the weights' index cannot be read.
    pub fn files(&self) -> Result<Vec<(String, PathBuf)>> {
        let of = |dir: &Path, prefix: &str, names: &[&str]| -> Vec<(String, PathBuf)> {
            let files = names.iter().map(|name| (format!("{prefix}{name}"), dir.join(name)));
            files.filter(|(_, path)| path.is_file()).collect()
        };
        let mut all = match self.is_adapter() {
            true => of(&self.dir, "", &[adapter::CONFIG, adapter::WEIGHTS, QUANTIZATION]),
            false => vec![],
        };
        let prefix = if self.is_adapter() { "base/" } else { "" };
        all.extend(of(&self.base, prefix, &[CONFIG]));
        let weights = Weights::files(&self.base)?;
        all.extend(of(&self.base, prefix, &weights.iter().map(String::as_str).collect::<Vec<_>>()));
        let text_prefix = if self.text_dir() == self.dir { "" } else { prefix };
        all.extend(of(self.text_dir(), text_prefix, &TEXT));
        let own = self.text_dir().join(GENERATION).is_file();
        let (dir, prefix) = if own { (self.text_dir(), text_prefix) } else { (self.base.as_path(), prefix) };
        all.extend(of(dir, prefix, &[GENERATION]));
        Ok(all)
    }

    /// Parameters of the adapter, 0 where there is none.
    ///
    /// # Errors
    /// Where its tensors cannot be read.
    pub fn adapter_parameters(&self) -> Result<u64> {
        if !self.is_adapter() {
            return Ok(0);
        }
        let weights = adapter::open(&self.dir)?;
        Ok(weights.shapes().map(|(_, shape)| shape.iter().product::<usize>() as u64).sum())
    }

    /// Reads every tensor as loading it would, and keeps none: what loading would refuse, this refuses. `lora` is the
    /// fresh adapter that is to be trained on it, `quantize` what its matrices are to be made into.
    ///
    /// # Errors
    /// Where a file is missing or damaged, where weights and configuration disagree, or where `lora` has no place.
    pub fn verify(&self, lora: Option<&LoraConfig>, quantize: Option<Quantize>) -> Result<()> {
        if self.is_adapter() && lora.is_some() {
            return Err(has_adapter());
        }
        let mut base = Base::open(&self.base)?;
        for (name, shape) in base.config.tensors() {
            base.take(&name, &shape, false, &Device::Cpu)?;
        }
        let config = base.config.clone();
        base.finish()?;
        quantize.map_or(Ok(()), |_| quantizable(&config, &Device::Cpu))?;
        if let Some(adapter) = &self.adapter {
            adapter.clone().read(&self.dir, &config, &Device::Cpu)?;
        }
        lora.map_or(Ok(()), |lora| lora::targets(lora, &config.modules()).map(drop))
    }
}

/// Directories that are read where the model in `dir` is: its own, and an adapter's base where that can be found.
pub fn places(dir: &Path) -> Vec<PathBuf> {
    let base = ModelDir::open(dir).map(|found| found.base).ok();
    [dir.to_owned()].into_iter().chain(base.filter(|base| base != dir)).collect()
}

/// A second adapter is asked for.
pub fn has_adapter() -> Error {
    Error::new(Code::ModelLora, "the model has an adapter already, and train.lora asks for another")
        .hint("leave train.lora out to train that one, or merge it first (`ldalign merge`)")
}

/// The tokenizer and template of a model directory; an adapter's own, or where it has none its base's.
///
/// # Errors
/// Those of [`ModelDir::open`] and [`TextCodec::load`].
pub fn codec(dir: &Path) -> Result<TextCodec> {
    let dir = ModelDir::open(dir)?;
    TextCodec::load_with(dir.text_dir(), &dir.base)
}

impl ModelConfig {
    /// That of a model directory, or of the base model that an adapter directory names.
    ///
    /// # Errors
    /// Those of [`ModelDir::open`] and [`load`](Self::load).
    pub fn of(dir: &Path) -> Result<Self> {
        ModelDir::open(dir)?.config()
    }
}

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
pub struct Base {
    /// What config.json says.
    pub config: ModelConfig,
    weights: Weights,
    /// The matrices of linear modules, the head's not among them.
    linears: BTreeSet<String>,
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

impl Base {
    /// Opens config.json and the weights of a directory.
    pub fn open(dir: &Path) -> Result<Self> {
        let config = ModelConfig::load(&dir.join(CONFIG))?;
        let mut weights = Weights::open(dir)?;
        // One table under either name.
        if config.tied && !weights.has(EMBEDDING) {
            weights.rename(HEAD, EMBEDDING);
        }
        for ((name, shape), parts) in config.fused() {
            weights.split(&name, &shape, parts)?;
        }
        let linears = config.modules().into_iter().map(|module| format!("{}.weight", module.name)).collect();
        Ok(Self { config, weights, linears })
    }

    /// Reads a tensor straight into what it stays: f32 where it is trained, and where it is frozen what
    /// [`Weight::frozen`] makes of it, or blocks of NF4.
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
    fn take(&mut self, name: &str, shape: &[usize], narrow: bool, device: &Device) -> Result<Tensor> {
        if name == HEAD && !self.weights.has(HEAD) {
            let what = format!(
                "{}: {HEAD} is missing, and config.json does not say that it is the embedding",
                self.weights.place()
            );
            return Err(Error::new(Code::ModelTensor, what)
                .hint("set tie_word_embeddings to true in config.json if it is; otherwise copy the weights again"));
        }
        self.weights.take_as(name, shape, CONFIG, device, narrow)
    }

    /// Fails if a tensor has no place in the model.
    pub fn finish(mut self) -> Result<()> {
        if self.config.tied && self.weights.has(HEAD) {
            let shape = [self.config.vocab_size, self.config.hidden_size];
            let [a, b] = [EMBEDDING, HEAD].map(|name| self.weights.take(name, &shape, CONFIG, &Device::Cpu));
            if differ(&a?, &b?)? {
                let what = format!(
                    "{}: {HEAD} is not {EMBEDDING}, but config.json says so (tie_word_embeddings)",
                    self.weights.place()
                );
                return Err(Error::new(Code::ModelTensor, what).hint(
                    "set tie_word_embeddings to false to use the file's head, or remove that to use the embedding",
                ));
            }
        }
        // Old checkpoints hold buffers that follow from the configuration.
        match self.weights.left().find(|name| !name.ends_with("rotary_emb.inv_freq")) {
            Some(name) => Err(self.weights.no_place(name)),
            None => Ok(()),
        }
    }
}

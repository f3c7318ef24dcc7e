//! A model as it lies on disk, a directory or a GGUF file: which files of it are read, and whether they fit each other.

use super::{
    adapter::{self, Adapter},
    base::Base,
    config::{CONFIG, HEAD, ModelConfig, Module},
    lora,
    weights::Weights,
};
use crate::{
    Code, Error, Result,
    config::{LoraConfig, Quantize},
    files,
    gguf::Gguf,
    ops::BlockKind,
    text::{TextCodec, TextFiles},
};
use candle_core::Device;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The name by which a run knows a GGUF file.
const GGUF: &str = "model.gguf";

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

/// What a model takes beyond what its configuration says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Parameters of an adapter that it brings which are trained.
    pub trained: u64,
    /// Those which are not (MiCA's B).
    pub fixed: u64,
    /// Whether embedding and head are among them.
    pub tables: [bool; 2],
    /// Whether they are one table there.
    pub tied: bool,
    /// Bytes of the base's matrices that are kept in blocks where they are frozen, by their tensors' names.
    pub blocks: BTreeMap<String, u64>,
}

/// A directory with a model, or with an adapter that names one, or a GGUF file, which is a model in one file.
pub struct ModelDir {
    dir: PathBuf,
    /// What an adapter's base is made into.
    quantize: Option<Quantize>,
    /// Of the model, the same where there is no adapter.
    base: PathBuf,
    /// The base where it is such a file.
    gguf: Option<Gguf>,
    adapter: Option<Adapter>,
}

impl ModelDir {
    /// Finds the base of an adapter.
    ///
    /// # Errors
    /// Where there is no such directory or file, or the adapter's configuration is not computed here; those of
    /// [`Gguf::open`].
    pub fn open(dir: &Path) -> Result<Self> {
        Self::open_on(dir, None)
    }

    /// [`open`](Self::open), of an adapter on another base than it names, used as it is.
    pub fn open_on(dir: &Path, base: Option<&Path>) -> Result<Self> {
        if !dir.exists() {
            let what = format!("there is no model {}", dir.display());
            return Err(Error::new(Code::ModelDirectory, what)
                .hint("expected a directory with config.json and model.safetensors, or a GGUF file"));
        }
        let adapter = dir.join(adapter::CONFIG).exists().then(|| Adapter::load(dir)).transpose()?;
        let given = base.is_some();
        let base = match (&adapter, base) {
            (Some(_), Some(base)) => base.to_owned(),
            (Some(adapter), None) => adapter.base(dir)?,
            (None, _) => dir.to_owned(),
        };
        if let Some(file) = lone_gguf(&base) {
            let what = format!("{} has no {CONFIG}, but {}", base.display(), file.display());
            return Err(Error::new(Code::ModelDirectory, what).hint("give the path of that file as the model"));
        }
        let gguf = (!base.is_dir()).then(|| Gguf::open(&base)).transpose()?;
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
        Ok(Self { dir: dir.to_owned(), quantize: quantize.transpose()?, base, gguf, adapter })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The base's directory, or file.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// What the base is made into before it is used, where it is an adapter that was trained on such a base.
    pub fn quantize(&self) -> Option<Quantize> {
        self.quantize
    }

    /// Whether the base's weights lie in a GGUF file.
    pub fn is_gguf(&self) -> bool {
        self.gguf.is_some()
    }

    /// Whether it is an adapter.
    pub fn is_adapter(&self) -> bool {
        self.adapter.is_some()
    }

    /// The model's shape.
    pub fn config(&self) -> Result<ModelConfig> {
        match &self.gguf {
            Some(gguf) => ModelConfig::read(&self.base.display().to_string(), gguf.config()),
            None => ModelConfig::load(&self.base.join(CONFIG)),
        }
    }

    /// Opens the base's configuration and weights.
    ///
    /// # Errors
    /// Where one is missing or damaged.
    pub fn weights(&self) -> Result<Base<'_>> {
        let config = self.config()?;
        match &self.gguf {
            Some(gguf) => Ok(Base::of_gguf(config, gguf)),
            None => Base::of_directory(config, &self.base),
        }
    }

    /// Where the tokenizer is: with the adapter, or where that has none with its base, or in it.
    pub fn text_dir(&self) -> &Path {
        if self.dir.join(TEXT[0]).exists() { &self.dir } else { &self.base }
    }

    /// The files that say how text becomes tokens, and those of the base.
    fn texts(&self) -> Result<[TextFiles; 2]> {
        let base = match &self.gguf {
            None => TextFiles::Directory(self.base.clone()),
            Some(gguf) => {
                let mut all = gguf.texts()?;
                all.push((CONFIG, Value::Object(gguf.config()).to_string().into_bytes()));
                TextFiles::Within(self.base.clone(), all)
            }
        };
        let own = if self.text_dir() == self.base { base.clone() } else { TextFiles::Directory(self.dir.clone()) };
        Ok([own, base])
    }

    /// Files that go with the weights wherever these are saved, by name.
    ///
    /// # Errors
    /// Where one cannot be read.
    pub fn companions(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let [own, base] = self.texts()?;
        let mut all = vec![];
        for name in TEXT {
            all.extend(own.find(name)?.map(|bytes| (name, bytes)));
        }
        let generation = own.find(GENERATION)?.map_or_else(|| base.find(GENERATION), |bytes| Ok(Some(bytes)))?;
        all.extend(generation.map(|bytes| (GENERATION, bytes)));
        Ok(all)
    }

    /// Every file that is read, by its name; those of an adapter's base as `base/NAME`. A GGUF file is `model.gguf`,
    /// whatever it is called.
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
        if self.is_gguf() {
            all.push((format!("{prefix}{GGUF}"), self.base.clone()));
        } else {
            all.extend(of(&self.base, prefix, &[CONFIG]));
            let weights = Weights::files(&self.base)?;
            all.extend(of(&self.base, prefix, &weights.iter().map(String::as_str).collect::<Vec<_>>()));
        }
        let text_prefix = if self.text_dir() == self.dir { "" } else { prefix };
        all.extend(of(self.text_dir(), text_prefix, &TEXT));
        let own = self.text_dir().join(GENERATION).is_file();
        let (dir, prefix) = if own { (self.text_dir(), text_prefix) } else { (self.base.as_path(), prefix) };
        all.extend(of(dir, prefix, &[GENERATION]));
        Ok(all)
    }

    /// What it takes beyond what its configuration says; `quantize` is what the base's matrices are made into.
    ///
    /// # Errors
    /// Where the adapter's tensors, or the configuration, cannot be read.
    pub fn footprint(&self, quantize: Option<Quantize>) -> Result<Footprint> {
        let config = self.config()?;
        let nf4 = |m: &Module| (format!("{}.weight", m.name), BlockKind::Nf4.bytes(m.inputs * m.outputs) as u64);
        let blocks = match (&self.gguf, quantize) {
            (_, Some(Quantize::Nf4)) => config.modules().iter().map(nf4).collect(),
            (Some(gguf), None) => {
                gguf.shapes().filter_map(|(name, _)| Some((name.to_owned(), gguf.block_bytes(name)?))).collect()
            }
            (None, None) => BTreeMap::new(),
        };
        let mut footprint = Footprint { blocks, ..Footprint::default() };
        let Some(adapter) = &self.adapter else { return Ok(footprint) };
        (footprint.tables, footprint.tied) = (adapter.tables(), adapter.ties(&config));
        for (name, shape) in adapter::open(&self.dir)?.shapes() {
            let numbers = shape.iter().product::<usize>() as u64;
            match adapter.trains(name) {
                // The same table under another name.
                true if footprint.tied && name == lora::saved_name(HEAD) => {}
                true => footprint.trained += numbers,
                false => footprint.fixed += numbers,
            }
        }
        Ok(footprint)
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
        let mut base = self.weights()?;
        for (name, shape) in base.config.tensors() {
            base.take(&name, &shape, false, &Device::Cpu)?;
        }
        let config = base.config.clone();
        quantize.map_or(Ok(()), |_| base.quantizable(&Device::Cpu))?;
        base.finish()?;
        if let Some(adapter) = &self.adapter {
            adapter.clone().read(&self.dir, &config, &Device::Cpu)?;
        }
        lora.map_or(Ok(()), |lora| lora::targets(lora, &config.modules()).map(drop))
    }
}

/// A GGUF file in a directory that is no model otherwise.
fn lone_gguf(dir: &Path) -> Option<PathBuf> {
    if !dir.is_dir() || [CONFIG, adapter::CONFIG].iter().any(|name| dir.join(name).exists()) {
        return None;
    }
    let files = dir.read_dir().ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    files.filter(|path| path.extension().is_some_and(|end| end == "gguf")).min()
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

/// The tokenizer and template of a model; an adapter's own, or where it has none its base's.
///
/// # Errors
/// Those of [`ModelDir::open`] and [`TextCodec::load`].
pub fn codec(dir: &Path) -> Result<TextCodec> {
    let [own, base] = ModelDir::open(dir)?.texts()?;
    TextCodec::load_from(&own, &base)
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

//! The weights of a model directory: one file or shards, read into f32 by name and shape, and written as f32.
//!
//! Tensors are read one at a time and not mapped, so a file that shrinks meanwhile is an error and not a crash.

use crate::{
    Code, Error, Result, files,
    tensors::{self, Place, Spec, TensorFile},
};
use candle_core::{Device, Tensor};
use safetensors::Dtype;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// The tensors of a model directory, read on demand.
#[derive(Debug)]
pub struct Weights {
    files: Vec<TensorFile>,
    /// By name, the file and the place in it.
    entries: BTreeMap<String, (usize, Place)>,
    taken: BTreeSet<String>,
}

fn bad(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::new(Code::ModelWeights, format!("{}: {what}", path.display()))
        .hint("the file is damaged or not safetensors: copy or download it again")
}

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The shard of each tensor.
///
/// # Errors
/// Where there is no index: then there are no weights that can be read.
fn read_index(dir: &Path) -> Result<BTreeMap<String, String>> {
    let index = &dir.join(INDEX);
    if !index.exists() {
        let what = format!("no {SINGLE} in {}", dir.display());
        let bin = ["pytorch_model.bin", "pytorch_model.bin.index.json"].into_iter().find(|f| dir.join(f).exists());
        return Err(match bin {
            Some(bin) => Error::new(Code::ModelWeights, format!("{what}, and {bin} is not read")).hint(
                "load it with transformers' from_pretrained and save it by save_pretrained, which writes safetensors",
            ),
            None => Error::new(Code::ModelWeights, what)
                .hint("expected a Hugging Face model directory, or the path of a GGUF file"),
        });
    }
    let value: Value = serde_json::from_str(&files::read_text(index)?).map_err(|e| bad(index, e))?;
    let map = value["weight_map"].as_object().ok_or_else(|| bad(index, "no weight_map"))?;
    let shard = |(tensor, file): (&String, &Value)| match file.as_str() {
        // A shard lies beside the index: a path could lead anywhere.
        Some(f) if Path::new(f).file_name() == Some(f.as_ref()) => Ok((tensor.clone(), f.to_owned())),
        _ => Err(bad(index, format!("the file of {tensor} is {file}, expected a plain file name"))),
    };
    map.iter().map(shard).collect()
}

impl Weights {
    /// Names of the files that [`open`](Self::open) reads.
    pub fn files(dir: &Path) -> Result<Vec<String>> {
        if dir.join(SINGLE).exists() {
            return Ok(vec![SINGLE.to_owned()]);
        }
        let shards: BTreeSet<_> = read_index(dir)?.into_values().collect();
        Ok(shards.into_iter().chain([INDEX.to_owned()]).collect())
    }

    /// Opens model.safetensors, or the shards of model.safetensors.index.json.
    pub fn open(dir: &Path) -> Result<Self> {
        let single = dir.join(SINGLE);
        if single.exists() {
            return Ok(Self::open_files(vec![single])?.named_plainly());
        }
        let map = read_index(dir)?;
        let names: BTreeSet<_> = map.values().collect();
        let weights = Self::open_files(names.into_iter().map(|n| dir.join(n)).collect())?;
        match map.keys().find(|k| !weights.entries.contains_key(*k)) {
            Some(k) => Err(bad(&dir.join(INDEX), format!("no shard holds the tensor {k}"))),
            None => Ok(weights.named_plainly()),
        }
    }

    /// Names as a causal language model has them: without what wrappers put before all of them (torch.compile,
    /// DistributedDataParallel), and with `model.`, which is not there where the model without a head was saved.
    fn named_plainly(mut self) -> Self {
        for wrapper in ["_orig_mod.", "module.", "_orig_mod."] {
            if self.entries.keys().all(|name| name.starts_with(wrapper)) {
                self.entries = self.entries.into_iter().map(|(k, v)| (k[wrapper.len()..].to_owned(), v)).collect();
            }
        }
        if self.entries.contains_key("embed_tokens.weight") && !self.entries.keys().any(|k| k.starts_with("model.")) {
            let named = |k: String| if k.starts_with("lm_head.") { k } else { format!("model.{k}") };
            self.entries = self.entries.into_iter().map(|(k, v)| (named(k), v)).collect();
        }
        self
    }

    /// Whether there is such a tensor.
    pub fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Gives a tensor another name.
    pub fn rename(&mut self, from: &str, to: &str) {
        if let Some(entry) = self.entries.remove(from) {
            self.entries.insert(to.to_owned(), entry);
        }
    }

    /// Takes a tensor apart into others that lie in it end to end, if it is there.
    ///
    /// # Errors
    /// Where its shape is not `shape`, which holds them all.
    pub fn split(&mut self, name: &str, shape: &[usize], parts: Vec<(String, Vec<usize>)>) -> Result<()> {
        let Some((file, place)) = self.entries.remove(name) else { return Ok(()) };
        if place.shape != shape {
            let path = self.files[file].path();
            let what = format!("{}: {name} is {:?}, but config.json asks for {shape:?}", path.display(), place.shape);
            return Err(
                Error::new(Code::ModelTensor, what).hint("config.json and the weights must be of the same model")
            );
        }
        let bytes = (place.bytes.end - place.bytes.start) / shape.iter().product::<usize>().max(1) as u64;
        let mut start = place.bytes.start;
        for (part, shape) in parts {
            let end = start + bytes * shape.iter().product::<usize>() as u64;
            let place = Place { dtype: place.dtype, shape, bytes: start..end };
            start = end;
            if self.entries.insert(part.clone(), (file, place)).is_some() {
                return Err(bad(self.files[file].path(), format!("{part} is there beside {name}, which holds it too")));
            }
        }
        Ok(())
    }

    /// Opens the given files as one set of tensors.
    pub fn open_files(paths: Vec<PathBuf>) -> Result<Self> {
        let (mut files, mut entries) = (vec![], BTreeMap::new());
        for path in paths {
            let file = TensorFile::open(&path, bad)?;
            for (name, place) in file.places() {
                if entries.insert(name.clone(), (files.len(), place.clone())).is_some() {
                    return Err(bad(&path, format!("the tensor {name} is also in another shard")));
                }
            }
            files.push(file);
        }
        Ok(Self { files, entries, taken: BTreeSet::new() })
    }

    /// Names and shapes.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.entries.iter().map(|(name, (_, place))| (name.as_str(), place.shape.as_slice()))
    }

    /// Reads a tensor of the shape that `config` asks for, as f32.
    pub fn take(&mut self, name: &str, shape: &[usize], config: &str, device: &Device) -> Result<Tensor> {
        self.take_as(name, shape, config, device, false)
    }

    /// As [`take`](Self::take); where `narrow` says so and it is of bf16 in the file, it stays that.
    pub fn take_as(
        &mut self,
        name: &str,
        shape: &[usize],
        config: &str,
        device: &Device,
        narrow: bool,
    ) -> Result<Tensor> {
        let hint = format!("{config} and the weights must be of the same model");
        let Some((file, place)) = self.entries.get(name) else {
            return Err(
                Error::new(Code::ModelTensor, format!("{}: the tensor {name} is missing", self.place())).hint(hint)
            );
        };
        let file = &self.files[*file];
        let path = file.path();
        if place.shape != shape {
            let what = format!("{}: {name} is {:?}, but {config} asks for {shape:?}", path.display(), place.shape);
            return Err(Error::new(Code::ModelTensor, what).hint(hint));
        }
        let finite = |at: Option<(usize, f32)>| match at {
            None => Ok(()),
            Some((i, value)) => {
                let what = format!("{}: {name} holds {value} at index {i}", path.display());
                Err(Error::new(Code::ModelTensor, what).hint("the model was damaged, or diverged in training"))
            }
        };
        let numbers = shape.iter().product();
        self.taken.insert(name.to_owned());
        let values: Vec<f32> = match place.dtype {
            Dtype::F32 => read(file, place, numbers)?,
            Dtype::BF16 => {
                let values = read::<half::bf16>(file, place, numbers)?;
                if narrow {
                    finite(values.iter().position(|v| !v.is_finite()).map(|i| (i, values[i].to_f32())))?;
                    return Ok(Tensor::from_vec(values, shape, device)?);
                }
                values.into_iter().map(half::bf16::to_f32).collect()
            }
            Dtype::F16 => read::<half::f16>(file, place, numbers)?.into_iter().map(half::f16::to_f32).collect(),
            other => {
                let what = format!("{}: {name} holds {other:?}; supported are F32, F16 and BF16", path.display());
                return Err(Error::new(Code::ModelUnsupported, what));
            }
        };
        finite(values.iter().position(|v| !v.is_finite()).map(|i| (i, values[i])))?;
        Ok(Tensor::from_vec(values, shape, device)?)
    }

    /// The files, for messages.
    pub fn place(&self) -> String {
        self.files.iter().map(|file| file.path().display().to_string()).collect::<Vec<_>>().join(", ")
    }

    /// Names of tensors that were not taken.
    pub fn left(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().filter(|name| !self.taken.contains(*name)).map(String::as_str)
    }

    /// What to say of one of them.
    pub fn no_place(&self, name: &str) -> Error {
        let path = self.files[self.entries[name].0].path().display();
        let more = match self.left().count() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Error::new(Code::ModelTensor, format!("{path}: the model has no place for the tensor {name}{more}"))
            .hint("config.json and the weights must be of the same model")
    }
}

/// Whether two tensors of one shape differ anywhere.
pub fn differ(a: &Tensor, b: &Tensor) -> Result<bool> {
    Ok(a.ne(b)?.to_dtype(candle_core::DType::F32)?.sum_all()?.to_scalar::<f32>()? > 0.0)
}

/// All numbers of a tensor.
fn read<T: bytemuck::Pod>(file: &TensorFile, place: &Place, numbers: usize) -> Result<Vec<T>> {
    let mut all = vec![T::zeroed(); numbers];
    file.read(place.bytes.start, &mut all)?;
    Ok(all)
}

/// Writes f32 tensors in the given order, atomically, and reads the header back.
pub fn save(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    let specs: Vec<Spec> = tensors.iter().map(|(name, t)| Spec::f32(name, t.dims())).collect();
    tensors::write(path, &[tensors::PYTORCH], &specs, |out| tensors.values().try_for_each(|t| out.tensor(t)))?;
    let written = Weights::open_files(vec![path.to_owned()])?;
    let expected = tensors.iter().map(|(k, t)| (k.as_str(), t.dims()));
    if !written.shapes().eq(expected) {
        return Err(bad(path, "read back, it does not hold what was written"));
    }
    Ok(())
}

//! safetensors files: reading one file or shards into f32, and writing f32.
//!
//! A header is checked against the file's length before anything is allocated for its tensors, and tensors are read
//! one at a time: no mapping, so a file that shrinks meanwhile is an error and not a crash.

use crate::{
    Code, Error, Result,
    files::{self, io_error},
};
use candle_core::{Device, Storage, Tensor};
use safetensors::{Dtype, tensor::Metadata};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// Where a tensor lies.
#[derive(Debug)]
struct Entry {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    /// Bytes in the file.
    start: u64,
    len: usize,
}

/// The tensors of a model directory, read on demand.
#[derive(Debug)]
pub struct Weights {
    paths: Vec<PathBuf>,
    entries: BTreeMap<String, Entry>,
    taken: BTreeSet<String>,
}

fn bad(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::new(Code::ModelWeights, format!("{}: {what}", path.display()))
        .hint("the file is damaged or not safetensors: copy or download it again")
}

impl Weights {
    /// Opens model.safetensors, or the shards of model.safetensors.index.json.
    pub fn open(dir: &Path) -> Result<Self> {
        let (single, index) = (dir.join("model.safetensors"), dir.join("model.safetensors.index.json"));
        if single.exists() {
            return Self::open_files(vec![single]);
        }
        if !index.exists() {
            return Err(Error::new(Code::ModelWeights, format!("no model.safetensors in {}", dir.display()))
                .hint("expected a Hugging Face model directory; turn a GGUF file into one by `ldalign import`"));
        }
        let value: Value = serde_json::from_str(&files::read_text(&index)?).map_err(|e| bad(&index, e))?;
        let map = value["weight_map"].as_object().ok_or_else(|| bad(&index, "no weight_map"))?;
        let mut names = BTreeSet::new();
        for (tensor, file) in map {
            // A shard lies beside the index: a path could lead anywhere.
            match file.as_str() {
                Some(f) if Path::new(f).file_name() == Some(f.as_ref()) => names.insert(f),
                _ => return Err(bad(&index, format!("the file of {tensor} is {file}, expected a plain file name"))),
            };
        }
        let weights = Self::open_files(names.into_iter().map(|n| dir.join(n)).collect())?;
        match map.keys().find(|k| !weights.entries.contains_key(*k)) {
            Some(k) => Err(bad(&index, format!("no shard holds the tensor {k}"))),
            None => Ok(weights),
        }
    }

    /// Opens the given files as one set of tensors.
    pub fn open_files(paths: Vec<PathBuf>) -> Result<Self> {
        let mut entries = BTreeMap::new();
        for (file, path) in paths.iter().enumerate() {
            let (start, metadata) = read_header(path)?;
            for (name, info) in metadata.tensors() {
                let (from, to) = info.data_offsets;
                let shape = info.shape.clone();
                let entry = Entry { file, dtype: info.dtype, shape, start: start + from as u64, len: to - from };
                if entries.insert(name.clone(), entry).is_some() {
                    return Err(bad(path, format!("the tensor {name} is also in another shard")));
                }
            }
        }
        Ok(Self { paths, entries, taken: BTreeSet::new() })
    }

    /// Names and shapes.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.entries.iter().map(|(k, e)| (k.as_str(), e.shape.as_slice()))
    }

    /// Reads a tensor of the given shape as f32.
    pub fn take(&mut self, name: &str, shape: &[usize], device: &Device) -> Result<Tensor> {
        let Some(e) = self.entries.get(name) else {
            let files: Vec<_> = self.paths.iter().map(|p| p.display().to_string()).collect();
            return Err(Error::new(Code::ModelTensor, format!("{}: the tensor {name} is missing", files.join(", ")))
                .hint("config.json and the weights must be of the same model"));
        };
        let path = &self.paths[e.file];
        if e.shape != shape {
            let what = format!("{}: {name} is {:?}, but config.json asks for {shape:?}", path.display(), e.shape);
            return Err(
                Error::new(Code::ModelTensor, what).hint("config.json and the weights must be of the same model")
            );
        }
        let mut bytes = vec![0; e.len];
        let mut file = File::open(path).map_err(|e| io_error(path, "open", e))?;
        file.seek(SeekFrom::Start(e.start))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|e| io_error(path, "read", e))?;
        let halves = || bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
        let values: Vec<f32> = match e.dtype {
            Dtype::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            Dtype::BF16 => halves().map(|b| half::bf16::from_le_bytes(b).to_f32()).collect(),
            Dtype::F16 => halves().map(|b| half::f16::from_le_bytes(b).to_f32()).collect(),
            other => {
                let what = format!("{}: {name} holds {other:?}; supported are F32, F16 and BF16", path.display());
                return Err(Error::new(Code::ModelUnsupported, what));
            }
        };
        if let Some(i) = values.iter().position(|v| !v.is_finite()) {
            let what = format!("{}: {name} holds {} at index {i}", path.display(), values[i]);
            return Err(Error::new(Code::ModelTensor, what).hint("the model was damaged, or diverged in training"));
        }
        self.taken.insert(name.to_owned());
        Ok(Tensor::from_vec(values, shape, device)?)
    }

    /// Fails if a tensor was not taken, except for those that `ignore` names.
    pub fn finish(&self, ignore: impl Fn(&str) -> bool) -> Result<()> {
        let extra: Vec<_> = self.entries.keys().filter(|k| !self.taken.contains(*k) && !ignore(k)).collect();
        let Some(first) = extra.first() else { return Ok(()) };
        let path = self.paths[self.entries[*first].file].display();
        let more = if extra.len() > 1 { format!(" and {} more", extra.len() - 1) } else { String::new() };
        Err(Error::new(Code::ModelTensor, format!("{path}: the model has no place for the tensor {first}{more}"))
            .hint("config.json and the weights must be of the same model"))
    }
}

/// Where the data starts, and the checked header.
fn read_header(path: &Path) -> Result<(u64, Metadata)> {
    let fail = |e| io_error(path, "read", e);
    let mut file = File::open(path).map_err(|e| io_error(path, "open", e))?;
    let size = file.metadata().map_err(fail)?.len();
    if size < 8 {
        return Err(bad(path, format!("only {size} bytes long")));
    }
    let mut len = [0; 8];
    file.read_exact(&mut len).map_err(fail)?;
    let len = u64::from_le_bytes(len);
    // The format's own bound on a header.
    if len > (size - 8).min(100_000_000) {
        return Err(bad(path, format!("its header claims {len} bytes of the file's {size}")));
    }
    let mut header = vec![0; len as usize];
    file.read_exact(&mut header).map_err(fail)?;
    let metadata: Metadata =
        serde_json::from_slice(&header).map_err(|e| bad(path, format!("its header cannot be read: {e}")))?;
    let data = size - 8 - len;
    if metadata.data_len() as u64 != data {
        return Err(bad(path, format!("its header describes {} bytes of data, {data} are there", metadata.data_len())));
    }
    Ok((8 + len, metadata))
}

/// Writes f32 tensors in the given order, atomically, and reads the header back.
pub fn save(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    let mut header = Map::new();
    // transformers refuses files without it.
    header.insert("__metadata__".into(), json!({"format": "pt"}));
    let mut end = 0;
    for (name, t) in tensors {
        let start = end;
        end += t.elem_count() * 4;
        header.insert(name.clone(), json!({"dtype": "F32", "shape": t.dims(), "data_offsets": [start, end]}));
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    // Data starts at a multiple of 8, as the format recommends.
    header.resize(header.len().next_multiple_of(8), b' ');
    let flat = |t: &Tensor| -> Result<Tensor> { Ok(t.to_device(&Device::Cpu)?.contiguous()?) };
    let flat = tensors.values().map(flat).collect::<Result<Vec<_>>>()?;
    files::write_with(path, |w| {
        w.write_all(&(header.len() as u64).to_le_bytes())?;
        w.write_all(&header)?;
        flat.iter().try_for_each(|t| write_numbers(w, t))
    })?;
    let written = Weights::open_files(vec![path.to_owned()])?;
    let expected = tensors.iter().map(|(k, t)| (k.as_str(), t.dims()));
    if !written.shapes().eq(expected) {
        return Err(bad(path, "read back, it does not hold what was written"));
    }
    Ok(())
}

fn write_numbers(w: &mut dyn Write, t: &Tensor) -> std::io::Result<()> {
    let (storage, layout) = t.storage_and_layout();
    let Storage::Cpu(candle_core::CpuStorage::F32(v)) = &*storage else {
        return Err(std::io::Error::other("expected f32 on the CPU"));
    };
    let v = &v[layout.start_offset()..layout.start_offset() + t.elem_count()];
    for piece in v.chunks(1 << 16) {
        // Little-endian machines write the numbers as they lie.
        #[cfg(target_endian = "little")]
        w.write_all(bytemuck::cast_slice(piece))?;
        #[cfg(target_endian = "big")]
        w.write_all(&piece.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>())?;
    }
    Ok(())
}

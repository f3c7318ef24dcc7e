//! Writing: the header first, since shapes are known beforehand, then the numbers as they come.

use super::ALIGNMENT;
use crate::{
    Code, Error, Result,
    files::{self, Stop},
};
use candle_core::{CpuStorage, Storage, Tensor};
use safetensors::Dtype;
use serde_json::{Map, Value, json};
use std::{
    io::{self, Write},
    path::Path,
};

/// Free text without which transformers refuses a file.
pub const PYTORCH: (&str, &str) = ("format", "pt");

/// A tensor that is to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Its name.
    pub name: String,
    /// Type of its numbers.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl Spec {
    /// A tensor of f32.
    pub fn f32(name: impl Into<String>, shape: &[usize]) -> Self {
        Self { name: name.into(), dtype: Dtype::F32, shape: shape.to_vec() }
    }

    /// Bytes of its numbers.
    pub fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8
    }
}

/// Where a file's numbers go: all tensors' one after the other, in the order of their specs.
pub struct Numbers<'a> {
    out: &'a mut dyn Write,
    written: usize,
}

impl Numbers<'_> {
    /// The next numbers, as they lie in memory.
    pub fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len();
        self.out.write_all(bytes)
    }

    /// The next f32.
    pub fn f32(&mut self, numbers: &[f32]) -> io::Result<()> {
        self.bytes(bytemuck::cast_slice(numbers))
    }

    /// All numbers of an f32 tensor, on any device.
    pub fn tensor(&mut self, tensor: &Tensor) -> Result<(), Stop> {
        Ok(with_slice(tensor, |numbers| self.f32(numbers)).map_err(Error::from)??)
    }
}

/// Writes a file, whole or not at all. `about` becomes the header's free text; `fill` gives the numbers that `specs`
/// announce.
///
/// # Errors
/// Those of `fill` as they are; where the disk fails; with `file/tensors` where `fill` gives more or fewer numbers.
pub fn write(
    path: &Path,
    about: &[(&str, &str)],
    specs: &[Spec],
    fill: impl FnOnce(&mut Numbers<'_>) -> Result<(), Stop>,
) -> Result<()> {
    files::write_stoppable(path, |out| write_to(out, path, about, specs, fill))
}

/// Writes a file like [`write()`], without free text, and reads it back. Returns its SHA-256 in hex.
///
/// # Errors
/// With `file/verify` where other bytes come back than were written, and those of [`write()`].
pub fn write_verified(
    path: &Path,
    specs: &[Spec],
    fill: impl FnOnce(&mut Numbers<'_>) -> Result<(), Stop>,
) -> Result<String> {
    let mut digest = [0; 32];
    files::write_stoppable(path, |out| {
        let mut out = files::Hashing::new(out);
        write_to(&mut out, path, &[], specs, fill)?;
        digest = out.finish().1;
        Ok(())
    })?;
    let digest = files::hex(&digest);
    if files::sha256_file(path)? != digest {
        return Err(Error::new(Code::FileVerify, format!("{} reads back other than it was written", path.display()))
            .hint("the disk or its controller loses data: write elsewhere"));
    }
    Ok(digest)
}

fn write_to(
    out: &mut dyn Write,
    path: &Path,
    about: &[(&str, &str)],
    specs: &[Spec],
    fill: impl FnOnce(&mut Numbers<'_>) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let header = header(about, specs);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    let mut numbers = Numbers { out, written: 0 };
    fill(&mut numbers)?;
    let (written, announced) = (numbers.written, specs.iter().map(Spec::bytes).sum::<usize>());
    if written != announced {
        let what = format!("{}: {written} bytes of numbers, the header announces {announced}", path.display());
        return Err(Error::new(Code::FileTensors, what).into());
    }
    Ok(())
}

/// The header as the format's own library writes it, padded with spaces.
fn header(about: &[(&str, &str)], specs: &[Spec]) -> Vec<u8> {
    let mut header = Map::new();
    if !about.is_empty() {
        let about: Map<String, Value> = about.iter().map(|(key, text)| ((*key).to_owned(), json!(text))).collect();
        header.insert("__metadata__".into(), about.into());
    }
    let mut end = 0;
    for spec in specs {
        let start = end;
        end += spec.bytes();
        let entry = json!({ "dtype": spec.dtype, "shape": spec.shape, "data_offsets": [start, end] });
        header.insert(spec.name.clone(), entry);
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(ALIGNMENT), b' ');
    header
}

/// Calls `f` with an f32 tensor's numbers; they are copied only if they lie on another device or scattered.
fn with_slice<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> R) -> candle_core::Result<R> {
    let tensor = tensor.contiguous()?;
    {
        let (storage, layout) = tensor.storage_and_layout();
        if let Storage::Cpu(CpuStorage::F32(all)) = &*storage {
            let start = layout.start_offset();
            return Ok(f(&all[start..start + layout.shape().elem_count()]));
        }
    }
    Ok(f(&tensor.flatten_all()?.to_vec1::<f32>()?))
}

//! Named f32 tensors as safetensors files, streamed to disk and verified by reading them back.

use crate::{Code, Error, Result, files};
use candle_core::{CpuStorage, Storage, Tensor};
use safetensors::{Dtype, SafeTensors};
use serde_json::json;
use std::{io, path::Path};

/// A tensor to write.
pub struct Entry<'a> {
    /// Its name.
    pub name: String,
    /// Its numbers, on any device.
    pub tensor: &'a Tensor,
}

impl Entry<'_> {
    /// Bytes of the numbers.
    pub fn bytes(&self) -> usize {
        4 * self.tensor.elem_count()
    }
}

/// Calls `f` with a tensor's numbers; they are copied only if they lie elsewhere or scattered.
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

/// Writes entries in the order given, one at a time, and reads the file back. Returns its SHA-256 in hex.
pub fn write(path: &Path, entries: &[Entry<'_>]) -> Result<String> {
    let mut end = 0;
    let mut header = serde_json::Map::new();
    for entry in entries {
        let start = end;
        end += entry.bytes();
        header.insert(
            entry.name.clone(),
            json!({"dtype": "F32", "shape": entry.tensor.dims(), "data_offsets": [start, end]}),
        );
    }
    let mut header = serde_json::Value::Object(header).to_string();
    // The numbers begin at a multiple of 8.
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    let mut digest = [0; 32];
    files::write_with(path, |out| {
        use io::Write;
        let mut out = files::Hashing::new(out);
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        for entry in entries {
            with_slice(entry.tensor, |n| out.write_all(bytemuck::cast_slice(n))).map_err(io::Error::other)??;
        }
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

/// A file of tensors in memory.
pub struct Tensors<'a> {
    path: &'a Path,
    file: SafeTensors<'a>,
}

impl<'a> Tensors<'a> {
    /// Reads the header of a whole file.
    pub fn new(path: &'a Path, bytes: &'a [u8]) -> Result<Self> {
        let file = SafeTensors::deserialize(bytes).map_err(|e| {
            Error::new(Code::FileTensors, format!("{} is no safetensors file", path.display())).caused_by(e)
        })?;
        Ok(Self { path, file })
    }

    /// The numbers of a tensor, which must have this shape.
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let fail = |what: String| Error::new(Code::FileTensors, format!("{}: {what}", self.path.display()));
        let tensor = self.file.tensor(name).map_err(|_| fail(format!("there is no tensor {name}")))?;
        if tensor.dtype() != Dtype::F32 || tensor.shape() != shape {
            let (dtype, found) = (tensor.dtype(), tensor.shape());
            return Err(fail(format!("{name} is {dtype:?} {found:?}; expected F32 {shape:?}")));
        }
        Ok(tensor.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use candle_core::Device;

    #[test]
    fn candle_reads_what_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.safetensors");
        let t = Tensor::arange(0f32, 6., &Device::Cpu).unwrap().reshape((2, 3)).unwrap().t().unwrap();
        let entries = [
            Entry { name: "b".into(), tensor: &t },
            Entry { name: "a".into(), tensor: &Tensor::new(&[7f32], &Device::Cpu).unwrap() },
        ];
        assert_eq!(write(&path, &entries).unwrap(), files::sha256_file(&path).unwrap());
        let read = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
        assert_eq!(read["b"].to_vec2::<f32>().unwrap(), t.to_vec2::<f32>().unwrap());
        let bytes = files::read(&path).unwrap();
        let tensors = Tensors::new(&path, &bytes).unwrap();
        assert_eq!(tensors.get("a", &[1]).unwrap(), [7.]);
        assert_eq!(tensors.get("b", &[3, 2]).unwrap(), [0., 3., 1., 4., 2., 5.]);
        let message = |name, shape: &[usize]| tensors.get(name, shape).unwrap_err().to_string();
        assert!(message("b", &[2, 3]).ends_with("b is F32 [3, 2]; expected F32 [2, 3]"));
        assert!(message("c", &[1]).ends_with("there is no tensor c"));
    }
}

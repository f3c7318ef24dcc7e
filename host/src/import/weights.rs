//! Weights: de-quantised tensor by tensor and streamed into one safetensors file.

use super::{WeightType, architecture::TensorPlan};
use crate::{Code, Error, Result, files};
use candle_core::{
    Device,
    quantized::{GgmlDType, gguf_file::Content},
};
use serde_json::{Map, Value, json};
use std::{
    fs::File,
    io::{self, BufReader},
    path::Path,
};

/// Name of a storage kind as users know it.
pub(super) fn kind_name(kind: GgmlDType) -> String {
    let name = format!("{kind:?}");
    match name.strip_suffix('K') {
        Some(bits) if bits.starts_with('Q') => format!("{bits}_K"),
        _ => name,
    }
}

/// The f32 values of a tensor, row by row as it lies in the file.
pub(super) fn values(content: &Content, reader: &mut BufReader<File>, name: &str) -> Result<Vec<f32>> {
    let mut read = || content.tensor(reader, name, &Device::Cpu)?.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1();
    let fail = |e: candle_core::Error| {
        let reason = e.to_string().lines().next().unwrap_or_default().to_owned();
        Error::new(Code::ImportTensor, format!("tensor `{name}` cannot be read: {reason}"))
            .hint("the file may have been cut short: compare its size or hash with the source")
    };
    read().map_err(fail)
}

/// Writes all tensors in the order of `plans`.
pub(super) fn write(
    path: &Path,
    content: &Content,
    reader: &mut BufReader<File>,
    plans: &[TensorPlan],
    weight_type: WeightType,
) -> Result<()> {
    let header = header(plans, weight_type);
    // write_with knows I/O errors only; a tensor's own error waits here.
    let mut failed = None;
    let written = files::write_with(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        for plan in plans {
            match tensor_bytes(content, reader, plan, weight_type) {
                Ok(bytes) => out.write_all(&bytes)?,
                Err(e) => {
                    failed = Some(e);
                    return Err(io::Error::other("a tensor cannot be read"));
                }
            }
        }
        Ok(())
    });
    failed.map_or(written, Err)
}

/// The safetensors header: names, types, shapes and offsets, padded with spaces to 8 bytes.
fn header(plans: &[TensorPlan], weight_type: WeightType) -> Vec<u8> {
    let (dtype, size) = match weight_type {
        WeightType::F32 => ("F32", 4),
        WeightType::Bf16 => ("BF16", 2),
    };
    let mut entries = Map::from_iter([("__metadata__".to_owned(), json!({ "format": "pt" }))]);
    let mut start = 0;
    for plan in plans {
        let end = start + plan.elements() * size;
        entries.insert(plan.to.clone(), json!({ "dtype": dtype, "shape": plan.shape, "data_offsets": [start, end] }));
        start = end;
    }
    let mut bytes = Value::Object(entries).to_string().into_bytes();
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    bytes
}

fn tensor_bytes(
    content: &Content,
    reader: &mut BufReader<File>,
    plan: &TensorPlan,
    weight_type: WeightType,
) -> Result<Vec<u8>> {
    let mut values = values(content, reader, &plan.from)?;
    if let Some(at) = values.iter().position(|v| !v.is_finite()) {
        let message = format!("tensor `{}` holds {} at element {at}", plan.from, values[at]);
        return Err(Error::new(Code::ImportTensor, message));
    }
    if let Some(heads) = plan.interleaved_heads {
        values = halves(&values, heads, plan.shape[1]);
    }
    Ok(match weight_type {
        WeightType::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        WeightType::Bf16 => values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect(),
    })
}

/// Puts each head's rows from interleaved order (0, d/2, 1, d/2 + 1, ...) back into halves (0, 1, ..., d/2, ...).
fn halves(values: &[f32], heads: usize, columns: usize) -> Vec<f32> {
    let head_dim = values.len() / columns / heads;
    let row = |i: usize| &values[i * columns..][..columns];
    (0..heads)
        .flat_map(|head| (0..head_dim).map(move |r| head * head_dim + 2 * (r % (head_dim / 2)) + r / (head_dim / 2)))
        .flat_map(row)
        .copied()
        .collect()
}

//! Weights: dequantized tensor by tensor and streamed into one safetensors file.

use super::{WeightType, architecture::TensorPlan};
use crate::{
    Code, Error, Result,
    tensors::{self, Spec},
};
use candle_core::{
    Device,
    quantized::{GgmlDType, gguf_file::Content},
};
use safetensors::Dtype;
use std::{fs::File, io::BufReader, path::Path};

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
        Error::new(Code::GgufTensor, format!("tensor `{name}` cannot be read: {reason}"))
            .hint("the file may have been cut short: compare its size or hash with the source")
    };
    read().map_err(fail)
}

/// Writes all tensors in the order of `plans`, one in memory at a time.
pub(super) fn write(
    path: &Path,
    content: &Content,
    reader: &mut BufReader<File>,
    plans: &[TensorPlan],
    weight_type: WeightType,
) -> Result<()> {
    let dtype = match weight_type {
        WeightType::F32 => Dtype::F32,
        WeightType::Bf16 => Dtype::BF16,
    };
    let spec = |plan: &TensorPlan| Spec { name: plan.to.clone(), dtype, shape: plan.shape.clone() };
    let specs: Vec<Spec> = plans.iter().map(spec).collect();
    tensors::write(path, &[tensors::PYTORCH], &specs, |out| {
        plans.iter().try_for_each(|plan| Ok(out.bytes(&tensor_bytes(content, reader, plan, weight_type)?)?))
    })
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
        return Err(Error::new(Code::GgufTensor, message));
    }
    if let Some(heads) = plan.interleaved_heads {
        values = halves(&values, heads, plan.shape.get(1).copied().unwrap_or(1));
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

//! The tensors of a file: read one at a time, in their blocks or as f32.

use super::plan::TensorPlan;
use crate::{
    Code, Error, Result,
    ops::{BlockKind, Blocks},
};
use candle_core::{
    Device,
    quantized::{
        GgmlDType,
        ggml_file::qtensor_from_ggml,
        gguf_file::{Content, TensorInfo},
    },
};
use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    ops::Range,
    os::unix::fs::FileExt,
};

/// Where a tensor lies in the file.
struct Place {
    kind: GgmlDType,
    /// Its rows, end to end, each of whole blocks.
    bytes: Range<u64>,
}

/// The open file with its tensors, by the file's names and by the model's.
pub(super) struct Tensors {
    file: File,
    places: HashMap<String, Place>,
    kinds: BTreeMap<String, usize>,
    plans: BTreeMap<String, TensorPlan>,
}

impl Tensors {
    /// The tensors of a file of `size` bytes.
    ///
    /// # Errors
    /// Where the file ends before one of them, or a row of one is not whole blocks.
    pub fn new(file: File, size: u64, content: &Content) -> Result<Self> {
        let mut kinds = BTreeMap::new();
        for info in content.tensor_infos.values() {
            *kinds.entry(kind_name(info.ggml_dtype)).or_insert(0) += 1;
        }
        let place = |(name, info): (&String, &TensorInfo)| {
            let place = Place::new(info, content.tensor_data_offset, size).map_err(|why| unreadable(name, &why))?;
            Ok((name.clone(), place))
        };
        // Of several faults always the same one.
        let sorted: BTreeMap<_, _> = content.tensor_infos.iter().collect();
        let places = sorted.into_iter().map(place).collect::<Result<_>>()?;
        Ok(Self { file, places, kinds, plans: BTreeMap::new() })
    }

    /// Says which tensors they are of the model.
    pub fn set(&mut self, plans: Vec<TensorPlan>) {
        self.plans = plans.into_iter().map(|plan| (plan.to.clone(), plan)).collect();
    }

    /// Tensors of each storage kind.
    pub fn kinds(&self) -> &BTreeMap<String, usize> {
        &self.kinds
    }

    /// Names and shapes of the model's tensors.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.plans.iter().map(|(name, plan)| (name.as_str(), plan.shape.as_slice()))
    }

    /// The shape of a tensor of the model.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.plans.get(name).map(|plan| plan.shape.as_slice())
    }

    /// The numbers of a tensor of the file's name, as they lie there.
    pub fn values_of_file(&self, name: &str) -> Result<Option<Vec<f32>>> {
        let Some(place) = self.places.get(name) else { return Ok(None) };
        let bytes = self.read(name, place.bytes.clone())?;
        unpack(name, place.kind, &bytes).map(Some)
    }

    /// The numbers of a tensor of the model's name.
    pub fn values(&self, name: &str) -> Result<Option<Vec<f32>>> {
        let Some(plan) = self.plans.get(name) else { return Ok(None) };
        let (kind, bytes) = self.rows(plan)?;
        let mut values = unpack(&plan.from, kind, &bytes)?;
        if plan.offset != 0.0 {
            values.iter_mut().for_each(|v| *v -= plan.offset);
        }
        finite(plan, 0, &values)?;
        Ok(Some(values))
    }

    /// A matrix of the model in its blocks; None where it is kept otherwise in the file.
    pub fn blocks(&self, name: &str) -> Result<Option<Blocks>> {
        let Some((plan, kind, [rows, columns])) = self.in_blocks(name) else { return Ok(None) };
        let blocks = Blocks::new(kind, rows, columns, self.rows(plan)?.1)?;
        let mut row = vec![0.0; columns];
        for i in 0..rows {
            blocks.unpack_row(i, &mut row);
            finite(plan, i * columns, &row)?;
        }
        Ok(Some(blocks))
    }

    /// Bytes of such a matrix.
    pub fn block_bytes(&self, name: &str) -> Option<u64> {
        self.in_blocks(name).map(|(_, kind, [rows, columns])| kind.bytes(rows * columns) as u64)
    }

    /// A matrix of the model that the file has in blocks which products take: its kind, rows and columns.
    fn in_blocks(&self, name: &str) -> Option<(&TensorPlan, BlockKind, [usize; 2])> {
        let plan = self.plans.get(name)?;
        let kind = block_kind(self.places[&plan.from].kind)?;
        Some((plan, kind, plan.shape.as_slice().try_into().ok()?))
    }

    /// The bytes of a tensor of the model: an expert's part, rows in the model's order, which leaves blocks whole.
    fn rows(&self, plan: &TensorPlan) -> Result<(GgmlDType, Vec<u8>)> {
        let place = &self.places[&plan.from];
        let (part, parts) = plan.expert.map_or((0, 1), |(i, count)| (i as u64, count as u64));
        let length = (place.bytes.end - place.bytes.start) / parts;
        let start = place.bytes.start + part * length;
        let bytes = self.read(&plan.from, start..start + length)?;
        Ok(match plan.interleaved_heads {
            Some(heads) => (place.kind, halves(&bytes, heads, plan.shape[0])),
            None => (place.kind, bytes),
        })
    }

    fn read(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        self.file.read_exact_at(&mut bytes, range.start).map_err(|e| unreadable(name, &e.to_string()))?;
        Ok(bytes)
    }
}

impl Place {
    /// Fails in words where there is no such place in a file of `size` bytes.
    fn new(info: &TensorInfo, data: u64, size: u64) -> Result<Self, String> {
        let (block, dims) = (info.ggml_dtype.block_size(), info.shape.dims());
        let columns = dims.last().copied().unwrap_or(1);
        if !columns.is_multiple_of(block) {
            return Err(format!("its rows of {columns} numbers are not whole blocks of {block}"));
        }
        let numbers = dims.iter().try_fold(1usize, |n, dim| n.checked_mul(*dim));
        let length = numbers.and_then(|n| (n / block).checked_mul(info.ggml_dtype.type_size()));
        let start = data.checked_add(info.offset);
        match start.zip(length).and_then(|(start, length)| Some((start, start.checked_add(length as u64)?))) {
            Some((start, end)) if end <= size => Ok(Self { kind: info.ggml_dtype, bytes: start..end }),
            _ => Err(format!("it ends behind the file, which has {size} bytes")),
        }
    }
}

/// Fails where one of the numbers of a tensor from `start` on is not finite.
fn finite(plan: &TensorPlan, start: usize, values: &[f32]) -> Result<()> {
    let Some(at) = values.iter().position(|v| !v.is_finite()) else { return Ok(()) };
    let message = format!("tensor `{}` holds {} at element {}", plan.from, values[at], start + at);
    Err(Error::new(Code::GgufTensor, message))
}

/// The kinds that products take in blocks.
fn block_kind(kind: GgmlDType) -> Option<BlockKind> {
    match kind {
        GgmlDType::Q4_0 => Some(BlockKind::Q4_0),
        GgmlDType::Q8_0 => Some(BlockKind::Q8_0),
        GgmlDType::Q4K => Some(BlockKind::Q4_K),
        GgmlDType::Q5K => Some(BlockKind::Q5_K),
        GgmlDType::Q6K => Some(BlockKind::Q6_K),
        _ => None,
    }
}

/// Name of a storage kind as users know it.
fn kind_name(kind: GgmlDType) -> String {
    let name = format!("{kind:?}");
    match name.strip_suffix('K') {
        Some(bits) if bits.starts_with('Q') => format!("{bits}_K"),
        _ => name,
    }
}

fn unreadable(name: &str, why: &str) -> Error {
    Error::new(Code::GgufTensor, format!("tensor `{name}` cannot be read: {why}"))
        .hint("the file may have been cut short: compare its size or hash with the source")
}

/// What blocks stand for.
fn unpack(name: &str, kind: GgmlDType, bytes: &[u8]) -> Result<Vec<f32>> {
    let numbers = bytes.len() / kind.type_size() * kind.block_size();
    let packed = qtensor_from_ggml(kind, bytes, vec![numbers], &Device::Cpu);
    let values = packed.and_then(|packed| packed.dequantize(&Device::Cpu)?.to_vec1());
    values.map_err(|e| unreadable(name, e.to_string().lines().next().unwrap_or_default()))
}

/// Puts each head's rows from interleaved order (0, d/2, 1, d/2 + 1, ...) back into halves (0, 1, ..., d/2, ...).
fn halves(bytes: &[u8], heads: usize, rows: usize) -> Vec<u8> {
    let (head_dim, width) = (rows / heads, bytes.len() / rows);
    let from = |head: usize, row: usize| head * head_dim + 2 * (row % (head_dim / 2)) + row / (head_dim / 2);
    let order = (0..heads).flat_map(|head| (0..head_dim).map(move |row| from(head, row)));
    order.flat_map(|row| &bytes[row * width..][..width]).copied().collect()
}

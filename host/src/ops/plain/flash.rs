//! Attention's forward pass by FlashAttention-2 (Dao 2023, arXiv 2307.08691) through candle-flash-attn.
//!
//! Its kernels need an NVIDIA GPU of compute capability 8.0 or higher. They read q, k and v rounded to bf16, sum in f32
//! and round the result to bf16: exact to about 3 digits, where [`attention`](super::attention) is exact f32. Heads
//! that they cannot do ([`supports`]) are left to that. There is no backward kernel: gradients are those of exact
//! attention.

use crate::ops::attention::{Attention, visible};
use candle_core::{DType, Device, Result, Tensor};

/// Whether the kernels can do heads of `head_dim` numbers.
pub fn supports(head_dim: usize) -> bool {
    head_dim.is_multiple_of(8) && head_dim <= 512
}

/// The type of `candle_flash_attn::flash_attn_varlen_windowed`.
///
/// q, k, v [rows, heads, dim] in bf16; first rows of the sequences in q and in k, u32, and their ends; the longest of
/// each; the scale; how many tokens before and after itself a query sees, counted from the end of its sequence.
pub type Kernel =
    fn(&Tensor, &Tensor, &Tensor, &Tensor, &Tensor, usize, usize, f32, Option<usize>, Option<usize>) -> Result<Tensor>;

/// The kernel, where it is built in and the device is one of CUDA.
pub fn kernel(device: &Device) -> Option<Kernel> {
    #[cfg(feature = "flash-attn")]
    if device.is_cuda() {
        return Some(candle_flash_attn::flash_attn_varlen_windowed);
    }
    let _ = device;
    None
}

/// Attention with the given kernel, with bf16 inside.
pub fn forward(kernel: Kernel, spec: &Attention, [q, k, v]: [&Tensor; 3], window: Option<usize>) -> Result<Tensor> {
    let (layout, dim, device) = (Layout::new(spec, window), spec.head_dim, q.device());
    let heads = |x: &Tensor| x.to_dtype(DType::BF16)?.reshape(((), x.dim(1)? / dim, dim));
    let rows = Tensor::new(layout.rows.as_slice(), device)?;
    let keys = |x: &Tensor| heads(&x.contiguous()?.index_select(&rows, 0)?);
    let starts = |x: Vec<u32>| Tensor::new(x, device);
    let [longest_queries, longest_keys] = [&layout.queries, &layout.keys]
        .map(|starts| starts.windows(2).map(|w| (w[1] - w[0]) as usize).max().unwrap_or(0));
    let out = kernel(
        &heads(q)?,
        &keys(k)?,
        &keys(v)?,
        &starts(layout.queries)?,
        &starts(layout.keys)?,
        longest_queries,
        longest_keys,
        spec.scale(),
        // Our windows count the query itself.
        window.map(|w| w - 1),
        Some(0),
    )?;
    out.to_dtype(q.dtype())?.reshape(q.shape())
}

/// How spans lie as sequences end to end, each with the keys that its queries see.
///
/// A query's place is counted from the end of its sequence, as the spans have it: keys before the window can go.
struct Layout {
    /// The row of k and v that each row of the sequences is.
    rows: Vec<u32>,
    /// First query of each sequence, and the end of the last.
    queries: Vec<u32>,
    /// First key of each sequence, as an index into `rows`, and the end of the last.
    keys: Vec<u32>,
}

impl Layout {
    fn new(spec: &Attention, window: Option<usize>) -> Self {
        let mut layout = Self { rows: vec![], queries: vec![0], keys: vec![0] };
        for span in spec.spans.iter() {
            let seen = visible(span.first(), window).start..span.keys_len();
            layout.rows.extend(span.rows(seen).into_iter().flatten().map(|row| row as u32));
            layout.queries.push(span.queries.end as u32);
            layout.keys.push(layout.rows.len() as u32);
        }
        layout
    }
}

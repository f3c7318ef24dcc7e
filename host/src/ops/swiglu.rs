//! silu(gate) * up, the gated unit of the feed-forward layers (Shazeer 2020, arXiv 2002.05202).

use super::{
    buffer::{slice, uninit, with},
    simd::{self, Level},
};
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// `gate * sigmoid(gate) * up`, element by element.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if gate.device().is_cpu() { gate.contiguous()?.apply_op2(&up.contiguous()?, Swiglu) } else { plain(gate, up) }
}

/// [`swiglu`] in candle's operations.
pub fn plain(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.silu()? * up
}

struct Swiglu;

/// Numbers of one task.
const CHUNK: usize = 1 << 14;

impl CustomOp2 for Swiglu {
    fn name(&self) -> &'static str {
        "swiglu"
    }
    fn cpu_fwd(&self, gate: &CpuStorage, lg: &Layout, up: &CpuStorage, lu: &Layout) -> Result<(CpuStorage, Shape)> {
        if lg.shape() != lu.shape() {
            bail!("swiglu: gate is {:?} but up is {:?}", lg.dims(), lu.dims())
        }
        let (gate, up, level) = (slice(gate, lg)?, slice(up, lu)?, Level::best());
        // SAFETY: every chunk is written.
        let mut out = unsafe { uninit(gate.len()) };
        out.par_chunks_mut(CHUNK)
            .zip(gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK)))
            .for_each(|(out, (gate, up))| simd::swiglu(level, gate, up, out));
        Ok((CpuStorage::F32(out), lg.shape().clone()))
    }
    fn bwd(&self, gate: &Tensor, up: &Tensor, _: &Tensor, d: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let level = Level::best();
        let (dgate, dup) = with([gate, up, &d.contiguous()?], |[gate, up, d]| {
            // SAFETY: every chunk of both is written.
            let (mut dgate, mut dup) = unsafe { (uninit(d.len()), uninit(d.len())) };
            dgate
                .par_chunks_mut(CHUNK)
                .zip(dup.par_chunks_mut(CHUNK))
                .zip(gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK)).zip(d.par_chunks(CHUNK)))
                .for_each(|((dgate, dup), ((gate, up), d))| simd::swiglu_backward(level, gate, up, d, dgate, dup));
            Ok((dgate, dup))
        })?;
        let tensor = |v| Tensor::from_vec(v, gate.shape(), gate.device());
        Ok((Some(tensor(dgate)?), Some(tensor(dup)?)))
    }
}

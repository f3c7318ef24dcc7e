//! Live instances behind the boundary, their inputs and outputs in watched buffers.

use super::{Calls, Refusal, Stop};
use crate::{
    inputs::len,
    memory::{At, Buffer},
};
use ldalign_abi::{DistanceBox, EncoderBox, SampleView, ScheduleBox, Shape, StepView};
use ldalign_sdk::OwnedSample;

/// What came of a call that fills a buffer.
pub struct Ran {
    /// The buffer, filled with NaN before.
    pub values: Vec<f32>,
    /// Numbers changed beside the buffer.
    pub changed_beside: usize,
    /// Whether an input was changed.
    pub changed_inputs: bool,
}

impl Ran {
    /// Bits of the values, which compare where NaN does not.
    pub fn bits(&self) -> Vec<u32> {
        self.values.iter().map(|v| v.to_bits()).collect()
    }
}

/// Runs `fill` on inputs and an output placed `at`.
fn fill<const N: usize>(
    inputs: [&[f32]; N],
    out: usize,
    at: At,
    run: impl FnOnce([&[f32]; N], &mut [f32]) -> Result<(), Refusal>,
) -> Result<Ran, Refusal> {
    let buffers = inputs.map(|values| Buffer::new(values, at));
    let mut out = Buffer::new(&vec![f32::NAN; out], at);
    run(std::array::from_fn(|i| buffers[i].values()), out.values_mut())?;
    let same = |(buffer, before): (&Buffer, &&[f32])| {
        buffer.changed_beside() == 0 && buffer.values().iter().zip(*before).all(|(a, b)| a.to_bits() == b.to_bits())
    };
    Ok(Ran {
        values: out.values().to_vec(),
        changed_beside: out.changed_beside(),
        changed_inputs: !buffers.iter().zip(&inputs).all(same),
    })
}

/// A live distance.
pub struct Distance<'a> {
    pub(super) object: DistanceBox,
    pub(super) calls: &'a Calls<'a>,
}

impl Drop for Distance<'_> {
    /// The object goes after this.
    fn drop(&mut self) {
        self.calls.begin("Drop");
    }
}

impl Distance<'_> {
    /// See the boundary.
    pub fn fit(&mut self, golden: &[f32], generated: &[f32], shape: Shape) -> Result<(), Refusal> {
        self.calls.make("fit", || self.object.fit(golden.into(), generated.into(), shape))
    }
    /// Distances of pairs.
    pub fn measure(&self, a: &[f32], b: &[f32], shape: Shape, at: At) -> Result<Ran, Refusal> {
        fill([a, b], a.len() / len(shape), at, |[a, b], out| {
            self.calls.make("distances", || self.object.distances(a.into(), b.into(), shape, out.into()))
        })
    }
    /// Ends the instance.
    pub fn close(&mut self) -> Result<(), Refusal> {
        self.calls.make("Drop", || self.object.close())
    }
}

/// A distance fitted for a shape.
pub struct Fitted<'a> {
    /// The distance.
    pub distance: Distance<'a>,
    /// The shape.
    pub shape: Shape,
}

impl Fitted<'_> {
    /// Distances of pairs.
    pub fn measure(&self, a: &[f32], b: &[f32]) -> Result<Vec<f32>, Refusal> {
        Ok(self.distance.measure(a, b, self.shape, At::PLAIN)?.values)
    }
    /// Distance of one pair.
    pub fn one(&self, a: &[f32], b: &[f32]) -> Result<f32, Refusal> {
        Ok(self.measure(a, b)?[0])
    }
}

/// A live encoder.
pub struct Encoder<'a> {
    pub(super) object: EncoderBox,
    pub(super) calls: &'a Calls<'a>,
}

impl Drop for Encoder<'_> {
    /// The object goes after this.
    fn drop(&mut self) {
        self.calls.begin("Drop");
    }
}

impl Encoder<'_> {
    /// Shape of its latents, one that the host takes.
    pub fn shape(&self) -> Result<Shape, Stop> {
        let shape = self.calls.make("shape", || self.object.shape())?;
        let Shape { slots, dim } = shape;
        match slots.checked_mul(dim) {
            Some(1..=0x0100_0000) => Ok(shape),
            _ => Err(Stop::Fail(format!("a latent of {slots} slots x {dim} numbers is not a usable shape"))),
        }
    }
    /// Fits, and returns its report.
    pub fn fit(&mut self, corpus: &dyn ldalign_sdk::CorpusSource) -> Result<Vec<(String, f64)>, Refusal> {
        let report = self.calls.make("fit", || self.object.fit(ldalign_sdk::lend(corpus)))?;
        Ok(report.into_iter().map(|figure| (figure.name.into_string(), figure.value)).collect())
    }
    /// Latents of samples, `width` numbers each.
    pub fn encode(&self, samples: &[OwnedSample], width: usize, at: At) -> Result<Ran, Refusal> {
        let views: Vec<SampleView<'_>> = samples
            .iter()
            .map(|s| SampleView {
                prompt: s.prompt.as_str().into(),
                response: s.response.as_str().into(),
                prompt_ids: s.prompt_ids.as_slice().into(),
                response_ids: s.response_ids.as_slice().into(),
            })
            .collect();
        let before = samples.to_vec();
        let mut ran = fill([], samples.len() * width, at, |[], out| {
            self.calls.make("encode", || self.object.encode(views.as_slice().into(), out.into()))
        })?;
        ran.changed_inputs = before != samples;
        Ok(ran)
    }
    /// Ends the instance.
    pub fn close(&mut self) -> Result<(), Refusal> {
        self.calls.make("Drop", || self.object.close())
    }
}

/// A live schedule.
pub struct Schedule<'a> {
    pub(super) object: ScheduleBox,
    pub(super) calls: &'a Calls<'a>,
}

impl Drop for Schedule<'_> {
    /// The object goes after this.
    fn drop(&mut self) {
        self.calls.begin("Drop");
    }
}

impl Schedule<'_> {
    /// See the boundary.
    pub fn begin_round(&mut self, distances: &[f32]) -> Result<(), Refusal> {
        self.calls.make("begin_round", || self.object.begin_round(distances.into()))
    }
    /// Weights at a step.
    pub fn weigh(&self, at: StepView, distances: &[f32], place: At) -> Result<Ran, Refusal> {
        fill([distances], distances.len(), place, |[distances], out| {
            self.calls.make("weights", || self.object.weights(at, distances.into(), out.into()))
        })
    }
    /// Ends the instance.
    pub fn close(&mut self) -> Result<(), Refusal> {
        self.calls.make("Drop", || self.object.close())
    }
}

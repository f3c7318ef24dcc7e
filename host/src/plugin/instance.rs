//! Live instances of the three kinds. Whatever a plugin returns is checked here, so that the rest of the host can rely
//! on it.

use super::{
    CorpusSource,
    services::Lent,
    who::{Call, Who},
};
use crate::{Code, Error, Result};
use ldalign_abi::{AbiResult, DistanceBox, EncoderBox, SampleView, ScheduleBox, Shape, StepView};
use ldalign_sdk::{FitReport, LatentShape, Sample, StepContext};
use std::sync::atomic::{AtomicBool, Ordering};

/// Numbers in one latent above which an encoder's shape is taken for a mistake.
const LARGEST_LATENT: usize = 1 << 24;

/// An object of the plugin with its name; unusable once a call has panicked.
struct Instance<O> {
    who: Who,
    object: Option<O>,
    poisoned: AtomicBool,
}

impl<O> Instance<O> {
    fn new(who: Who, object: O) -> Self {
        Self { who, object: Some(object), poisoned: AtomicBool::new(false) }
    }
    fn call<T>(&self, call: Call, run: impl FnOnce(&O) -> AbiResult<T>) -> Result<T> {
        self.usable(call)?;
        let object = self.object.as_ref().expect("the object is taken by drop alone");
        self.settle(self.who.call(call, || run(object)))
    }
    fn call_mut<T>(&mut self, call: Call, run: impl FnOnce(&mut O) -> AbiResult<T>) -> Result<T> {
        self.usable(call)?;
        let object = self.object.as_mut().expect("the object is taken by drop alone");
        let outcome = self.who.call(call, || run(object));
        self.settle(outcome)
    }
    fn usable(&self, call: Call) -> Result<()> {
        if self.poisoned.load(Ordering::Relaxed) {
            return Err(Error::new(Code::PluginPanic, format!("{} panicked before; {call} is not tried", self.who)));
        }
        Ok(())
    }
    fn settle<T>(&self, outcome: Result<T>) -> Result<T> {
        if outcome.as_ref().is_err_and(|e| e.code() == Code::PluginPanic) {
            self.poisoned.store(true, Ordering::Relaxed);
        }
        outcome
    }
    /// Fills `out` through the plugin, and names the first number that `good` refuses.
    fn fill(
        &self,
        call: Call,
        len: usize,
        good: fn(f32) -> bool,
        place: impl FnOnce(usize) -> String,
        run: impl FnOnce(&O, &mut [f32]) -> AbiResult<()>,
    ) -> Result<Vec<f32>> {
        // NaN, so that a number the plugin forgets to write does not pass for one.
        let mut out = vec![f32::NAN; len];
        if len == 0 {
            return Ok(out);
        }
        self.call(call, |object| run(object, &mut out))?;
        match out.iter().position(|v| !good(*v)) {
            None => Ok(out),
            Some(i) => Err(self.bad(format!("{call} gave {} for {}", out[i], place(i)))),
        }
    }
    fn bad(&self, what: String) -> Error {
        Error::new(Code::PluginOutput, format!("{}: {what}", self.who))
            .hint("a fault of the plugin, or of inputs it was not made for: tell its author, or choose another")
    }
}

impl<O> Drop for Instance<O> {
    fn drop(&mut self) {
        let object = self.object.take();
        self.who.inside(Call::Drop, || drop(object));
    }
}

fn at_least_zero(v: f32) -> bool {
    v.is_finite() && v >= 0.0
}

fn to_abi(shape: LatentShape) -> Shape {
    Shape { slots: shape.slots as u64, dim: shape.dim as u64 }
}

/// An encoder instance; every value it returns was checked (shape, finiteness).
pub struct Encoder {
    instance: Instance<EncoderBox>,
    shape: LatentShape,
}

impl Encoder {
    pub(super) fn new(who: Who, object: EncoderBox) -> Result<Self> {
        let instance = Instance::new(who, object);
        let Shape { slots, dim } = instance.call(Call::Shape, |o| o.shape())?;
        if !slots.checked_mul(dim).is_some_and(|n| (1..=LARGEST_LATENT as u64).contains(&n)) {
            return Err(instance.bad(format!("a latent of {slots} slots x {dim} numbers is not a usable shape")));
        }
        Ok(Self { instance, shape: LatentShape { slots: slots as usize, dim: dim as usize } })
    }
    /// Shape of its latents.
    pub fn shape(&self) -> LatentShape {
        self.shape
    }
    /// Fits on the corpus.
    pub fn fit(&mut self, corpus: &dyn CorpusSource) -> Result<FitReport> {
        let lent = Lent(corpus);
        let report = self.instance.call_mut(Call::Fit, |o| o.fit(ldalign_sdk::lend(&lent)))?;
        let report: FitReport = report.into_iter().map(|f| (f.name.into_string(), f.value)).collect();
        match report.iter().find(|(_, value)| !value.is_finite()) {
            None => Ok(report),
            Some((name, value)) => Err(self.instance.bad(format!("fit reported {name} = {value}"))),
        }
    }
    /// Latents of the samples, `shape().len()` numbers each.
    pub fn encode(&self, samples: &[Sample<'_>]) -> Result<Vec<f32>> {
        let views: Vec<SampleView<'_>> = samples
            .iter()
            .map(|s| SampleView {
                prompt: s.prompt.into(),
                response: s.response.into(),
                prompt_ids: s.prompt_ids.into(),
                response_ids: s.response_ids.into(),
            })
            .collect();
        let each = self.shape.len();
        let place = |i| format!("number {} of sample {} of {}", i % each, i / each, samples.len());
        self.instance.fill(Call::Encode, samples.len() * each, f32::is_finite, place, |o, out| {
            o.encode(views.as_slice().into(), out.into())
        })
    }
    /// State as bytes.
    pub fn save(&self) -> Result<Vec<u8>> {
        Ok(self.instance.call(Call::Save, |o| o.save())?.into_vec())
    }
    /// Restores a state.
    pub fn load(&mut self, state: &[u8]) -> Result<()> {
        self.instance.call_mut(Call::Load, |o| o.load(state.into()))
    }
    /// Ends the instance, reporting a panic in its Drop.
    pub fn close(mut self) -> Result<()> {
        self.instance.call_mut(Call::Drop, |o| o.close())
    }
}

/// A distance instance; values are finite and at least 0.
pub struct Distance(Instance<DistanceBox>);

impl Distance {
    pub(super) fn new(who: Who, object: DistanceBox) -> Self {
        Self(Instance::new(who, object))
    }
    /// Learns from the round's latents, pair i at index i of both.
    pub fn fit(&mut self, golden: &[f32], generated: &[f32], shape: LatentShape) -> Result<()> {
        pairs(golden, generated, shape)?;
        self.0.call_mut(Call::Fit, |o| o.fit(golden.into(), generated.into(), to_abi(shape)))
    }
    /// Distances of pairs of latents.
    pub fn distances(&self, golden: &[f32], generated: &[f32], shape: LatentShape) -> Result<Vec<f32>> {
        let pairs = pairs(golden, generated, shape)?;
        let place = |i| format!("pair {i} of {pairs}");
        self.0.fill(Call::Distances, pairs, at_least_zero, place, |o, out| {
            o.distances(golden.into(), generated.into(), to_abi(shape), out.into())
        })
    }
    /// State as bytes.
    pub fn save(&self) -> Result<Vec<u8>> {
        Ok(self.0.call(Call::Save, |o| o.save())?.into_vec())
    }
    /// Restores a state.
    pub fn load(&mut self, state: &[u8]) -> Result<()> {
        self.0.call_mut(Call::Load, |o| o.load(state.into()))
    }
    /// Ends the instance, reporting a panic in its Drop.
    pub fn close(mut self) -> Result<()> {
        self.0.call_mut(Call::Drop, |o| o.close())
    }
}

/// Number of pairs of latents in two batches.
fn pairs(golden: &[f32], generated: &[f32], shape: LatentShape) -> Result<usize> {
    if shape.is_empty() || golden.len() != generated.len() || !golden.len().is_multiple_of(shape.len()) {
        let LatentShape { slots, dim } = shape;
        let (a, b) = (golden.len(), generated.len());
        return Err(Error::new(
            Code::PluginLatents,
            format!("{a} and {b} numbers are not pairs of latents of {slots} x {dim}"),
        ));
    }
    Ok(golden.len() / shape.len())
}

/// A schedule instance; weights are finite and at least 0.
pub struct Schedule(Instance<ScheduleBox>);

impl Schedule {
    pub(super) fn new(who: Who, object: ScheduleBox) -> Self {
        Self(Instance::new(who, object))
    }
    /// Shows it all distances of the round.
    pub fn begin_round(&mut self, distances: &[f32]) -> Result<()> {
        self.0.call_mut(Call::BeginRound, |o| o.begin_round(distances.into()))
    }
    /// Weights for distances at a step.
    pub fn weights(&self, at: StepContext, distances: &[f32]) -> Result<Vec<f32>> {
        let StepContext { round, rounds, step, total_steps } = at;
        let view = StepView { round, rounds, step, total_steps };
        let place = |i: usize| format!("distance {} at step {step}", distances[i]);
        self.0.fill(Call::Weights, distances.len(), at_least_zero, place, |o, out| {
            o.weights(view, distances.into(), out.into())
        })
    }
    /// Ends the instance, reporting a panic in its Drop.
    pub fn close(mut self) -> Result<()> {
        self.0.call_mut(Call::Drop, |o| o.close())
    }
}

//! The crossing itself: guards against panics, conversions, and the objects that carry an author's value to the host.

use crate::{DistanceMetric, Encoder, Error, LatentShape, Latents, OwnedSample, Sample, StepContext, WeightSchedule};
use abi::{AbiResult, ErrorCode, PluginError};
use ldalign_abi as abi;
use std::{
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Once,
};

pub(crate) use abi::abi_stable::{
    sabi_trait::TD_Opaque,
    std_types::{RErr, ROk, RSlice, RSliceMut, RStr, RString, RVec},
};

// ---- panics

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Makes panics inside a guarded call a line of text with their place instead of noise on stderr; others go on as
/// before.
fn record_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                return before(info);
            }
            if std::env::var_os("RUST_BACKTRACE").is_some_and(|v| v != "0") {
                before(info);
            }
            let text = info.payload_as_str().unwrap_or("a panic whose payload is not text");
            let place = info.location().map(|l| format!(" ({}:{})", l.file(), l.line())).unwrap_or_default();
            PANIC.set(Some(format!("{text}{place}")));
        }));
    });
}

/// Runs author code so that neither an error nor a panic leaves it in any form but a value.
pub(crate) fn guard<T>(call: impl FnOnce() -> Result<T, Error>) -> AbiResult<T> {
    record_panics();
    let outer = GUARDED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(outer);
    match outcome {
        Ok(Ok(value)) => ROk(value),
        Ok(Err(e)) => RErr(PluginError { code: e.code(), message: e.message().into() }),
        Err(payload) => {
            // Dropping a payload may itself panic.
            std::mem::forget(payload);
            let text = PANIC.take().unwrap_or_else(|| "a panic of unknown origin".into());
            RErr(PluginError { code: ErrorCode::PANIC, message: text.into() })
        }
    }
}

/// A result from the other side.
pub(crate) fn from_abi<T>(result: AbiResult<T>) -> Result<T, Error> {
    match result {
        ROk(value) => Ok(value),
        RErr(e) => Err(Error::with_code(e.code, e.message)),
    }
}

// ---- samples and shapes

pub(crate) fn view<'a>(sample: &Sample<'a>) -> abi::SampleView<'a> {
    abi::SampleView {
        prompt: sample.prompt.into(),
        response: sample.response.into(),
        prompt_ids: sample.prompt_ids.into(),
        response_ids: sample.response_ids.into(),
    }
}

pub(crate) fn samples<'a>(views: RSlice<'a, abi::SampleView<'a>>) -> Vec<Sample<'a>> {
    let sample = |v: &abi::SampleView<'a>| Sample {
        prompt: v.prompt.as_str(),
        response: v.response.as_str(),
        prompt_ids: v.prompt_ids.as_slice(),
        response_ids: v.response_ids.as_slice(),
    };
    views.as_slice().iter().map(sample).collect()
}

pub(crate) fn buf(s: OwnedSample) -> abi::SampleBuf {
    abi::SampleBuf {
        prompt: s.prompt.into(),
        response: s.response.into(),
        prompt_ids: s.prompt_ids.into(),
        response_ids: s.response_ids.into(),
    }
}

pub(crate) fn owned(s: abi::SampleBuf) -> OwnedSample {
    OwnedSample {
        prompt: s.prompt.into(),
        response: s.response.into(),
        prompt_ids: s.prompt_ids.into(),
        response_ids: s.response_ids.into(),
    }
}

fn shape(s: abi::Shape) -> LatentShape {
    LatentShape { slots: s.slots as usize, dim: s.dim as usize }
}

// ---- objects

/// An author's value until `close`. Dropped under guard, because a panic that leaves a `Drop` here would end the host.
pub(crate) struct Instance<T>(Option<T>);

impl<T> Instance<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }
    fn call<R>(&self, call: impl FnOnce(&T) -> Result<R, Error>) -> AbiResult<R> {
        guard(|| call(self.0.as_ref().ok_or_else(closed)?))
    }
    fn call_mut<R>(&mut self, call: impl FnOnce(&mut T) -> Result<R, Error>) -> AbiResult<R> {
        guard(|| call(self.0.as_mut().ok_or_else(closed)?))
    }
    fn end(&mut self) -> AbiResult<()> {
        let value = self.0.take();
        guard(|| {
            drop(value);
            Ok(())
        })
    }
}

fn closed() -> Error {
    Error::failed("the instance is closed")
}

impl<T> Drop for Instance<T> {
    fn drop(&mut self) {
        // Nobody is left to tell: who wants to know calls `close` first.
        let _ = self.end();
    }
}

impl<T: Encoder> abi::EncoderObject for Instance<T> {
    fn shape(&self) -> AbiResult<abi::Shape> {
        self.call(|e| {
            let LatentShape { slots, dim } = e.shape();
            Ok(abi::Shape { slots: slots as u64, dim: dim as u64 })
        })
    }
    fn fit(&mut self, corpus: abi::CorpusBox<'_>) -> AbiResult<RVec<abi::Figure>> {
        self.call_mut(|e| {
            let report = e.fit(&crate::Corpus::from_abi(corpus))?;
            Ok(report.into_iter().map(|(name, value)| abi::Figure { name: name.into(), value }).collect())
        })
    }
    fn encode(&self, views: RSlice<'_, abi::SampleView<'_>>, mut out: RSliceMut<'_, f32>) -> AbiResult<()> {
        self.call(|e| e.encode(&samples(views), out.as_mut_slice()))
    }
    fn save(&self) -> AbiResult<RVec<u8>> {
        self.call(|e| e.save().map(RVec::from))
    }
    fn load(&mut self, state: RSlice<'_, u8>) -> AbiResult<()> {
        self.call_mut(|e| e.load(state.as_slice()))
    }
    fn close(&mut self) -> AbiResult<()> {
        self.end()
    }
}

impl<T: DistanceMetric> abi::DistanceObject for Instance<T> {
    fn fit(&mut self, golden: RSlice<'_, f32>, generated: RSlice<'_, f32>, of: abi::Shape) -> AbiResult<()> {
        self.call_mut(|d| {
            d.fit(Latents::new(golden.as_slice(), shape(of)), Latents::new(generated.as_slice(), shape(of)))
        })
    }
    fn distances(
        &self,
        a: RSlice<'_, f32>,
        b: RSlice<'_, f32>,
        of: abi::Shape,
        mut out: RSliceMut<'_, f32>,
    ) -> AbiResult<()> {
        self.call(|d| {
            let (a, b) = (Latents::new(a.as_slice(), shape(of)), Latents::new(b.as_slice(), shape(of)));
            d.distances(a, b, out.as_mut_slice())
        })
    }
    fn save(&self) -> AbiResult<RVec<u8>> {
        self.call(|d| d.save().map(RVec::from))
    }
    fn load(&mut self, state: RSlice<'_, u8>) -> AbiResult<()> {
        self.call_mut(|d| d.load(state.as_slice()))
    }
    fn close(&mut self) -> AbiResult<()> {
        self.end()
    }
}

impl<T: WeightSchedule> abi::ScheduleObject for Instance<T> {
    fn begin_round(&mut self, distances: RSlice<'_, f32>) -> AbiResult<()> {
        self.call_mut(|s| s.begin_round(distances.as_slice()))
    }
    fn weights(&self, at: abi::StepView, distances: RSlice<'_, f32>, mut out: RSliceMut<'_, f32>) -> AbiResult<()> {
        let abi::StepView { round, rounds, step, total_steps } = at;
        let at = StepContext { round, rounds, step, total_steps };
        self.call(|s| s.weights(at, distances.as_slice(), out.as_mut_slice()))
    }
    fn close(&mut self) -> AbiResult<()> {
        self.end()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use abi::{DistanceObject, DistanceObject_TO};

    struct Moody;

    impl DistanceMetric for Moody {
        const ID: &'static str = "moody";
        const SUMMARY: &'static str = "Panics on negative numbers and when dropped";
        type Options = crate::NoOptions;
        fn new(_: crate::NoOptions, _: crate::Host) -> Result<Self, Error> {
            Ok(Self)
        }
        fn distance(&self, a: crate::Latent<'_>, _: crate::Latent<'_>) -> Result<f32, Error> {
            assert!(a.values()[0] >= 0.0, "negative");
            Ok(a.values()[0])
        }
    }

    impl Drop for Moody {
        fn drop(&mut self) {
            // A payload that is not text.
            std::panic::panic_any(7);
        }
    }

    fn distance(moody: &impl DistanceObject, a: f32) -> Result<f32, Error> {
        let (a, b, mut out) = ([a], [0.0], [f32::NAN]);
        let one = abi::Shape { slots: 1, dim: 1 };
        from_abi(moody.distances(a[..].into(), b[..].into(), one, (&mut out[..]).into()))?;
        Ok(out[0])
    }

    #[test]
    fn panics_become_errors_with_their_place() {
        let mut moody = Instance::new(Moody);
        assert_eq!(distance(&moody, 2.0), Ok(2.0));
        let e = distance(&moody, -1.0).unwrap_err();
        assert_eq!(e.code(), ErrorCode::PANIC);
        assert!(e.message().starts_with("negative (sdk/src/boundary.rs:"), "{e}");
        let e = from_abi(DistanceObject::close(&mut moody)).unwrap_err();
        assert!(e.message().starts_with("a panic whose payload is not text (sdk/src/boundary.rs:"), "{e}");
        assert_eq!(distance(&moody, 2.0), Err(Error::failed("the instance is closed")));
    }

    #[test]
    fn a_panic_while_an_object_is_dropped_ends_there() {
        drop(DistanceObject_TO::<'static, abi::abi_stable::std_types::RBox<()>>::from_value(
            Instance::new(Moody),
            TD_Opaque,
        ));
    }

    #[test]
    fn samples_come_back_as_they_went() {
        let sample =
            OwnedSample { prompt: "p".into(), response: "ü".into(), prompt_ids: vec![1, 2], response_ids: vec![] };
        assert_eq!(owned(buf(sample.clone())), sample);
        let read = crate::Corpus::new(&vec![OwnedSample::default(), sample.clone()]).read(&[1, 1]).unwrap();
        assert_eq!(read, [sample.clone(), sample.clone()]);
        let views = [view(&sample.as_sample())];
        let back = samples(views[..].into());
        assert_eq!((back[0].response, back[0].prompt_ids), ("ü", &[1, 2][..]));
    }
}

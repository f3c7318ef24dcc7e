//! Encoders, distances and schedules from shared libraries in C: sdk/c/include/ldalign.h is what they are compiled
//! with.
//!
//! `table` has the header's types, `services` what C calls of the host, `object` a library and an object of it.

mod object;
mod services;
mod table;

use ldalign_sdk::{
    Corpus, DistanceMetric, Encoder, Error, FitReport, Host, InputPath, Latent, LatentShape, Latents, MetricProperties,
    PluginOptions, Sample, StepContext, WeightSchedule,
};
use object::Object;
use services::{Argument, Reading, lent};
use std::collections::BTreeMap;

/// What a config may say.
#[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The library (.so).
    #[schemars(extend("format" = "script"))]
    library: InputPath,
    /// Numbers and texts that the library asks for by name.
    #[serde(default)]
    args: BTreeMap<String, Argument>,
}

impl PluginOptions for Options {
    fn validate(&self) -> Result<(), Error> {
        match self.library.is_file() {
            true => Ok(()),
            false => Err(Error::options(format!("library: there is no file {}", self.library.display()))),
        }
    }
}

const SUMMARY: &str = "a table of functions of a shared library in C";

/// A function that the table was seen to have when it was loaded.
const CHECKED: &str = "required functions are checked when the library is loaded";

fn to_c(shape: LatentShape) -> table::Shape {
    table::Shape { slots: shape.slots as u64, dim: shape.dim as u64 }
}

/// An encoder in C.
pub struct CEncoder {
    object: Object<table::Encoder>,
    shape: LatentShape,
}

impl Encoder for CEncoder {
    const ID: &'static str = "c";
    const SUMMARY: &'static str = SUMMARY;
    type Options = Options;

    fn new(options: Options, host: Host) -> Result<Self, Error> {
        let object = Object::<table::Encoder>::new(options, host)?;
        let shape = object.table.shape.expect(CHECKED);
        // SAFETY: a function of the type that the header gives it, with an object of its table.
        let table::Shape { slots, dim } = unsafe { shape(object.as_ptr()) };
        match slots.checked_mul(dim) {
            Some(1..=0x0100_0000) => {
                Ok(Self { object, shape: LatentShape { slots: slots as usize, dim: dim as usize } })
            }
            _ => Err(Error::failed(format!("a latent of {slots} slots x {dim} numbers is not a usable shape"))),
        }
    }

    fn shape(&self) -> LatentShape {
        self.shape
    }

    fn fit(&mut self, corpus: &Corpus<'_>) -> Result<FitReport, Error> {
        let Some(fit) = self.object.table.fit else { return Ok(FitReport::new()) };
        let reading = Reading::new(corpus);
        let table = reading.table();
        // SAFETY: as in `new`; the corpus lives as long as the call.
        self.object.call("fit", |message| unsafe { fit(self.object.as_ptr(), &table, message) })?;
        Ok(reading.report())
    }

    fn encode(&self, samples: &[Sample<'_>], out: &mut [f32]) -> Result<(), Error> {
        let encode = self.object.table.encode.expect(CHECKED);
        let (samples, n): (Vec<table::Sample>, _) = (samples.iter().map(lent).collect(), samples.len() as u64);
        self.object.call("encode", |message| {
            // SAFETY: as in `new`; `out` has room for a latent of each sample.
            unsafe { encode(self.object.as_ptr(), samples.as_ptr(), n, out.as_mut_ptr(), message) }
        })
    }

    fn save(&self) -> Result<Vec<u8>, Error> {
        self.object.save(self.object.table.save)
    }

    fn load(&mut self, state: &[u8]) -> Result<(), Error> {
        let load = self.object.table.load;
        self.object.load(load, state)
    }
}

/// A distance in C.
pub struct CDistance(Object<table::Distance>);

/// Latents that are no numbers have no distance, of which a library need not think.
fn finite(latents: &Latents<'_>) -> Result<(), Error> {
    match latents.values().iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(i) => {
            Err(Error::input(format!("a number of latent {} is {}", i / latents.shape().len(), latents.values()[i])))
        }
    }
}

impl DistanceMetric for CDistance {
    const ID: &'static str = "c";
    const SUMMARY: &'static str = SUMMARY;
    /// Known to the library alone.
    const PROPERTIES: MetricProperties = MetricProperties { symmetric: false, zero_on_equal: false, triangle: false };
    type Options = Options;

    fn new(options: Options, host: Host) -> Result<Self, Error> {
        Object::new(options, host).map(Self)
    }

    fn fit(&mut self, golden: Latents<'_>, generated: Latents<'_>) -> Result<(), Error> {
        let Some(fit) = self.0.table.fit else { return Ok(()) };
        finite(&golden)?;
        finite(&generated)?;
        let (a, b) = (golden.values().as_ptr(), generated.values().as_ptr());
        self.0.call("fit", |message| {
            // SAFETY: as in `CEncoder::new`; both have as many latents of the shape.
            unsafe { fit(self.0.as_ptr(), a, b, golden.len() as u64, to_c(golden.shape()), message) }
        })
    }

    fn distance(&self, a: Latent<'_>, b: Latent<'_>) -> Result<f32, Error> {
        let shape = LatentShape { slots: a.slots().len(), dim: a.dim() };
        let mut out = [f32::NAN];
        self.distances(Latents::new(a.values(), shape), Latents::new(b.values(), shape), &mut out)?;
        Ok(out[0])
    }

    fn distances(&self, a: Latents<'_>, b: Latents<'_>, out: &mut [f32]) -> Result<(), Error> {
        let distances = self.0.table.distances.expect(CHECKED);
        finite(&a)?;
        finite(&b)?;
        let (of, n, shape) = ((a.values().as_ptr(), b.values().as_ptr()), out.len() as u64, to_c(a.shape()));
        self.0.call("distances", |message| {
            // SAFETY: as in `CEncoder::new`; `out` has room for a number of each pair.
            unsafe { distances(self.0.as_ptr(), of.0, of.1, n, shape, out.as_mut_ptr(), message) }
        })
    }

    fn save(&self) -> Result<Vec<u8>, Error> {
        self.0.save(self.0.table.save)
    }

    fn load(&mut self, state: &[u8]) -> Result<(), Error> {
        let load = self.0.table.load;
        self.0.load(load, state)
    }
}

/// A schedule in C.
pub struct CSchedule(Object<table::Schedule>);

impl WeightSchedule for CSchedule {
    const ID: &'static str = "c";
    const SUMMARY: &'static str = SUMMARY;
    const MEAN_ONE: bool = false;
    const MONOTONE: bool = false;
    type Options = Options;

    fn new(options: Options, host: Host) -> Result<Self, Error> {
        Object::new(options, host).map(Self)
    }

    fn begin_round(&mut self, distances: &[f32]) -> Result<(), Error> {
        let Some(begin) = self.0.table.begin_round else { return Ok(()) };
        self.0.call("begin_round", |message| {
            // SAFETY: as in `CEncoder::new`.
            unsafe { begin(self.0.as_ptr(), distances.as_ptr(), distances.len() as u64, message) }
        })
    }

    fn weights(&self, at: StepContext, distances: &[f32], out: &mut [f32]) -> Result<(), Error> {
        let weights = self.0.table.weights.expect(CHECKED);
        let StepContext { round, rounds, step, total_steps } = at;
        let step = table::Step { round, rounds, step, total_steps, progress: at.progress() };
        let (n, of) = (distances.len() as u64, distances.as_ptr());
        self.0.call("weights", |message| {
            // SAFETY: as in `CEncoder::new`; `out` has room for a weight of each distance.
            unsafe { weights(self.0.as_ptr(), &step, of, n, out.as_mut_ptr(), message) }
        })
    }
}

ldalign_sdk::export_plugin! { encoders: [CEncoder] distances: [CDistance] schedules: [CSchedule] }

//! Encoders, distances and schedules that are scripts: a class of a Python file, or a program in another language,
//! which runs in a process of its own and speaks over stdin and stdout. docs/python-plugins.md has the guide and the
//! protocol.
//!
//! `options` says what runs; `script` is an instance at work, `child` its process, `frame` what goes over the wire,
//! `services` what the script asks of the host meanwhile, and `runner.py` the other side in Python.

mod child;
mod frame;
mod options;
mod script;
mod services;

use frame::Array;
use ldalign_sdk::{
    Corpus, DistanceMetric, Encoder, Error, FitReport, Host, Latent, LatentShape, Latents, MetricProperties, Sample,
    StepContext, WeightSchedule,
};
pub use options::Options;
use script::Script;
use serde_json::{Value, json};

fn at_least_zero(x: f32) -> bool {
    x.is_finite() && x >= 0.0
}

/// A class `Encoder`.
pub struct ScriptEncoder {
    script: Script,
    shape: LatentShape,
}

impl Encoder for ScriptEncoder {
    const ID: &'static str = "python";
    const SUMMARY: &'static str = "a class of a Python script, or a program, in a process of its own";
    type Options = Options;

    fn new(options: Options, host: Host) -> Result<Self, Error> {
        let script = Script::start("encoder", "Encoder", options, host)?;
        let size = |i: usize| script.built("shape")[i].as_u64().filter(|n| (1..=1 << 24).contains(n));
        let (Some(slots), Some(dim)) = (size(0), size(1)) else {
            let shape = script.built("shape");
            return Err(Error::failed(format!("its first answer has shape {shape}: [slots, numbers] is needed")));
        };
        Ok(Self { script, shape: LatentShape { slots: slots as usize, dim: dim as usize } })
    }

    fn shape(&self) -> LatentShape {
        self.shape
    }

    fn fit(&mut self, corpus: &Corpus<'_>) -> Result<FitReport, Error> {
        let answer = self.script.if_it_can("fit", json!({ "corpus": corpus.len() }), &[], Some(corpus))?;
        let figures = answer.iter().flat_map(|answer| answer.head["figures"].as_object()).flatten();
        Ok(figures.filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect())
    }

    fn encode(&self, samples: &[Sample<'_>], out: &mut [f32]) -> Result<(), Error> {
        if samples.is_empty() {
            return Ok(());
        }
        let (n, LatentShape { slots, dim }) = (samples.len(), self.shape);
        let answer = self.script.call_on("encode", samples)?;
        let place = |i| format!("number {} of sample {} of {n}", i % (slots * dim), i / (slots * dim));
        let shapes: [&[usize]; 2] = [&[n, slots, dim], &[n, slots * dim]];
        let shapes = if slots == 1 { [shapes[1], shapes[0]] } else { shapes };
        self.script.numbers("encode", &answer, &shapes, f32::is_finite, place, out)
    }

    fn save(&self) -> Result<Vec<u8>, Error> {
        self.script.save()
    }

    fn load(&mut self, state: &[u8]) -> Result<(), Error> {
        self.script.load(state)
    }
}

/// A class `Distance`.
pub struct ScriptDistance(Script);

/// Latents for the wire. Ones that are no numbers have no distance, of which scripts need not think.
fn latents<'a>(all: &Latents<'a>) -> Result<Array<'a>, Error> {
    let LatentShape { slots, dim } = all.shape();
    match all.values().iter().position(|x| !x.is_finite()) {
        None => Ok(Array::F32(all.values(), vec![all.len(), slots, dim])),
        Some(i) => Err(Error::input(format!("a number of latent {} is {}", i / (slots * dim), all.values()[i]))),
    }
}

impl DistanceMetric for ScriptDistance {
    const ID: &'static str = "python";
    const SUMMARY: &'static str = "a class of a Python script, or a program, in a process of its own";
    /// Known to the script alone.
    const PROPERTIES: MetricProperties = MetricProperties { symmetric: false, zero_on_equal: false, triangle: false };
    type Options = Options;

    fn new(options: Options, host: Host) -> Result<Self, Error> {
        Script::start("distance", "Distance", options, host).map(Self)
    }

    fn fit(&mut self, golden: Latents<'_>, generated: Latents<'_>) -> Result<(), Error> {
        self.0.if_it_can("fit", json!({}), &[latents(&golden)?, latents(&generated)?], None).map(drop)
    }

    fn distance(&self, a: Latent<'_>, b: Latent<'_>) -> Result<f32, Error> {
        let shape = LatentShape { slots: a.slots().len(), dim: a.dim() };
        let mut out = [0.0];
        self.distances(Latents::new(a.values(), shape), Latents::new(b.values(), shape), &mut out)?;
        Ok(out[0])
    }

    fn distances(&self, a: Latents<'_>, b: Latents<'_>, out: &mut [f32]) -> Result<(), Error> {
        let n = out.len();
        if n == 0 {
            return Ok(());
        }
        let answer = self.0.call("distances", json!({}), &[latents(&a)?, latents(&b)?], None)?;
        self.0.numbers("distances", &answer, &[&[n]], at_least_zero, |i| format!("pair {i} of {n}"), out)
    }

    fn save(&self) -> Result<Vec<u8>, Error> {
        self.0.save()
    }

    fn load(&mut self, state: &[u8]) -> Result<(), Error> {
        self.0.load(state)
    }
}

/// A class `Schedule`.
pub struct ScriptSchedule(Script);

fn distances(all: &[f32]) -> Array<'_> {
    Array::F32(all, vec![all.len()])
}

impl WeightSchedule for ScriptSchedule {
    const ID: &'static str = "python";
    const SUMMARY: &'static str = "a class of a Python script, or a program, in a process of its own";
    const MEAN_ONE: bool = false;
    const MONOTONE: bool = false;
    type Options = Options;

    fn new(options: Options, host: Host) -> Result<Self, Error> {
        Script::start("schedule", "Schedule", options, host).map(Self)
    }

    fn begin_round(&mut self, all: &[f32]) -> Result<(), Error> {
        self.0.if_it_can("begin_round", json!({}), &[distances(all)], None).map(drop)
    }

    fn weights(&self, at: StepContext, given: &[f32], out: &mut [f32]) -> Result<(), Error> {
        if given.is_empty() {
            return Ok(());
        }
        let StepContext { round, rounds, step, total_steps } = at;
        let step: Value = json!({
            "round": round, "rounds": rounds, "step": step, "total_steps": total_steps, "progress": at.progress(),
        });
        let answer = self.0.call("weights", json!({ "step": step }), &[distances(given)], None)?;
        let place = |i: usize| format!("distance {}", given[i]);
        self.0.numbers("weights", &answer, &[&[given.len()]], at_least_zero, place, out)
    }
}

ldalign_sdk::export_plugin! { encoders: [ScriptEncoder] distances: [ScriptDistance] schedules: [ScriptSchedule] }

#[cfg(test)]
ldalign_conformance::conforms! { "python": { "script": "fixtures/plain.py" } }

//! Instances of any kind with a pool of inputs for them: what all kinds owe is checked through one trait.

use super::{
    Refusal,
    live::{Distance, Encoder, Ran, Schedule},
};
use crate::{inputs::len, memory::At};
use ldalign_abi::{Shape, StepView};
use ldalign_sdk::OwnedSample;

/// Inputs of an instance: odd, and more than registers hold.
pub const ITEMS: usize = 33;

/// An instance of any kind with inputs for it: what all kinds owe is checked through it.
pub trait Subject: Send + Sync {
    /// Fits, or begins the round, on the inputs.
    fn learn(&mut self) -> Result<(), Refusal>;
    /// Number of inputs.
    fn items(&self) -> usize;
    /// Numbers of output an input gives.
    fn width(&self) -> usize;
    /// Runs the inputs of these numbers, in this order.
    fn run(&self, picks: &[usize], at: At) -> Result<Ran, Refusal>;
    /// State as bytes; None for a kind without.
    fn save(&self) -> Option<Result<Vec<u8>, Refusal>>;
    /// Restores a state.
    fn load(&mut self, state: &[u8]) -> Result<(), Refusal>;
    /// Ends the instance.
    fn close(&mut self) -> Result<(), Refusal>;
}

/// Pairs of latents.
pub struct Measures<'a> {
    pub(super) distance: Distance<'a>,
    pub(super) shape: Shape,
    pub(super) a: Vec<f32>,
    pub(super) b: Vec<f32>,
}

impl Subject for Measures<'_> {
    fn learn(&mut self) -> Result<(), Refusal> {
        self.distance.fit(&self.a, &self.b, self.shape)
    }
    fn items(&self) -> usize {
        ITEMS
    }
    fn width(&self) -> usize {
        1
    }
    fn run(&self, picks: &[usize], at: At) -> Result<Ran, Refusal> {
        let each = len(self.shape);
        let gather = |all: &[f32]| picks.iter().flat_map(|i| &all[i * each..][..each]).copied().collect::<Vec<f32>>();
        self.distance.measure(&gather(&self.a), &gather(&self.b), self.shape, at)
    }
    fn save(&self) -> Option<Result<Vec<u8>, Refusal>> {
        let Distance { object, calls } = &self.distance;
        Some(calls.make("save", || object.save()).map(|state| state.into_vec()))
    }
    fn load(&mut self, state: &[u8]) -> Result<(), Refusal> {
        let Distance { object, calls } = &mut self.distance;
        calls.make("load", || object.load(state.into()))
    }
    fn close(&mut self) -> Result<(), Refusal> {
        self.distance.close()
    }
}

/// Samples.
pub struct Encodes<'a> {
    pub(super) encoder: Encoder<'a>,
    pub(super) width: usize,
    pub(super) samples: Vec<OwnedSample>,
}

impl Subject for Encodes<'_> {
    fn learn(&mut self) -> Result<(), Refusal> {
        self.encoder.fit(&self.samples).map(drop)
    }
    fn items(&self) -> usize {
        ITEMS
    }
    fn width(&self) -> usize {
        self.width
    }
    fn run(&self, picks: &[usize], at: At) -> Result<Ran, Refusal> {
        let samples: Vec<OwnedSample> = picks.iter().map(|i| self.samples[*i].clone()).collect();
        self.encoder.encode(&samples, self.width, at)
    }
    fn save(&self) -> Option<Result<Vec<u8>, Refusal>> {
        let Encoder { object, calls } = &self.encoder;
        Some(calls.make("save", || object.save()).map(|state| state.into_vec()))
    }
    fn load(&mut self, state: &[u8]) -> Result<(), Refusal> {
        let Encoder { object, calls } = &mut self.encoder;
        calls.make("load", || object.load(state.into()))
    }
    fn close(&mut self) -> Result<(), Refusal> {
        self.encoder.close()
    }
}

/// Distances.
pub struct Weighs<'a> {
    pub(super) schedule: Schedule<'a>,
    pub(super) distances: Vec<f32>,
}

impl Subject for Weighs<'_> {
    fn learn(&mut self) -> Result<(), Refusal> {
        self.schedule.begin_round(&self.distances)
    }
    fn items(&self) -> usize {
        ITEMS
    }
    fn width(&self) -> usize {
        1
    }
    fn run(&self, picks: &[usize], at: At) -> Result<Ran, Refusal> {
        let distances: Vec<f32> = picks.iter().map(|i| self.distances[*i]).collect();
        self.schedule.weigh(StepView { round: 0, rounds: 2, step: 3, total_steps: 10 }, &distances, at)
    }
    fn save(&self) -> Option<Result<Vec<u8>, Refusal>> {
        None
    }
    fn load(&mut self, _state: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }
    fn close(&mut self) -> Result<(), Refusal> {
        self.schedule.close()
    }
}

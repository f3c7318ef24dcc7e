//! What is checked: a library, one of its plugins with options, and live instances behind the boundary.

mod live;
mod pool;

pub use live::{Distance, Encoder, Fitted, Ran, Schedule};
pub use pool::Subject;

use crate::{
    inputs::{Rng, SHAPES, len},
    memory::At,
    stand_in::{self, StandIn},
};
use ldalign_abi::{AbiResult, ErrorCode, PluginModule_Ref, Shape, abi_stable::std_types::RResult};
use ldalign_sdk::metadata::{DISTANCE, ENCODER};
use pool::{Encodes, ITEMS, Measures, Weighs};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    cell::{Cell, OnceCell},
    sync::{Mutex, PoisonError},
};

/// A library, wherever it comes from.
pub trait Library: Sync {
    /// Loads it; again, the same is expected.
    ///
    /// # Errors
    /// Why it cannot be loaded.
    fn open(&self) -> Result<PluginModule_Ref, String>;
    /// The metadata section of its file; None for a plugin that is part of this program.
    fn section(&self) -> Option<Vec<u8>>;
}

/// One plugin of a library, with options.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// `encoder`, `distance` or `schedule`.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// What its metadata declares.
    pub properties: serde_json::Map<String, Value>,
    /// A JSON object.
    pub options: Value,
    /// Slots and numbers per slot of the only latents it takes; None for a plugin that takes several of those tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<[u64; 2]>,
}

/// Why a check ends early.
#[derive(Debug)]
pub enum Stop {
    /// The plugin broke the rule.
    Fail(String),
    /// The rule does not apply.
    Skip(String),
}

/// A call that the plugin answered with an error.
#[derive(Debug)]
pub struct Refusal {
    call: &'static str,
    /// See [`ErrorCode`].
    pub code: ErrorCode,
    message: String,
}

impl Refusal {
    /// Passes any error but a panic: the call may refuse.
    pub fn unless_panic<T>(result: Result<T, Self>) -> Result<Option<T>, Stop> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(e) if e.code == ErrorCode::PANIC => Err(e.into()),
            Err(_) => Ok(None),
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verb = if self.code == ErrorCode::PANIC { "panicked in" } else { "gave an error in" };
        write!(f, "it {verb} {}: {}", self.call, self.message)
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Fail(refusal.to_string())
    }
}

/// Tells which call is about to begin, so that the end of the process in it can be named.
pub struct Calls<'a> {
    last: Mutex<&'static str>,
    tell: &'a (dyn Fn(&'static str) + Sync),
}

impl<'a> Calls<'a> {
    /// `tell` is called where a call differs from the one before.
    pub fn new(tell: &'a (dyn Fn(&'static str) + Sync)) -> Self {
        Self { last: Mutex::new(""), tell }
    }
    fn make<T>(&self, call: &'static str, run: impl FnOnce() -> AbiResult<T>) -> Result<T, Refusal> {
        self.begin(call);
        match run() {
            RResult::ROk(value) => Ok(value),
            RResult::RErr(e) => Err(Refusal { call, code: e.code, message: e.message.into_string() }),
        }
    }
    fn begin(&self, call: &'static str) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != call {
            *last = call;
            (self.tell)(call);
        }
    }
}

/// What a check works with.
pub struct Context<'a> {
    /// The library.
    pub library: &'a dyn Library,
    /// One of its plugins; None for a check of the library.
    pub case: Option<&'a Case>,
    /// For all inputs.
    pub seed: u64,
    /// What must be the same in another process that does the same; set by the check.
    pub fingerprint: Cell<Option<u64>>,
    calls: &'a Calls<'a>,
    module: OnceCell<PluginModule_Ref>,
}

impl<'a> Context<'a> {
    /// Nothing is loaded yet.
    pub fn new(library: &'a dyn Library, case: Option<&'a Case>, seed: u64, calls: &'a Calls<'a>) -> Self {
        Self { library, case, seed, fingerprint: Cell::new(None), calls, module: OnceCell::new() }
    }
    /// The same for another case.
    pub fn for_case<'b>(&'b self, case: &'b Case) -> Context<'b> {
        Context::new(self.library, Some(case), self.seed, self.calls)
    }
    /// Loads the library, though it may be loaded already.
    pub fn open(&self) -> Result<PluginModule_Ref, Stop> {
        self.calls.begin("loading");
        self.library.open().map_err(Stop::Fail)
    }
    /// The loaded library.
    pub fn module(&self) -> Result<PluginModule_Ref, Stop> {
        match self.module.get() {
            Some(module) => Ok(*module),
            None => {
                let module = self.open()?;
                Ok(*self.module.get_or_init(|| module))
            }
        }
    }
    /// The plugin that is checked.
    pub fn case(&self) -> &'a Case {
        self.case.expect("checks of a plugin are run with one")
    }
    /// A generator for a purpose.
    pub fn rng(&self, purpose: &str) -> Rng {
        Rng::new(self.seed, purpose)
    }
    /// Whether the plugin declares a property, or why a check of it is skipped.
    pub fn declares(&self, property: &str) -> Result<(), Stop> {
        match self.case().properties.get(property) {
            Some(Value::Bool(true)) => Ok(()),
            _ => Err(Stop::Skip(format!("`{property}` is not declared"))),
        }
    }
    /// JSON schema of the plugin's options.
    pub fn schema(&self) -> Result<Value, Stop> {
        let (module, case) = (self.module()?, self.case());
        let schema = || module.options_schema()(case.kind.as_str().into(), case.id.as_str().into());
        let text = self.calls.make("options_schema", schema)?;
        serde_json::from_str(&text).map_err(|e| Stop::Fail(format!("the schema of its options is not JSON: {e}")))
    }
    /// Whether the plugin takes options, given as any text.
    pub fn validate(&self, options: &str) -> Result<Result<(), Refusal>, Stop> {
        let (module, case) = (self.module()?, self.case());
        let validate = || module.validate_options()(case.kind.as_str().into(), case.id.as_str().into(), options.into());
        Ok(self.calls.make("validate_options", validate))
    }
    /// The host of a check.
    pub fn host(&self) -> StandIn {
        StandIn { model: true, fails: false, threads: 1, seed: self.seed }
    }
    /// Names of the options that must be given and are not.
    pub fn missing_options(&self) -> Result<Vec<String>, Stop> {
        let schema = self.schema()?;
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        Ok(required.filter(|key| self.case().options.get(key).is_none()).map(str::to_owned).collect())
    }
    fn demand_options(&self) -> Result<(), Stop> {
        match self.missing_options()?.join(", ") {
            missing if missing.is_empty() => Ok(()),
            missing => Err(Stop::Skip(format!("its options {missing} must be given"))),
        }
    }
    fn built<O>(&self, built: Result<O, Refusal>) -> Result<O, Stop> {
        built.map_err(|e| match e.code {
            ErrorCode::OPTIONS => Stop::Skip("there is no instance: see options/default".into()),
            ErrorCode::UNSUPPORTED => Stop::Skip(format!("there is no instance: {e}")),
            _ => e.into(),
        })
    }
    /// A distance on some host.
    pub fn distance_on(&self, host: StandIn) -> Result<Distance<'a>, Stop> {
        self.demand_options()?;
        self.built(self.new_distance(self.case().id.as_str(), host)?)
    }
    fn new_distance(&self, id: &str, host: StandIn) -> Result<Result<Distance<'a>, Refusal>, Stop> {
        let (new, options, calls) = (self.module()?.new_distance(), self.case().options.to_string(), self.calls);
        let object = calls.make("new", || new(id.into(), options.as_str().into(), ldalign_sdk::serve(host)));
        Ok(object.map(|object| Distance { object, calls }))
    }
    /// An encoder on some host.
    pub fn encoder_on(&self, host: StandIn) -> Result<Encoder<'a>, Stop> {
        self.demand_options()?;
        self.built(self.new_encoder(self.case().id.as_str(), host)?)
    }
    fn new_encoder(&self, id: &str, host: StandIn) -> Result<Result<Encoder<'a>, Refusal>, Stop> {
        let (new, options, calls) = (self.module()?.new_encoder(), self.case().options.to_string(), self.calls);
        let object = calls.make("new", || new(id.into(), options.as_str().into(), ldalign_sdk::serve(host)));
        Ok(object.map(|object| Encoder { object, calls }))
    }
    /// A schedule.
    pub fn schedule(&self) -> Result<Schedule<'a>, Stop> {
        self.demand_options()?;
        self.built(self.new_schedule(self.case().id.as_str(), self.host())?)
    }
    fn new_schedule(&self, id: &str, host: StandIn) -> Result<Result<Schedule<'a>, Refusal>, Stop> {
        let (new, options, calls) = (self.module()?.new_schedule(), self.case().options.to_string(), self.calls);
        let object = calls.make("new", || new(id.into(), options.as_str().into(), ldalign_sdk::serve(host)));
        Ok(object.map(|object| Schedule { object, calls }))
    }
    /// Tries to build the plugin, or another id of its kind, whatever options are missing, and closes what was built.
    pub fn try_new(&self, id: &str, host: StandIn) -> Result<Result<(), Refusal>, Stop> {
        Ok(match self.case().kind.as_str() {
            ENCODER => self.new_encoder(id, host)?.and_then(|mut i| i.close()),
            DISTANCE => self.new_distance(id, host)?.and_then(|mut i| i.close()),
            _ => self.new_schedule(id, host)?.and_then(|mut i| i.close()),
        })
    }
    /// An instance with inputs for it, of whatever kind, that has learned nothing yet.
    pub fn build(&self, host: StandIn) -> Result<Box<dyn Subject + 'a>, Stop> {
        Ok(match self.case().kind.as_str() {
            ENCODER => {
                let encoder = self.encoder_on(host)?;
                let width = len(encoder.shape()?);
                Box::new(Encodes { encoder, width, samples: stand_in::samples(ITEMS, self.seed) })
            }
            DISTANCE => {
                let mut rng = self.rng("pairs");
                let shape = self.usable_shape()?;
                let mut latents = || rng.normals(ITEMS * len(shape));
                Box::new(Measures { distance: self.distance_on(host)?, shape, a: latents(), b: latents() })
            }
            _ => {
                let mut rng = self.rng("distances");
                let distances = (0..ITEMS).map(|_| rng.normal().exp()).collect();
                Box::new(Weighs { schedule: self.schedule()?, distances })
            }
        })
    }
    /// The same, and it has learned.
    pub fn learned(&self, host: StandIn) -> Result<Box<dyn Subject + 'a>, Stop> {
        let mut subject = self.build(host)?;
        subject.learn()?;
        Ok(subject)
    }
    /// Shapes to try: the one that the case names, else these.
    pub fn shapes(&self, otherwise: &[Shape]) -> Vec<Shape> {
        self.case().shape.map_or_else(|| otherwise.to_vec(), |[slots, dim]| vec![Shape { slots, dim }])
    }
    /// A shape that the distance takes: the one most like an encoder's, else the first of all.
    fn usable_shape(&self) -> Result<Shape, Stop> {
        let first = [Shape { slots: 4, dim: 16 }, Shape { slots: 1, dim: 64 }];
        let mut refused = None;
        for shape in self.shapes(&[&first[..], &SHAPES].concat()) {
            match self.fitted(shape)? {
                Ok(fitted) => return Ok(fitted.shape),
                Err(e) => refused = Some(e),
            }
        }
        let why = refused.map(|e| format!("; of the last, {e}")).unwrap_or_default();
        Err(Stop::Skip(format!("it refuses latents of every shape tried: name one that it takes{why}")))
    }
    /// A distance fitted on latents of a shape, or why it refuses the shape.
    pub fn fitted(&self, shape: Shape) -> Result<Result<Fitted<'a>, Refusal>, Stop> {
        let mut distance = self.distance_on(self.host())?;
        let mut rng = self.rng("fit");
        let mut latents = || rng.normals(ITEMS * len(shape));
        let (golden, generated) = (latents(), latents());
        let one = len(shape);
        let tried = distance
            .fit(&golden, &generated, shape)
            .and_then(|()| distance.measure(&golden[..one], &generated[..one], shape, At::PLAIN));
        match tried {
            Err(e) if e.code == ErrorCode::PANIC => Err(e.into()),
            tried => Ok(tried.map(|_| Fitted { distance, shape })),
        }
    }
}

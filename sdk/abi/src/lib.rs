//! The frozen binary boundary between the LD-Align host and its plugins.
//!
//! A plugin is a shared library with one root symbol that leads to a [`PluginModule`]. Everything that crosses is declared here and nowhere
//! else: plain slices, strings, and objects behind method tables made by `abi_stable`, whose type layouts the host compares when it loads a
//! plugin. Authors never see this crate; `ldalign-sdk` turns it into plain Rust traits.
//!
//! # What holds for every call
//! - Nothing unwinds across the boundary, in either direction: both sides catch panics and return [`ErrorCode::PANIC`].
//! - The caller owns every buffer; slices are valid during the call only. What is handed over ([`RString`], [`RVec`], boxed objects) carries
//!   its own destructor, so each side frees with the allocator that made it.
//! - Objects are `Send + Sync`: the host may call `&self` methods from several threads, and may drop an object on another thread.
//! - Host services may be called during any call of a plugin; a service never calls back into a plugin.
//!
//! # Metadata
//! The section [`METADATA_SECTION`] of the library holds one JSON object that the host reads without running code; the same bytes are
//! returned by [`PluginModule::descriptor_json`]:
//! ```json
//! {"schema": 1, "name": "...", "version": "...", "abi": "1.0.0", "sdk": "...", "license": "...", "target": "x86_64-linux-gnu",
//!  "cpu_features": ["avx2"], "provides": [{"kind": "distance", "id": "...", "summary": "...", "properties": {"symmetric": true}}]}
//! ```
//! It is made by constant evaluation. The options' JSON schemas are made at run time, so they are not in the section but behind
//! [`PluginModule::options_schema`], which the host asks in a child process.
//!
//! # How the boundary grows
//! A plugin built against any 1.x loads in a host of any other 1.y. For that (`docs/plugin-abi.md` of the repository says why, and what to do):
//! 1. Methods of the objects and fields of [`PluginModule`] are only ever **appended after `last_prefix_field`**, which never moves. A method
//!    needs a default body (what happens with an older peer); a field reads as `None` in an older plugin.
//! 2. Nothing is renamed, reordered, removed or retyped, not even an argument: layouts are compared by name.
//! 3. [`SampleView`], [`StepView`], [`Figure`], [`Shape`], [`PluginError`] and the code newtypes are frozen: they live in slices or by value, where
//!    a size cannot change. What does not fit them needs a new method.
//! 4. Open sets of values are newtypes over `u32`, never Rust enums: a value unknown to the reader is legal and handled as a failure.
//! 5. Soft data (model facts, metadata, options) travels as JSON, whose readers ignore unknown keys (options excepted: those are strict).
//! 6. No feature gates on anything in this crate: all builds of one version have one layout.
//! 7. Every change of this crate's source raises its version: minor for growth, patch for docs. A major version would refuse every plugin
//!    built before and is not planned. The crate starts at 1.0.0 because `abi_stable` treats each 0.x minor as incompatible.
// What `#[sabi_trait]` and the derives generate is named and documented by abi_stable, not by us.
#![allow(non_camel_case_types, non_local_definitions, missing_docs, clippy::len_without_is_empty)]

use abi_stable::{
    StableAbi,
    library::RootModule,
    package_version_strings, sabi_trait,
    sabi_types::VersionStrings,
    std_types::{RBox, RResult, RSlice, RSliceMut, RStr, RString, RVec},
};

pub use abi_stable;

/// This crate's version, recorded in every plugin.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Name of the ELF section with the metadata.
pub const METADATA_SECTION: &str = ".ldalign";

/// Version of the metadata's layout, its key `schema`.
pub const METADATA_SCHEMA: u32 = 1;

/// Why a plugin call failed: an open set, so a newtype and never a Rust enum.
#[repr(transparent)]
#[derive(StableAbi, Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// The options are wrong.
    pub const OPTIONS: Self = Self(1);
    /// The input cannot be worked on.
    pub const INPUT: Self = Self(2);
    /// The plugin panicked; the instance is poisoned.
    pub const PANIC: Self = Self(3);
    /// The plugin (or the host, for a service) does not provide what was asked for.
    pub const UNSUPPORTED: Self = Self(4);
    /// A saved state does not fit.
    pub const STATE: Self = Self(5);
    /// The host asked for a stop.
    pub const CANCELLED: Self = Self(6);
    /// Anything else.
    pub const FAILED: Self = Self(7);
}

/// How important a log line is.
#[repr(transparent)]
#[derive(StableAbi, Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLevel(pub u32);

impl LogLevel {
    /// Something is wrong but work goes on.
    pub const WARN: Self = Self(1);
    /// Worth reading once.
    pub const INFO: Self = Self(2);
    /// For the plugin's author.
    pub const DEBUG: Self = Self(3);
}

/// How token states become one vector.
#[repr(transparent)]
#[derive(StableAbi, Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolingCode(pub u32);

impl PoolingCode {
    /// Mean over the response's tokens.
    pub const MEAN: Self = Self(1);
    /// The response's last token.
    pub const LAST: Self = Self(2);
    /// Mean over prompt and response.
    pub const MEAN_ALL: Self = Self(3);
}

/// A failed call: a code for the program, a message for the person.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct PluginError {
    pub code: ErrorCode,
    pub message: RString,
}

/// What every fallible call returns.
pub type AbiResult<T> = RResult<T, PluginError>;

/// One prompt with one response, borrowed.
#[repr(C)]
#[derive(StableAbi, Debug, Clone, Copy)]
pub struct SampleView<'a> {
    pub prompt: RStr<'a>,
    pub response: RStr<'a>,
    pub prompt_ids: RSlice<'a, u32>,
    pub response_ids: RSlice<'a, u32>,
}

/// One prompt with one response, handed over.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct SampleBuf {
    pub prompt: RString,
    pub response: RString,
    pub prompt_ids: RVec<u32>,
    pub response_ids: RVec<u32>,
}

/// `slots` vectors of `dim` numbers each.
#[repr(C)]
#[derive(StableAbi, Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub slots: u64,
    pub dim: u64,
}

/// Where training stands; all count from 0 and `rounds`, `total_steps` are totals.
#[repr(C)]
#[derive(StableAbi, Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepView {
    pub round: u64,
    pub rounds: u64,
    pub step: u64,
    pub total_steps: u64,
}

/// A named number of a fit report.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct Figure {
    pub name: RString,
    pub value: f64,
}

/// What the host does for a plugin; implemented by the host.
#[sabi_trait]
pub trait HostServices: Send + Sync {
    /// Writes to the host's log.
    fn log(&self, level: LogLevel, message: RStr<'_>);
    /// Shows how far a long fit is, 0..=1.
    fn progress(&self, fraction: f32, note: RStr<'_>);
    /// Whether the plugin should return soon.
    fn cancelled(&self) -> bool;
    /// Seed for everything random in the plugin.
    fn seed(&self) -> u64;
    /// Threads the plugin may use.
    fn threads(&self) -> u64;
    /// `{"model": {...}}`, without the key while no model is loaded.
    fn facts_json(&self) -> RString;
    /// Pooled states of the policy after `layer` layers: `hidden_size` numbers a sample.
    #[sabi(last_prefix_field)]
    fn hidden_states(
        &self,
        samples: RSlice<'_, SampleView<'_>>,
        layer: u64,
        pooling: PoolingCode,
        out: RSliceMut<'_, f32>,
    ) -> AbiResult<()>;
    /// States of the policy after `layer` layers of every token of prompt and response, sample after sample: `hidden_size` numbers a token.
    /// Since 1.1.
    fn token_states(&self, samples: RSlice<'_, SampleView<'_>>, layer: u64, out: RSliceMut<'_, f32>) -> AbiResult<()> {
        let _ = (samples, layer, out);
        RResult::RErr(PluginError {
            code: ErrorCode::UNSUPPORTED,
            message: "this host is older than the service `token_states`".into(),
        })
    }
    /// `nll[i]`: negative log-likelihood, in nats, that the frozen policy gives response i after prompt i and prefix i. `prefixes` are embeddings
    /// [samples, k, `hidden_size`], for a k that follows from its length and may be 0; `gradients`, if not empty, takes d `nll[i]` / d prefix i in
    /// their shape. Since 1.1.
    fn prefix_nll(
        &self,
        samples: RSlice<'_, SampleView<'_>>,
        prefixes: RSlice<'_, f32>,
        nll: RSliceMut<'_, f32>,
        gradients: RSliceMut<'_, f32>,
    ) -> AbiResult<()> {
        let _ = (samples, prefixes, nll, gradients);
        RResult::RErr(PluginError {
            code: ErrorCode::UNSUPPORTED,
            message: "this host is older than the service `prefix_nll`".into(),
        })
    }
}

/// The host's services as a plugin holds them.
pub type HostBox = HostServices_TO<'static, RBox<()>>;

/// The samples an encoder learns from; implemented by the host.
#[sabi_trait]
pub trait CorpusObject: Send + Sync {
    /// Number of samples.
    fn len(&self) -> u64;
    /// Samples by index, in the order asked for.
    #[sabi(last_prefix_field)]
    fn read(&self, indices: RSlice<'_, u64>) -> AbiResult<RVec<SampleBuf>>;
}

/// A corpus lent for the time of one call.
pub type CorpusBox<'a> = CorpusObject_TO<'a, RBox<()>>;

/// An encoder instance; implemented by the plugin.
#[sabi_trait]
pub trait EncoderObject: Send + Sync {
    /// Shape of every latent.
    fn shape(&self) -> AbiResult<Shape>;
    /// Learns from the round's samples and says how well.
    fn fit(&mut self, corpus: CorpusBox<'_>) -> AbiResult<RVec<Figure>>;
    /// One latent per sample into `out`.
    fn encode(&self, samples: RSlice<'_, SampleView<'_>>, out: RSliceMut<'_, f32>) -> AbiResult<()>;
    /// What was learned, as bytes.
    fn save(&self) -> AbiResult<RVec<u8>>;
    /// Restores what `save` gave.
    fn load(&mut self, state: RSlice<'_, u8>) -> AbiResult<()>;
    /// Drops the author's value now, so that a panic in its `Drop` can be reported. Every later call fails.
    #[sabi(last_prefix_field)]
    fn close(&mut self) -> AbiResult<()>;
}

/// An encoder instance as the host holds it.
pub type EncoderBox = EncoderObject_TO<'static, RBox<()>>;

/// A distance instance; implemented by the plugin.
#[sabi_trait]
pub trait DistanceObject: Send + Sync {
    /// Learns from the round's latents, pair i at index i of both.
    fn fit(&mut self, golden: RSlice<'_, f32>, generated: RSlice<'_, f32>, shape: Shape) -> AbiResult<()>;
    /// `out[i]`: distance of latents i of `a` and `b`.
    fn distances(&self, a: RSlice<'_, f32>, b: RSlice<'_, f32>, shape: Shape, out: RSliceMut<'_, f32>)
    -> AbiResult<()>;
    /// What was learned, as bytes.
    fn save(&self) -> AbiResult<RVec<u8>>;
    /// Restores what `save` gave.
    fn load(&mut self, state: RSlice<'_, u8>) -> AbiResult<()>;
    /// See [`EncoderObject::close`].
    #[sabi(last_prefix_field)]
    fn close(&mut self) -> AbiResult<()>;
}

/// A distance instance as the host holds it.
pub type DistanceBox = DistanceObject_TO<'static, RBox<()>>;

/// A schedule instance; implemented by the plugin.
#[sabi_trait]
pub trait ScheduleObject: Send + Sync {
    /// Sees every distance of the round, in row order.
    fn begin_round(&mut self, distances: RSlice<'_, f32>) -> AbiResult<()>;
    /// `out[i]`: weight of the pair with `distances[i]`.
    fn weights(&self, at: StepView, distances: RSlice<'_, f32>, out: RSliceMut<'_, f32>) -> AbiResult<()>;
    /// See [`EncoderObject::close`].
    #[sabi(last_prefix_field)]
    fn close(&mut self) -> AbiResult<()>;
}

/// A schedule instance as the host holds it.
pub type ScheduleBox = ScheduleObject_TO<'static, RBox<()>>;

/// The root of a plugin library. A `kind` is `encoder`, `distance` or `schedule`; options are a JSON object.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModule_Ref)), missing_field(option))]
pub struct PluginModule {
    /// The bytes of the metadata section.
    pub descriptor_json: extern "C" fn() -> RStr<'static>,
    /// JSON schema of the options of (kind, id).
    pub options_schema: extern "C" fn(kind: RStr<'_>, id: RStr<'_>) -> AbiResult<RString>,
    /// Parses and validates options for (kind, id) without building anything.
    pub validate_options: extern "C" fn(kind: RStr<'_>, id: RStr<'_>, options: RStr<'_>) -> AbiResult<()>,
    /// Builds the encoder of an id.
    pub new_encoder: extern "C" fn(id: RStr<'_>, options: RStr<'_>, host: HostBox) -> AbiResult<EncoderBox>,
    /// Builds the distance of an id.
    pub new_distance: extern "C" fn(id: RStr<'_>, options: RStr<'_>, host: HostBox) -> AbiResult<DistanceBox>,
    /// Builds the schedule of an id.
    #[sabi(last_prefix_field)]
    pub new_schedule: extern "C" fn(id: RStr<'_>, options: RStr<'_>, host: HostBox) -> AbiResult<ScheduleBox>,
}

impl RootModule for PluginModule_Ref {
    abi_stable::declare_root_module_statics! {PluginModule_Ref}
    const BASE_NAME: &'static str = "ldalign_plugin";
    const NAME: &'static str = "ldalign_plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

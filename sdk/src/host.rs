//! What the host does for a plugin: the plugin's handle, and the trait behind it.

use crate::{Error, Sample, boundary};
use abi::abi_stable::{sabi_trait::TD_Opaque, std_types::RString};
use ldalign_abi as abi;
use std::{sync::Arc, time::Duration};

/// How important a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something is wrong but work goes on.
    Warn,
    /// Worth reading once.
    Info,
    /// For the plugin's author.
    Debug,
}

/// How token states become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Mean over the response's tokens.
    Mean,
    /// The response's last token.
    Last,
    /// Mean over prompt and response.
    MeanAll,
}

/// Facts about the policy model.
// Crosses the boundary as JSON: fields added later need a serde default.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ModelFacts {
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of hidden states.
    pub hidden_size: usize,
    /// Layers; hidden states exist for 0 (embeddings) ..= this.
    pub num_layers: usize,
    /// Longest sequence.
    pub max_positions: usize,
    /// Tokens that end a response.
    pub end_ids: Vec<u32>,
}

#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Facts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<ModelFacts>,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    call_limit: Option<u64>,
}

/// Handle to the host's services; cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Host(Arc<abi::HostBox>);

impl Host {
    /// A handle to services of one's own: what the host does, and what a plugin's unit tests do.
    pub fn new(services: impl Services + 'static) -> Self {
        Self::from_abi(serve(services))
    }
    /// A host without a model, with seed 0 and one thread, for unit tests.
    pub fn stand_in() -> Self {
        struct StandIn;
        impl Services for StandIn {}
        Self::new(StandIn)
    }
    pub(crate) fn from_abi(services: abi::HostBox) -> Self {
        Self(Arc::new(services))
    }

    /// Writes to the host's log.
    pub fn log(&self, level: Level, message: &str) {
        let level = match level {
            Level::Warn => abi::LogLevel::WARN,
            Level::Info => abi::LogLevel::INFO,
            Level::Debug => abi::LogLevel::DEBUG,
        };
        self.0.log(level, message.into());
    }
    /// Shows how far a long fit is, 0..=1.
    pub fn progress(&self, fraction: f32, note: &str) {
        self.0.progress(fraction, note.into());
    }
    /// Whether the user asked to stop: return an error soon, such as [`Error::cancelled`].
    pub fn cancelled(&self) -> bool {
        self.0.cancelled()
    }
    /// Seed for everything random in the plugin.
    pub fn seed(&self) -> u64 {
        self.0.seed()
    }
    /// Threads the plugin may use, at least 1.
    pub fn threads(&self) -> usize {
        self.0.threads().max(1) as usize
    }
    /// Facts about the policy model; an error where no model is loaded.
    pub fn model(&self) -> Result<ModelFacts, Error> {
        self.facts()?.model.ok_or_else(|| Error::unsupported("the host has no model loaded"))
    }
    /// How long a call may go on without asking the host for anything, in whole seconds; None without a limit, or where
    /// the host does not say. For a plugin that asks on behalf of a program of its own: it has to look at the time.
    pub fn call_limit(&self) -> Option<Duration> {
        self.facts().ok()?.call_limit.map(Duration::from_secs)
    }
    fn facts(&self) -> Result<Facts, Error> {
        serde_json::from_str(&self.0.facts_json())
            .map_err(|e| Error::failed(format!("the host's facts are not understood: {e}")))
    }
    /// Hidden states of the policy model after `layer` layers (0: embeddings), pooled to `hidden_size` numbers a
    /// sample, computed by the host on its device.
    ///
    /// # Errors
    /// Where no model is loaded, the layer does not exist, `out` is not `samples.len() * hidden_size` long, or a sample
    /// has no token to pool.
    pub fn hidden_states(
        &self,
        samples: &[Sample<'_>],
        layer: usize,
        pooling: Pooling,
        out: &mut [f32],
    ) -> Result<(), Error> {
        let pooling = match pooling {
            Pooling::Mean => abi::PoolingCode::MEAN,
            Pooling::Last => abi::PoolingCode::LAST,
            Pooling::MeanAll => abi::PoolingCode::MEAN_ALL,
        };
        let views: Vec<_> = samples.iter().map(boundary::view).collect();
        let done = self.0.hidden_states(views.as_slice().into(), layer as u64, pooling, out.into());
        boundary::from_abi(done)
    }
    /// Hidden states of the policy model after `layer` layers (0: embeddings) of every token: those of the first
    /// sample's prompt, its response, the second sample's prompt and so on, `hidden_size` numbers a token.
    ///
    /// # Errors
    /// Where no model is loaded, the layer does not exist, `out` is not as long as all tokens times `hidden_size`, a
    /// sample has no token, or the host is older than boundary 1.1.
    pub fn token_states(&self, samples: &[Sample<'_>], layer: usize, out: &mut [f32]) -> Result<(), Error> {
        let views: Vec<_> = samples.iter().map(boundary::view).collect();
        boundary::from_abi(self.0.token_states(views.as_slice().into(), layer as u64, out.into()))
    }
    /// How unlikely the policy model finds each response after its prompt and a soft prefix: `nll[i]` is the negative
    /// log-likelihood of all tokens of response i, in nats, where embeddings of your making stand between prompt i and
    /// it.
    ///
    /// `prefixes` are the embeddings [samples, k, `hidden_size`]; their count k follows from the length, and may be 0:
    /// the model by itself. They take the k positions after the prompt, like tokens. `gradients` is empty, or takes d
    /// `nll[i]` / d prefix i in the same shape; the model itself stays as it is. A sample's numbers do not depend on
    /// the samples beside it.
    ///
    /// # Errors
    /// Where no model is loaded, a length does not fit, a response is empty, nothing comes before it, or the host is
    /// older than boundary 1.1.
    pub fn prefix_nll(
        &self,
        samples: &[Sample<'_>],
        prefixes: &[f32],
        nll: &mut [f32],
        gradients: &mut [f32],
    ) -> Result<(), Error> {
        let views: Vec<_> = samples.iter().map(boundary::view).collect();
        boundary::from_abi(self.0.prefix_nll(views.as_slice().into(), prefixes.into(), nll.into(), gradients.into()))
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Host")
    }
}

/// What stands behind a [`Host`]. The host implements it; so can a plugin's tests, whose defaults here are a host
/// without a model.
///
/// Panics are caught and reach the plugin as errors (or, where a method returns no error, as the default's value).
pub trait Services: Send + Sync {
    /// See [`Host::log`].
    fn log(&self, level: Level, message: &str) {
        eprintln!("[{level:?}] {message}");
    }
    /// See [`Host::progress`].
    fn progress(&self, _fraction: f32, _note: &str) {}
    /// See [`Host::cancelled`].
    fn cancelled(&self) -> bool {
        false
    }
    /// See [`Host::seed`].
    fn seed(&self) -> u64 {
        0
    }
    /// See [`Host::threads`].
    fn threads(&self) -> usize {
        1
    }
    /// See [`Host::model`].
    fn model(&self) -> Option<ModelFacts> {
        None
    }
    /// See [`Host::call_limit`].
    fn call_limit(&self) -> Option<Duration> {
        None
    }
    /// See [`Host::hidden_states`].
    fn hidden_states(
        &self,
        _samples: &[Sample<'_>],
        _layer: usize,
        _pooling: Pooling,
        _out: &mut [f32],
    ) -> Result<(), Error> {
        Err(Error::unsupported("the host has no model loaded"))
    }
    /// See [`Host::token_states`].
    fn token_states(&self, _samples: &[Sample<'_>], _layer: usize, _out: &mut [f32]) -> Result<(), Error> {
        Err(Error::unsupported("the host has no model loaded"))
    }
    /// See [`Host::prefix_nll`].
    fn prefix_nll(
        &self,
        _samples: &[Sample<'_>],
        _prefixes: &[f32],
        _nll: &mut [f32],
        _gradients: &mut [f32],
    ) -> Result<(), Error> {
        Err(Error::unsupported("the host has no model loaded"))
    }
}

/// Services as the object that crosses the boundary.
pub fn serve(services: impl Services + 'static) -> abi::HostBox {
    serve_shared(Arc::new(services))
}

/// The same for services that others hold too.
pub fn serve_shared(services: Arc<dyn Services>) -> abi::HostBox {
    abi::HostServices_TO::from_value(Served(services), TD_Opaque)
}

struct Served(Arc<dyn Services>);

impl Served {
    /// For services that cannot report an error: a panic yields the default.
    fn or_default<T: Default>(&self, call: impl FnOnce(&dyn Services) -> T) -> T {
        boundary::guard(|| Ok(call(&*self.0))).unwrap_or_default()
    }
}

impl abi::HostServices for Served {
    fn log(&self, level: abi::LogLevel, message: boundary::RStr<'_>) {
        let level = match level {
            abi::LogLevel::WARN => Level::Warn,
            abi::LogLevel::INFO => Level::Info,
            _ => Level::Debug,
        };
        self.or_default(|s| s.log(level, message.as_str()));
    }
    fn progress(&self, fraction: f32, note: boundary::RStr<'_>) {
        self.or_default(|s| s.progress(fraction, note.as_str()));
    }
    fn cancelled(&self) -> bool {
        self.or_default(|s| s.cancelled())
    }
    fn seed(&self) -> u64 {
        self.or_default(|s| s.seed())
    }
    fn threads(&self) -> u64 {
        self.or_default(|s| s.threads()) as u64
    }
    fn facts_json(&self) -> RString {
        let facts = self.or_default(|s| Facts { model: s.model(), call_limit: s.call_limit().map(|t| t.as_secs()) });
        serde_json::to_string(&facts).unwrap_or_default().into()
    }
    fn hidden_states(
        &self,
        samples: boundary::RSlice<'_, abi::SampleView<'_>>,
        layer: u64,
        pooling: abi::PoolingCode,
        mut out: boundary::RSliceMut<'_, f32>,
    ) -> abi::AbiResult<()> {
        boundary::guard(|| {
            let pooling = match pooling {
                abi::PoolingCode::MEAN => Pooling::Mean,
                abi::PoolingCode::LAST => Pooling::Last,
                abi::PoolingCode::MEAN_ALL => Pooling::MeanAll,
                other => return Err(Error::unsupported(format!("this host does not know pooling {}", other.0))),
            };
            self.0.hidden_states(&boundary::samples(samples), layer as usize, pooling, out.as_mut_slice())
        })
    }
    fn token_states(
        &self,
        samples: boundary::RSlice<'_, abi::SampleView<'_>>,
        layer: u64,
        mut out: boundary::RSliceMut<'_, f32>,
    ) -> abi::AbiResult<()> {
        boundary::guard(|| self.0.token_states(&boundary::samples(samples), layer as usize, out.as_mut_slice()))
    }
    fn prefix_nll(
        &self,
        samples: boundary::RSlice<'_, abi::SampleView<'_>>,
        prefixes: boundary::RSlice<'_, f32>,
        mut nll: boundary::RSliceMut<'_, f32>,
        mut gradients: boundary::RSliceMut<'_, f32>,
    ) -> abi::AbiResult<()> {
        boundary::guard(|| {
            let samples = boundary::samples(samples);
            self.0.prefix_nll(&samples, prefixes.as_slice(), nll.as_mut_slice(), gradients.as_mut_slice())
        })
    }
}

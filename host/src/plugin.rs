//! Plugins: found, inspected, probed, loaded, and called without letting them take a run's data with them.
//!
//! A choice becomes a file ([`Finder`]), the file's bytes are hashed and read without running anything (`inspect`), a
//! child process loads it and builds what was chosen (`probe`), and only then is it loaded here (`load`). Every call
//! goes through `call`, every result through `instance`, which trusts nothing it is given back; what a plugin does that
//! ends the process, or never returns, is `exit`'s and `watchdog`'s.

mod call;
mod child;
pub mod conformance;
mod exit;
mod find;
mod instance;
mod load;
mod names;
mod paths;
mod probe;
mod question;
mod services;
mod watchdog;
mod who;
mod why_not;

pub use child::probe_main;
pub use exit::{exit, expect_exit, guard_exit};
pub use find::Finder;
pub use instance::{Distance, Encoder, Schedule};
pub use ldalign_sdk::{ModelFacts, OwnedSample, Pooling, Services};
pub use names::name_of;
pub use probe::options_schema;
pub use question::COMMAND as PROBE_COMMAND;
pub use services::{CorpusSource, NoModel, log};
pub use watchdog::{Serving, alive, call_limit};
pub use why_not::why_not;

use crate::{
    Code, Error, Result,
    config::PluginChoice,
    files::HashedPath,
    library::{self, Kind},
    share::Origin,
};
use find::Found;
use ldalign_abi::{AbiResult, HostBox, PluginModule_Ref, abi_stable::std_types::RStr};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, path::Path, sync::Arc};
use who::{Call, Who};

/// What a run used, for its manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginRecord {
    /// Kind and id.
    pub kind: Kind,
    /// The id in the library.
    pub id: String,
    /// The library's name and version.
    pub name: String,
    /// See `name`.
    pub version: String,
    /// SHA-256 of the library file.
    pub sha256: String,
    /// The options as given, their paths made absolute.
    pub options: serde_json::Value,
    /// Files and directories that options name, by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, HashedPath>,
    /// Who vouches for it.
    pub origin: Origin,
}

/// How messages name it: `distance `euclidean` of ldalign-distance-euclidean 0.1.0 (sha256 0123456789ab)`.
impl fmt::Display for PluginRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, id, name, version, sha256, .. } = self;
        write!(f, "{kind} `{id}` of {name} {version} (sha256 {:.12})", sha256)
    }
}

/// A plugin found, inspected, probed and loaded, its options validated.
pub struct Plugin {
    record: PluginRecord,
    who: Who,
    module: PluginModule_Ref,
    properties: serde_json::Map<String, serde_json::Value>,
}

impl Plugin {
    /// Inspects, probes and loads a library file; `choice` selects the id and brings the options.
    fn open(finder: &Finder, kind: Kind, found: &Found, choice: &PluginChoice) -> Result<Self> {
        let path = &found.path;
        let inspected = library::inspect(path)?;
        if found.sha256.as_ref().is_some_and(|vouched| *vouched != inspected.sha256) {
            return Err(Error::new(Code::PluginUntrusted, format!("{} was changed just now", path.display()))
                .hint("run the same command again"));
        }
        let id = inspected.metadata.choose(kind, choice).map_err(|e| e.at(path.display()))?;
        let record = PluginRecord {
            kind,
            id,
            name: inspected.metadata.name.clone(),
            version: inspected.metadata.version.clone(),
            sha256: inspected.sha256.clone(),
            options: choice.options.clone().into(),
            files: BTreeMap::new(),
            origin: found.origin.clone(),
        };
        probe::probe(finder, path, &record)?;
        exit::watch();
        watchdog::watch(finder.call_limit, finder.memory_limit);
        let mut plugin = Self::load(path, record, &finder.directory)?;
        if !choice.options.is_empty() {
            plugin.record.files = paths::hashed(&plugin.record, &plugin.options_schema()?, finder.locked)?;
        }
        plugin.properties = inspected.metadata.properties(kind, &plugin.record.id);
        Ok(plugin)
    }
    /// The part that runs plugin code: first in the probe, then here. Paths in options start at `base`.
    fn load(path: &Path, record: PluginRecord, base: &Path) -> Result<Self> {
        let who = Who::new(&record);
        let module = load::load(path, &record.sha256, who)?;
        let mut plugin = Self { record, who, module, properties: Default::default() };
        if plugin.record.options.as_object().is_some_and(|options| !options.is_empty()) {
            let schema = plugin.options_schema()?;
            paths::settle(&mut plugin.record.options, &schema, base);
        }
        Ok(plugin)
    }
    fn validate_options(&self) -> Result<()> {
        let (kind, id, options) = (self.record.kind.name(), &self.record.id, self.record.options.to_string());
        self.who
            .call(Call::Options, || {
                self.module.validate_options()(kind.into(), id.as_str().into(), options.as_str().into())
            })
            .map_err(|e| {
                let schema = self.options_schema().unwrap_or_default();
                match schema["properties"].as_object().filter(|known| !known.is_empty() && e.hint_text().is_none()) {
                    Some(known) => {
                        let names: Vec<&str> = known.keys().map(String::as_str).collect();
                        e.hint(format!("its options: {}", names.join(", ")))
                    }
                    None => e,
                }
            })
    }
    /// For the manifest.
    pub fn record(&self) -> &PluginRecord {
        &self.record
    }
    /// A property its metadata declares, such as `uses_distances`; None where its SDK did not know the property.
    pub fn property(&self, name: &str) -> Option<bool> {
        self.properties.get(name)?.as_bool()
    }
    /// JSON schema of its options.
    pub fn options_schema(&self) -> Result<serde_json::Value> {
        let schema = self.who.call(Call::Options, || {
            self.module.options_schema()(self.record.kind.name().into(), self.record.id.as_str().into())
        })?;
        serde_json::from_str(&schema).map_err(|e| {
            Error::new(Code::PluginOutput, format!("{}: its options' schema is not JSON", self.who)).caused_by(e)
        })
    }
    /// Makes an encoder.
    pub fn encoder(&self, services: Arc<dyn Services>) -> Result<Encoder> {
        Encoder::new(self.who, self.make(Kind::Encoder, services, self.module.new_encoder())?)
    }
    /// Makes a distance.
    pub fn distance(&self, services: Arc<dyn Services>) -> Result<Distance> {
        Ok(Distance::new(self.who, self.make(Kind::Distance, services, self.module.new_distance())?))
    }
    /// Makes a schedule.
    pub fn schedule(&self, services: Arc<dyn Services>) -> Result<Schedule> {
        Ok(Schedule::new(self.who, self.make(Kind::Schedule, services, self.module.new_schedule())?))
    }

    fn make<O>(&self, kind: Kind, services: Arc<dyn Services>, new: New<O>) -> Result<O> {
        assert_eq!(kind, self.record.kind, "a {} cannot be made from a {}", kind, self.record.kind);
        let host = ldalign_sdk::serve_shared(services);
        let options = self.record.options.to_string();
        self.who.call(Call::New, || new(self.record.id.as_str().into(), options.as_str().into(), host))
    }
}

type New<O> = extern "C" fn(RStr<'_>, RStr<'_>, HostBox) -> AbiResult<O>;

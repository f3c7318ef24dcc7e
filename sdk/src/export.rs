//! From a list of types to a plugin library: what [`export_plugin!`](crate::export_plugin) expands to.

use crate::{
    DistanceMetric, Encoder, Error, Host, PluginOptions, WeightSchedule,
    boundary::{Instance, RStr, RString, TD_Opaque, guard},
    metadata::{DISTANCE, ENCODER, SCHEDULE},
};
use abi::{AbiResult, DistanceBox, EncoderBox, HostBox, PluginModule, PluginModule_Ref, ScheduleBox};
use ldalign_abi as abi;

/// One thing a library provides, its type erased.
pub struct Provided<Object> {
    pub(crate) id: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) properties: &'static [(&'static str, bool)],
    schema: fn() -> String,
    validate: fn(&str) -> Result<(), Error>,
    make: fn(&str, Host) -> Result<Object, Error>,
}

impl Provided<EncoderBox> {
    /// An encoder.
    pub const fn encoder<E: Encoder>() -> Self {
        Self {
            id: E::ID,
            summary: E::SUMMARY,
            properties: &[],
            schema: schema::<E::Options>,
            validate: validate::<E::Options>,
            make: |options, host| {
                let value = E::new(parse(options)?, host)?;
                Ok(abi::EncoderObject_TO::from_value(Instance::new(value), TD_Opaque))
            },
        }
    }
}

impl Provided<DistanceBox> {
    /// A distance.
    pub const fn distance<D: DistanceMetric>() -> Self {
        Self {
            id: D::ID,
            summary: D::SUMMARY,
            properties: const {
                &[
                    ("symmetric", D::PROPERTIES.symmetric),
                    ("zero_on_equal", D::PROPERTIES.zero_on_equal),
                    ("triangle", D::PROPERTIES.triangle),
                ]
            },
            schema: schema::<D::Options>,
            validate: validate::<D::Options>,
            make: |options, host| {
                let value = D::new(parse(options)?, host)?;
                Ok(abi::DistanceObject_TO::from_value(Instance::new(value), TD_Opaque))
            },
        }
    }
}

impl Provided<ScheduleBox> {
    /// A schedule.
    pub const fn schedule<S: WeightSchedule>() -> Self {
        Self {
            id: S::ID,
            summary: S::SUMMARY,
            properties: const {
                &[("mean_one", S::MEAN_ONE), ("monotone", S::MONOTONE), ("uses_distances", S::USES_DISTANCES)]
            },
            schema: schema::<S::Options>,
            validate: validate::<S::Options>,
            make: |options, host| {
                let value = S::new(parse(options)?, host)?;
                Ok(abi::ScheduleObject_TO::from_value(Instance::new(value), TD_Opaque))
            },
        }
    }
}

/// What one library provides; implemented by the macro.
pub trait Library: 'static {
    /// Its encoders.
    const ENCODERS: &'static [Provided<EncoderBox>];
    /// Its distances.
    const DISTANCES: &'static [Provided<DistanceBox>];
    /// Its schedules.
    const SCHEDULES: &'static [Provided<ScheduleBox>];
    /// The metadata section.
    fn metadata() -> &'static [u8];
}

fn schema<O: PluginOptions>() -> String {
    schemars::schema_for!(O).to_value().to_string()
}

/// Options from JSON. serde's message names the key; where it is in a one-line document says nothing.
fn parse<O: PluginOptions>(json: &str) -> Result<O, Error> {
    let options: O = serde_json::from_str(json).map_err(|e| {
        let text = e.to_string();
        Error::options(text.split(" at line ").next().unwrap_or(&text))
    })?;
    options.validate()?;
    Ok(options)
}

fn validate<O: PluginOptions>(json: &str) -> Result<(), Error> {
    parse::<O>(json).map(drop)
}

fn find<Object>(all: &'static [Provided<Object>], id: &str) -> Result<&'static Provided<Object>, Error> {
    all.iter().find(|p| p.id == id).ok_or_else(|| Error::unsupported(format!("nothing here is called `{id}`")))
}

/// Calls `$use` with the entry of (kind, id), whose type differs by kind.
macro_rules! with_entry {
    ($library:ty, $kind:expr, $id:expr, |$entry:ident| $use:expr) => {
        match $kind.as_str() {
            ENCODER => find(<$library>::ENCODERS, $id.as_str()).and_then(|$entry| $use),
            DISTANCE => find(<$library>::DISTANCES, $id.as_str()).and_then(|$entry| $use),
            SCHEDULE => find(<$library>::SCHEDULES, $id.as_str()).and_then(|$entry| $use),
            kind => Err(Error::unsupported(format!("this plugin knows no kind `{kind}`"))),
        }
    };
}

extern "C" fn descriptor_json<L: Library>() -> RStr<'static> {
    std::str::from_utf8(L::metadata()).unwrap_or_default().into()
}

extern "C" fn options_schema<L: Library>(kind: RStr<'_>, id: RStr<'_>) -> AbiResult<RString> {
    guard(|| with_entry!(L, kind, id, |entry| Ok((entry.schema)().into())))
}

extern "C" fn validate_options<L: Library>(kind: RStr<'_>, id: RStr<'_>, options: RStr<'_>) -> AbiResult<()> {
    guard(|| with_entry!(L, kind, id, |entry| (entry.validate)(options.as_str())))
}

extern "C" fn new_encoder<L: Library>(id: RStr<'_>, options: RStr<'_>, host: HostBox) -> AbiResult<EncoderBox> {
    guard(|| (find(L::ENCODERS, id.as_str())?.make)(options.as_str(), Host::from_abi(host)))
}

extern "C" fn new_distance<L: Library>(id: RStr<'_>, options: RStr<'_>, host: HostBox) -> AbiResult<DistanceBox> {
    guard(|| (find(L::DISTANCES, id.as_str())?.make)(options.as_str(), Host::from_abi(host)))
}

extern "C" fn new_schedule<L: Library>(id: RStr<'_>, options: RStr<'_>, host: HostBox) -> AbiResult<ScheduleBox> {
    guard(|| (find(L::SCHEDULES, id.as_str())?.make)(options.as_str(), Host::from_abi(host)))
}

/// The root module of a library.
pub fn module<L: Library>() -> PluginModule_Ref {
    use abi::abi_stable::prefix_type::PrefixTypeTrait;
    PluginModule {
        descriptor_json: descriptor_json::<L>,
        options_schema: options_schema::<L>,
        validate_options: validate_options::<L>,
        new_encoder: new_encoder::<L>,
        new_distance: new_distance::<L>,
        new_schedule: new_schedule::<L>,
    }
    .leak_into_prefix()
}

/// Makes a library a plugin: `export_plugin! { distances: [Euclidean] }`.
///
/// Lists under `encoders`, `distances` and `schedules` (any of them, in this order) name the types that implement
/// [`Encoder`], [`DistanceMetric`] and [`WeightSchedule`]. Use it once, in a crate of type `cdylib`. Ids must be unique
/// within their kind and consist of `a-z`, `0-9` and `-`; that is checked when compiling.
#[macro_export]
macro_rules! export_plugin {
    (
        $(encoders: [$($encoder:ty),* $(,)?] $(,)?)?
        $(distances: [$($distance:ty),* $(,)?] $(,)?)?
        $(schedules: [$($schedule:ty),* $(,)?] $(,)?)?
    ) => {
        const _: () = {
            use $crate::export::{Library, Provided};
            use $crate::abi::{DistanceBox, EncoderBox, PluginModule_Ref, ScheduleBox, abi_stable::library as root};

            const JSON: $crate::metadata::Json = $crate::metadata::describe::<Exported>(
                env!("CARGO_PKG_NAME"),
                env!("CARGO_PKG_VERSION"),
                env!("CARGO_PKG_LICENSE"),
            );
            #[used]
            #[unsafe(link_section = ".ldalign")]
            static METADATA: [u8; JSON.len()] = JSON.bytes();

            struct Exported;
            impl Library for Exported {
                const ENCODERS: &'static [Provided<EncoderBox>] = &[$($(Provided::encoder::<$encoder>()),*)?];
                const DISTANCES: &'static [Provided<DistanceBox>] = &[$($(Provided::distance::<$distance>()),*)?];
                const SCHEDULES: &'static [Provided<ScheduleBox>] = &[$($(Provided::schedule::<$schedule>()),*)?];
                fn metadata() -> &'static [u8] {
                    &METADATA
                }
            }

            extern "C" fn load() -> root::RootModuleResult {
                root::__call_root_module_loader($crate::export::module::<Exported>)
            }
            // SAFETY (of the name): it is abi_stable's for root modules and carries no other meaning.
            // SAFETY: `load` returns a `PluginModule_Ref`, the type given here.
            #[unsafe(no_mangle)]
            #[allow(non_upper_case_globals)]
            pub static _1as_0lib_1header_0root_bmodule_bloader: root::LibHeader = unsafe {
                root::LibHeader::from_constructor::<PluginModule_Ref>(load, root::CheckTypeLayout::Yes)
            };
        };
    };
}

//! The types of sdk/c/include/ldalign.h, which has the meaning of each field.

use std::ffi::{c_char, c_int, c_void};

/// `ldalign_error`.
#[repr(C)]
pub struct Message {
    pub text: *mut c_char,
    pub room: u64,
}

/// `ldalign_sample`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Sample {
    pub prompt: *const c_char,
    pub prompt_bytes: u64,
    pub response: *const c_char,
    pub response_bytes: u64,
    pub prompt_ids: *const u32,
    pub prompt_tokens: u64,
    pub response_ids: *const u32,
    pub response_tokens: u64,
}

/// `ldalign_shape`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Shape {
    pub slots: u64,
    pub dim: u64,
}

/// `ldalign_step`.
#[repr(C)]
pub struct Step {
    pub round: u64,
    pub rounds: u64,
    pub step: u64,
    pub total_steps: u64,
    pub progress: f32,
}

/// `ldalign_host`.
#[repr(C)]
pub struct Host {
    pub size: u64,
    pub context: *const c_void,
    pub seed: u64,
    pub threads: u64,
    pub hidden_size: u64,
    pub num_layers: u64,
    pub vocab_size: u64,
    pub number: extern "C" fn(*const Host, *const c_char, *mut f64) -> c_int,
    pub text: extern "C" fn(*const Host, *const c_char, *mut *const c_char) -> c_int,
    pub log: extern "C" fn(*const Host, c_int, *const c_char),
    pub progress: extern "C" fn(*const Host, f32, *const c_char),
    pub cancelled: extern "C" fn(*const Host) -> c_int,
    pub hidden_states: extern "C" fn(*const Host, *const Sample, u64, u64, c_int, *mut f32, *const Message) -> c_int,
    pub token_states: extern "C" fn(*const Host, *const Sample, u64, u64, *mut f32, *const Message) -> c_int,
    pub prefix_nll:
        extern "C" fn(*const Host, *const Sample, u64, *const f32, u64, *mut f32, *mut f32, *const Message) -> c_int,
}

/// `ldalign_corpus`.
#[repr(C)]
pub struct Corpus {
    pub context: *const c_void,
    pub length: u64,
    pub read: extern "C" fn(*const Corpus, *const u64, u64, *mut Sample, *const Message) -> c_int,
    pub figure: extern "C" fn(*const Corpus, *const c_char, f64),
}

pub type Create = unsafe extern "C" fn(*const Host, *mut c_int, *const Message) -> *mut c_void;
pub type Destroy = unsafe extern "C" fn(*mut c_void);
pub type Save = unsafe extern "C" fn(*const c_void, *mut u8, u64, *mut u64, *const Message) -> c_int;
pub type Load = unsafe extern "C" fn(*mut c_void, *const u8, u64, *const Message) -> c_int;

/// What the three tables have in common.
pub trait Table: Sync + 'static {
    /// Its kind, and the function that gives it.
    const NAMES: (&'static str, &'static str);
    /// A required field that is NULL.
    fn missing(&self) -> Option<&'static str>;
    fn create(&self) -> Option<Create>;
    fn destroy(&self) -> Option<Destroy>;
}

macro_rules! table {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $symbol:literal, needs: [$($need:ident),*], $($field:ident: $type:ty),* $(,)?) => {
        $(#[$doc])*
        #[repr(C)]
        pub struct $name {
            pub size: u64,
            pub create: Option<Create>,
            $(pub $field: Option<$type>,)*
            pub destroy: Option<Destroy>,
        }

        impl Table for $name {
            const NAMES: (&'static str, &'static str) = ($kind, $symbol);

            fn missing(&self) -> Option<&'static str> {
                let needed = [
                    ("create", self.create.is_some()),
                    ("destroy", self.destroy.is_some()),
                    $((stringify!($need), self.$need.is_some()),)*
                ];
                needed.into_iter().find(|(_, there)| !there).map(|(name, _)| name)
            }
            fn create(&self) -> Option<Create> {
                self.create
            }
            fn destroy(&self) -> Option<Destroy> {
                self.destroy
            }
        }
    };
}

table! {
    /// `ldalign_encoder`.
    Encoder, "encoder", "ldalign_encoder_1", needs: [shape, encode],
    shape: unsafe extern "C" fn(*const c_void) -> Shape,
    fit: unsafe extern "C" fn(*mut c_void, *const Corpus, *const Message) -> c_int,
    encode: unsafe extern "C" fn(*const c_void, *const Sample, u64, *mut f32, *const Message) -> c_int,
    save: Save,
    load: Load,
}

table! {
    /// `ldalign_distance`.
    Distance, "distance", "ldalign_distance_1", needs: [distances],
    fit: unsafe extern "C" fn(*mut c_void, *const f32, *const f32, u64, Shape, *const Message) -> c_int,
    distances:
        unsafe extern "C" fn(*const c_void, *const f32, *const f32, u64, Shape, *mut f32, *const Message) -> c_int,
    save: Save,
    load: Load,
}

table! {
    /// `ldalign_schedule`.
    Schedule, "schedule", "ldalign_schedule_1", needs: [weights],
    begin_round: unsafe extern "C" fn(*mut c_void, *const f32, u64, *const Message) -> c_int,
    weights: unsafe extern "C" fn(*const c_void, *const Step, *const f32, u64, *mut f32, *const Message) -> c_int,
}

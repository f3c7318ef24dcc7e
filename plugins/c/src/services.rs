//! The host's services, and a corpus, as functions that C can call. What C hands over is read as the header says it is.

use crate::table::{Corpus, Host, Message, Sample};
use ldalign_sdk::{self as sdk, Error, Level, OwnedSample, Pooling, abi::ErrorCode};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{CStr, CString, c_char, c_int, c_void},
    slice,
    sync::{Mutex, PoisonError},
};

/// An argument of the config. Texts end with a 0.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(untagged, expecting = "a number or a text")]
pub enum Argument {
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
}

const NUMBER: &str = "number";
const TEXT: &str = "text";

/// What is behind the pointer of a [`Host`].
pub struct Context {
    host: sdk::Host,
    numbers: BTreeMap<String, f64>,
    texts: BTreeMap<String, CString>,
    /// The names that were asked for, each as a number or as a text.
    asked: Mutex<BTreeSet<(String, &'static str)>>,
}

impl Context {
    /// Services and arguments.
    pub fn new(host: sdk::Host, args: BTreeMap<String, Argument>) -> Result<Self, Error> {
        let (mut numbers, mut texts) = (BTreeMap::new(), BTreeMap::new());
        for (name, value) in args {
            match value {
                Argument::Number(number) => drop(numbers.insert(name, number)),
                Argument::Text(text) => {
                    let text = CString::new(text).map_err(|_| Error::options(format!("args: {name} holds a NUL")))?;
                    texts.insert(name, text);
                }
            }
        }
        Ok(Self { host, numbers, texts, asked: Mutex::default() })
    }

    /// The table that C gets, which points to this.
    pub fn table(&self) -> Host {
        let model = self.host.model().ok();
        let size = |of: fn(&sdk::ModelFacts) -> usize| model.as_ref().map_or(0, of) as u64;
        Host {
            size: size_of::<Host>() as u64,
            context: std::ptr::from_ref(self).cast(),
            seed: self.host.seed(),
            threads: self.host.threads() as u64,
            hidden_size: size(|m| m.hidden_size),
            num_layers: size(|m| m.num_layers),
            vocab_size: size(|m| m.vocab_size),
            number,
            text,
            log,
            progress,
            cancelled,
            hidden_states,
            token_states,
            prefix_nll,
        }
    }

    /// Arguments that are given and were not asked for, in words.
    pub fn unknown(&self) -> Option<String> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let given = self.numbers.keys().map(|name| (name, NUMBER)).chain(self.texts.keys().map(|name| (name, TEXT)));
        let (name, what) = given.into_iter().find(|(name, what)| !asked.contains(&((*name).clone(), what)))?;
        let known: Vec<String> = asked.iter().map(|(name, what)| format!("the {what} `{name}`")).collect();
        let known = if known.is_empty() { "nothing".into() } else { known.join(", ") };
        Some(format!("args: the library asks for {known}, and not for the {what} `{name}`"))
    }

    fn ask(&self, name: &str, what: &'static str) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert((name.to_owned(), what));
    }
}

/// The context of a table.
fn of<'a>(host: *const Host) -> &'a Context {
    // SAFETY: C hands back the table that it was given, whose context lives as long as the object.
    unsafe { &*(*host).context.cast::<Context>() }
}

/// A text of C; empty where it is NULL.
fn words<'a>(text: *const c_char) -> std::borrow::Cow<'a, str> {
    if text.is_null() {
        return "".into();
    }
    // SAFETY: the header asks for a final 0.
    unsafe { CStr::from_ptr(text) }.to_string_lossy()
}

/// Numbers of C; none where there are none, whatever the pointer.
fn many<'a, T>(first: *const T, n: u64) -> &'a [T] {
    match first.is_null() || n == 0 {
        true => &[],
        // SAFETY: the header asks for as many as it says, valid during the call.
        false => unsafe { slice::from_raw_parts(first, n as usize) },
    }
}

/// The same to write to.
fn many_mut<'a, T>(first: *mut T, n: u64) -> &'a mut [T] {
    match first.is_null() || n == 0 {
        true => &mut [],
        // SAFETY: the header asks for as many as it says, valid during the call and used by nobody else meanwhile.
        false => unsafe { slice::from_raw_parts_mut(first, n as usize) },
    }
}

fn samples<'a>(first: *const Sample, n: u64) -> Result<Vec<sdk::Sample<'a>>, Error> {
    let text = |first: *const c_char, n: u64| {
        std::str::from_utf8(many(first.cast::<u8>(), n)).map_err(|_| Error::input("a text of a sample is not UTF-8"))
    };
    let sample = |s: &Sample| {
        Ok(sdk::Sample {
            prompt: text(s.prompt, s.prompt_bytes)?,
            response: text(s.response, s.response_bytes)?,
            prompt_ids: many(s.prompt_ids, s.prompt_tokens),
            response_ids: many(s.response_ids, s.response_tokens),
        })
    };
    many(first, n).iter().map(sample).collect()
}

/// A sample as C sees it.
pub fn lent(s: &sdk::Sample<'_>) -> Sample {
    Sample {
        prompt: s.prompt.as_ptr().cast(),
        prompt_bytes: s.prompt.len() as u64,
        response: s.response.as_ptr().cast(),
        response_bytes: s.response.len() as u64,
        prompt_ids: s.prompt_ids.as_ptr(),
        prompt_tokens: s.prompt_ids.len() as u64,
        response_ids: s.response_ids.as_ptr(),
        response_tokens: s.response_ids.len() as u64,
    }
}

/// What a function returns, and which kind of error it is.
const CODES: [(c_int, ErrorCode); 4] =
    [(1, ErrorCode::FAILED), (2, ErrorCode::INPUT), (3, ErrorCode::STATE), (4, ErrorCode::UNSUPPORTED)];

/// The kind of error of a number that C returned; a failure for any that is not known.
pub fn code_of(returned: c_int) -> ErrorCode {
    CODES.iter().find(|(number, _)| *number == returned).map_or(ErrorCode::FAILED, |(_, code)| *code)
}

/// An outcome as C gets it, the message written where there is room.
fn told(outcome: Result<(), Error>, message: *const Message) -> c_int {
    let Err(e) = outcome else { return 0 };
    // SAFETY: NULL or the message that the library was given, or one of its own of the same type.
    if let Some(message) = unsafe { message.as_ref() } {
        let room = many_mut(message.text.cast::<u8>(), message.room);
        let n = e.message().floor_char_boundary(room.len().saturating_sub(1));
        if let Some((text, rest)) = room.split_at_mut_checked(n) {
            text.copy_from_slice(&e.message().as_bytes()[..n]);
            rest.iter_mut().take(1).for_each(|end| *end = 0);
        }
    }
    CODES.iter().find(|(_, code)| *code == e.code()).map_or(1, |(number, _)| *number)
}

extern "C" fn number(host: *const Host, name: *const c_char, value: *mut f64) -> c_int {
    let (context, name) = (of(host), words(name));
    context.ask(&name, NUMBER);
    context.numbers.get(&*name).map_or(0, |number| {
        many_mut(value, 1).fill(*number);
        1
    })
}

extern "C" fn text(host: *const Host, name: *const c_char, value: *mut *const c_char) -> c_int {
    let (context, name) = (of(host), words(name));
    context.ask(&name, TEXT);
    context.texts.get(&*name).map_or(0, |text| {
        many_mut(value, 1).fill(text.as_ptr());
        1
    })
}

extern "C" fn log(host: *const Host, level: c_int, message: *const c_char) {
    let level = match level {
        1 => Level::Warn,
        2 => Level::Info,
        _ => Level::Debug,
    };
    of(host).host.log(level, &words(message));
}

extern "C" fn progress(host: *const Host, fraction: f32, note: *const c_char) {
    of(host).host.progress(fraction, &words(note));
}

extern "C" fn cancelled(host: *const Host) -> c_int {
    c_int::from(of(host).host.cancelled())
}

extern "C" fn hidden_states(
    host: *const Host,
    first: *const Sample,
    n: u64,
    layer: u64,
    pooling: c_int,
    out: *mut f32,
    message: *const Message,
) -> c_int {
    let host = &of(host).host;
    let states = || {
        let pooling = match pooling {
            1 => Pooling::Mean,
            2 => Pooling::Last,
            3 => Pooling::MeanAll,
            _ => return Err(Error::input(format!("there is no pooling {pooling}"))),
        };
        let out = many_mut(out, n * host.model()?.hidden_size as u64);
        host.hidden_states(&samples(first, n)?, layer as usize, pooling, out)
    };
    told(states(), message)
}

extern "C" fn token_states(
    host: *const Host,
    first: *const Sample,
    n: u64,
    layer: u64,
    out: *mut f32,
    message: *const Message,
) -> c_int {
    let host = &of(host).host;
    let states = || {
        let samples = samples(first, n)?;
        let tokens = samples.iter().map(|s| s.prompt_ids.len() + s.response_ids.len()).sum::<usize>();
        host.token_states(&samples, layer as usize, many_mut(out, (tokens * host.model()?.hidden_size) as u64))
    };
    told(states(), message)
}

#[allow(clippy::too_many_arguments)] // the header's
extern "C" fn prefix_nll(
    host: *const Host,
    first: *const Sample,
    n: u64,
    prefixes: *const f32,
    k: u64,
    nll: *mut f32,
    gradients: *mut f32,
    message: *const Message,
) -> c_int {
    let host = &of(host).host;
    let likelihoods = || {
        let all = n * k * host.model()?.hidden_size as u64;
        let (prefixes, nll, gradients) = (many(prefixes, all), many_mut(nll, n), many_mut(gradients, all));
        host.prefix_nll(&samples(first, n)?, prefixes, nll, gradients)
    };
    told(likelihoods(), message)
}

/// What is behind the pointer of a [`Corpus`].
pub struct Reading<'a, 'b> {
    corpus: &'a sdk::Corpus<'b>,
    /// What the last read gave, and the figures.
    held: Mutex<(Vec<OwnedSample>, sdk::FitReport)>,
}

impl<'a, 'b> Reading<'a, 'b> {
    /// A corpus to be read by C.
    pub fn new(corpus: &'a sdk::Corpus<'b>) -> Self {
        Self { corpus, held: Mutex::default() }
    }
    /// The table that C gets, which points to this.
    pub fn table(&self) -> Corpus {
        Corpus { context: std::ptr::from_ref(self).cast::<c_void>(), length: self.corpus.len() as u64, read, figure }
    }
    /// The figures that were given.
    pub fn report(self) -> sdk::FitReport {
        self.held.into_inner().unwrap_or_else(PoisonError::into_inner).1
    }
}

/// The reading of a table.
fn reading<'a>(corpus: *const Corpus) -> &'a Reading<'a, 'a> {
    // SAFETY: C hands back the table that it was given, whose context lives as long as the call.
    unsafe { &*(*corpus).context.cast::<Reading<'a, 'a>>() }
}

extern "C" fn read(
    corpus: *const Corpus,
    indices: *const u64,
    n: u64,
    out: *mut Sample,
    message: *const Message,
) -> c_int {
    let reading = reading(corpus);
    let read = || {
        let indices: Vec<usize> = many(indices, n).iter().map(|i| *i as usize).collect();
        let mut held = reading.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.0 = reading.corpus.read(&indices)?;
        let lend = |(out, sample): (&mut Sample, &OwnedSample)| *out = lent(&sample.as_sample());
        many_mut(out, n).iter_mut().zip(&held.0).for_each(lend);
        Ok(())
    };
    told(read(), message)
}

extern "C" fn figure(corpus: *const Corpus, name: *const c_char, value: f64) {
    let mut held = reading(corpus).held.lock().unwrap_or_else(PoisonError::into_inner);
    held.1.push((words(name).into_owned(), value));
}

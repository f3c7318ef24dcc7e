//! A script at work: its process, the calls that it answers, and what it asks of the host meanwhile.

use crate::{
    child::{Child, Fault},
    frame::{Array, Frame, PROTOCOL, Received, frame, samples_from, samples_to},
    options::Options,
    services,
};
use ldalign_sdk::{Corpus, Error, Host, Sample};
use serde_json::{Value, json};
use std::{
    path::Path,
    process::Command,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Our side in Python.
const RUNNER: &str = include_str!("runner.py");

/// Time that a script has to be built at least, whatever a call has: it imports what it needs, on a busy machine too.
const TO_BUILD: Duration = Duration::from_secs(60);

/// An instance of a script's class, in a process of its own.
pub struct Script {
    /// How messages name the script: its file name.
    name: String,
    class: String,
    host: Host,
    limit: Option<Duration>,
    /// What the class can do beyond what its kind must.
    methods: Vec<String>,
    /// The first answer.
    built: Value,
    /// None once the process has ended.
    child: Mutex<Option<Child>>,
}

impl Script {
    /// Starts the script and has its class, by default of the name `class`, built.
    pub fn start(kind: &str, class: &str, options: Options, host: Host) -> Result<Self, Error> {
        let absolute = |path: &Path| std::path::absolute(path).map_err(|e| Error::options(format!("script: {e}")));
        let script = absolute(&options.script)?;
        let files = options.files.iter().map(|file| absolute(file)).collect::<Result<Vec<_>, _>>()?;
        let program = options.command.as_ref().and_then(|words| words.first().map(String::as_str));
        let program = match (&options.command, program) {
            (Some(_), Some(program)) => Some(program),
            (Some(_), None) => script.to_str(),
            (None, _) => Some(options.interpreter.as_deref().unwrap_or("python3")),
        };
        let program = program.ok_or_else(|| Error::options("script: a program's path must be UTF-8"))?;
        let mut command = Command::new(program);
        match &options.command {
            Some(words) => {
                command.args(words.iter().skip(1));
                command.args((!words.is_empty()).then_some(&script));
            }
            // -u: what it prints is seen at once. -B: nothing is written beside the script. Sets in one order each
            // time.
            None => drop(command.args(["-u", "-B", "-c", RUNNER]).arg(&script).env("PYTHONHASHSEED", "0")),
        }
        command.current_dir(script.parent().unwrap_or(Path::new("/")));
        let child = Child::start(command, host.clone()).map_err(|e| {
            Error::options(format!("`{program}` cannot be started: {e}; `interpreter` or `command` says what runs it"))
        })?;
        let name = script.file_name().unwrap_or(script.as_os_str()).to_string_lossy().into_owned();
        let class = options.class.unwrap_or_else(|| class.into());
        let limit = options.timeout.map(Duration::from_secs).or_else(|| host.call_limit());
        let (methods, built) = (Vec::new(), Value::Null);
        let mut this = Self { name, class, host, limit, methods, built, child: Mutex::new(Some(child)) };
        let model = match this.host.model() {
            Ok(model) => serde_json::to_value(model).map_err(|e| Error::failed(e.to_string()))?,
            Err(_) => Value::Null,
        };
        let hello = json!({
            "protocol": PROTOCOL, "kind": kind, "class": this.class, "args": options.args, "files": files,
            "host": { "seed": this.host.seed(), "threads": this.host.threads(), "model": model },
        });
        let mut answer = this.exchange("new", hello, &[], None)?;
        if answer.head["protocol"] != PROTOCOL {
            let theirs = &answer.head["protocol"];
            return Err(this.fault("new", &format!("answered by protocol {theirs}, and this program has {PROTOCOL}")));
        }
        let methods = answer.head["methods"].as_array().into_iter().flatten();
        this.methods = methods.filter_map(|name| name.as_str().map(str::to_owned)).collect();
        this.built = answer.head.take();
        Ok(this)
    }

    /// What the class said of itself when it was built.
    pub fn built(&self, key: &str) -> &Value {
        &self.built[key]
    }

    /// A method that a class need not have: None where this one has not.
    pub fn if_it_can(
        &self,
        method: &str,
        head: Value,
        arrays: &[Array<'_>],
        corpus: Option<&Corpus<'_>>,
    ) -> Result<Option<Frame>, Error> {
        match self.methods.iter().any(|name| name == method) {
            true => self.call(method, head, arrays, corpus).map(Some),
            false => Ok(None),
        }
    }

    /// A call and its answer.
    pub fn call(
        &self,
        method: &str,
        mut head: Value,
        arrays: &[Array<'_>],
        corpus: Option<&Corpus<'_>>,
    ) -> Result<Frame, Error> {
        head["call"] = method.into();
        self.exchange(method, head, arrays, corpus)
    }

    /// A call with samples.
    pub fn call_on(&self, method: &str, samples: &[Sample<'_>]) -> Result<Frame, Error> {
        let (about, ids) = samples_to(samples);
        self.call(method, json!({ "samples": about }), &[Array::U32(&ids)], None)
    }

    /// What the instance has learned; empty where the class does not say.
    pub fn save(&self) -> Result<Vec<u8>, Error> {
        let answer = self.if_it_can("save", json!({}), &[], None)?;
        answer.map_or(Ok(Vec::new()), |mut answer| {
            let none = || self.fault("save", "answered without bytes");
            answer.arrays.pop().map(|state| state.bytes).ok_or_else(none)
        })
    }

    /// Hands it what was saved.
    pub fn load(&self, state: &[u8]) -> Result<(), Error> {
        if self.if_it_can("load", json!({}), &[Array::U8(state)], None)?.is_none() && !state.is_empty() {
            let why = format!("{}: {} has no method load, and there is a state to restore", self.name, self.class);
            return Err(Error::state(why));
        }
        Ok(())
    }

    /// The numbers that a method returned, if they have one of these shapes and are `good`.
    pub fn numbers(
        &self,
        method: &str,
        answer: &Frame,
        shapes: &[&[usize]],
        good: fn(f32) -> bool,
        place: impl FnOnce(usize) -> String,
        out: &mut [f32],
    ) -> Result<(), Error> {
        let array: &Received = answer.array(0).map_err(|e| self.fault(method, e.message()))?;
        if !shapes.contains(&array.shape.as_slice()) {
            let what = format!("returned an array of shape {:?}, not {:?}", array.shape, shapes[0]);
            return Err(self.fault(method, &what));
        }
        let numbers = array.f32s().map_err(|e| self.fault(method, e.message()))?;
        if let Some(i) = numbers.iter().position(|x| !good(*x)) {
            return Err(self.fault(method, &format!("returned {} for {}", numbers[i], place(i))));
        }
        out.copy_from_slice(&numbers);
        Ok(())
    }

    fn fault(&self, method: &str, what: &str) -> Error {
        Error::failed(format!("{}: {}.{method} {what}", self.name, self.class))
    }

    fn exchange(
        &self,
        method: &str,
        head: Value,
        arrays: &[Array<'_>],
        corpus: Option<&Corpus<'_>>,
    ) -> Result<Frame, Error> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = child.as_mut() else {
            return Err(self.fault(method, "is not called: its process has ended before"));
        };
        let limit = if method == "new" { self.limit.map(|limit| limit.max(TO_BUILD)) } else { self.limit };
        let mut to_send = frame(head, arrays);
        loop {
            let come = match running.exchange(&to_send, limit) {
                Ok(come) => come,
                Err(fault) => {
                    if !matches!(fault, Fault::Ended(_)) {
                        running.kill();
                    }
                    *child = None;
                    return Err(match fault {
                        Fault::Ended(how) => self.fault(method, &format!("did not return: its process {how}")),
                        Fault::Quiet(limit) => self.fault(
                            method,
                            &format!("has neither returned nor asked anything for {} s", limit.as_secs()),
                        ),
                        Fault::Other(e) if e.code() == ldalign_sdk::abi::ErrorCode::CANCELLED => e,
                        Fault::Other(e) => self.fault(method, e.message()),
                    });
                }
            };
            if come.head["service"].is_string() {
                to_send = services::serve(&self.host, corpus, &come);
                continue;
            }
            return match come.head["error"].as_str() {
                None if come.head["ok"] == true => Ok(come),
                None => Err(self.fault(method, &format!("was answered by {}, without ok or error", come.head))),
                Some(error) => {
                    let code = services::code_of(come.head["code"].as_str().unwrap_or_default());
                    // A traceback names the file, and what is told without one does not.
                    let error = match error.starts_with(&self.name) {
                        true => error.to_owned(),
                        false => format!("{}: {error}", self.name),
                    };
                    Err(Error::with_code(code, error))
                }
            };
        }
    }
}

/// Samples of a frame, borrowed.
pub fn with_samples<T>(come: &Frame, run: impl FnOnce(&[Sample<'_>]) -> Result<T, Error>) -> Result<T, Error> {
    let owned = samples_from(come)?;
    let samples: Vec<Sample<'_>> = owned.iter().map(ldalign_sdk::OwnedSample::as_sample).collect();
    run(&samples)
}

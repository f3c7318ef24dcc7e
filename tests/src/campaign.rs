//! Commands that something goes wrong with, over and over: small ones of every kind, each in a directory of its own,
//! and whether they end in the bytes of one that was left alone.
//!
//! The variable `LDALIGN_FAULTS` says how many cases of a command are tried, `all` or a number; without it a test tries
//! the few that it names. `LDALIGN_SEED` chooses others.

mod shared;

pub use shared::Shared;

use crate::{
    host_binary, outside,
    random::{self, Random},
    runs, workspace_root,
};
use ldalign::files;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| outside::build(&workspace_root().join("tests/shim"), "dev"))
}

/// How many cases are tried, where a test wants so many by itself; None for all.
pub fn some(few: usize) -> Option<usize> {
    match std::env::var("LDALIGN_FAULTS").as_deref() {
        Err(_) => Some(few),
        Ok("all") => None,
        Ok(number) => Some(number.parse().expect("LDALIGN_FAULTS is `all` or a number")),
    }
}

/// So many of all cases as [`some`] says, in their order.
pub fn chosen<T>(all: Vec<T>, few: usize) -> Vec<T> {
    let Some(some) = some(few) else { return all };
    let (mut random, mut places) = (Random::new(random::seed()), BTreeSet::new());
    while places.len() < some.min(all.len()) {
        places.insert(random.below(all.len()));
    }
    all.into_iter().enumerate().filter(|(place, _)| places.contains(place)).map(|(_, case)| case).collect()
}

/// What goes wrong with a command's files below its directory.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// In a mode of the shim, at the n-th operation.
    At(&'static str, usize),
    /// The disk is full after so many bytes.
    Full(u64),
}

/// A command and the directory that it writes in.
pub struct Scene {
    dir: tempfile::TempDir,
    args: Vec<String>,
    /// Where its files lie, absolute, as the shim knows it.
    output: PathBuf,
    /// Where it runs, with the user's home in it.
    at: PathBuf,
    /// What lies in `output` before it, if anything does.
    before: Option<PathBuf>,
}

/// A command that was left alone.
pub struct Whole {
    /// Its file operations, in order.
    pub operations: Vec<String>,
    /// SHA-256 of the files that it ends in.
    pub bytes: BTreeMap<PathBuf, String>,
}

impl Scene {
    /// `ldalign run` of two rounds.
    pub fn run() -> Self {
        Self::small(&["run", "config.yaml"], "run")
    }

    /// `ldalign sft`.
    pub fn sft() -> Self {
        Self::small(&["sft", "config.yaml"], "run")
    }

    /// `ldalign compare` of two arms.
    pub fn compare() -> Self {
        Self::small(&["compare", "compare.yaml"], "run")
    }

    /// `ldalign validate`.
    pub fn validate() -> Self {
        Self::small(&["validate", "config.yaml", "--output", "OUTPUT"], "found")
    }

    /// `ldalign eval` of multiple choice and of MT-Bench.
    pub fn eval() -> Self {
        let args = ["eval", "--model", "MODEL", "--choices", "q.jsonl", "--mt-bench", "mt.jsonl"];
        Self::small(&[&args[..], &["--max-new-tokens", "4", "--out", "OUTPUT"]].concat(), "out")
    }

    /// A command on the tiny model; MODEL and OUTPUT in its arguments are places.
    fn small(args: &[&str], output: &str) -> Self {
        let (dir, example) =
            (tempfile::tempdir().expect("a temporary directory"), workspace_root().join("examples/clean-golden"));
        let at = dir.path().to_owned();
        let more = format!(
            "rounds: 2\ngenerate: {{ samples: 1, max_new_tokens: 4, batch_size: 4 }}\n\
             train: {{ learning_rate: 1.0e-3, per_device_train_batch_size: 4, gradient_accumulation_steps: 1, max_steps: 3, save_steps: 1 }}\n\
             eval: {{ data: {{ path: {}, max_rows: 2, max_length: 96 }} }}\n\
             validate: {{ data: {{ path: annotated.jsonl, max_length: 96 }} }}",
            example.join("test.jsonl").display()
        );
        let config = runs::config(&at, &more);
        let text = fs::read_to_string(config).expect("the config was just written");
        let question = |q: &str| format!("{{\"question\": \"{q}\", \"choices\": [\"a\", \"b\"], \"answer\": 0}}\n");
        for (name, text) in [
            ("config.yaml", text.replace("max_rows: 24", "max_rows: 6")),
            (
                "annotated.jsonl",
                r#"{"prompt": "Reverse loper.", "golden": "repol", "better": "repol", "worse": "loper"}"#.to_owned() + "\n",
            ),
            ("q.jsonl", ["x", "y", "z"].map(question).concat()),
            (
                "mt.jsonl",
                r#"{"question_id": 81, "category": "writing", "turns": ["Reverse loper.", "Twice."]}"#.to_owned() + "\n",
            ),
            (
                "compare.yaml",
                "output_dir: run\nbase: config.yaml\nset: { rounds: 1 }\nseeds: [1]\narms: { a: {}, b: { method: sft } }\n"
                    .to_owned(),
            ),
        ] {
            fs::write(at.join(name), text).expect("a file can be written");
        }
        let output = at.join(output);
        let given = |arg: &&str| match *arg {
            "MODEL" => example.join("model").display().to_string(),
            "OUTPUT" => output.display().to_string(),
            arg => arg.to_owned(),
        };
        Self { args: args.iter().map(given).collect(), dir, output, at, before: None }
    }

    /// What it does, in a word.
    pub fn name(&self) -> &str {
        if self.args[0] == "plugin" { &self.args[1] } else { &self.args[0] }
    }

    /// The directory that it writes in.
    pub fn output(&self) -> &Path {
        &self.output
    }

    fn command(&self) -> Command {
        let mut command = Command::new(host_binary());
        for name in ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "LDALIGN_PLUGINS", "LDALIGN_KEY_PASSWORD"] {
            command.env_remove(name);
        }
        command.current_dir(&self.at).args(&self.args);
        command.env("HOME", self.at.join("home")).env("RAYON_NUM_THREADS", "1").env("NO_COLOR", "1");
        command
    }

    /// Runs it, with a fault where one is given; `log` is a file for its operations.
    pub fn start(&self, fault: Option<Fault>, log: Option<&Path>) -> Output {
        let mut command = self.command();
        if fault.is_some() || log.is_some() {
            command.env("LD_PRELOAD", shim()).env("FAULT_DIR", &self.output);
        }
        match fault {
            Some(Fault::At(mode, n)) => drop(command.env("FAULT_MODE", mode).env("FAULT_N", n.to_string())),
            Some(Fault::Full(bytes)) => drop(command.env("FAULT_BYTES", bytes.to_string())),
            None => (),
        }
        if let Some(log) = log {
            command.env("FAULT_LOG", log);
        }
        command.output().expect("the program starts")
    }

    /// Runs it and kills it after a time; how it ended where it was faster.
    pub fn killed_after(&self, time: Duration) -> Option<Output> {
        let mut child =
            self.command().stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let begin = Instant::now();
        while begin.elapsed() < time && child.try_wait().expect("a child can be asked").is_none() {
            std::thread::sleep(Duration::from_micros(300));
        }
        // One that has ended cannot be killed.
        let _ = child.kill();
        let out = child.wait_with_output().expect("a child can be waited for");
        (out.status.signal() != Some(libc::SIGKILL)).then_some(out)
    }

    /// Everything is again as it was before the command.
    pub fn clear(&self) {
        files::remove_dir(&self.output).expect("a directory can be removed");
        if let Some(before) = &self.before {
            copy(before, &self.output);
        }
    }

    /// SHA-256 of its files but those that show times.
    pub fn bytes(&self) -> BTreeMap<PathBuf, String> {
        bytes(&self.output)
    }

    /// The command, left alone; everything is as before it afterwards.
    pub fn whole(&self) -> Whole {
        let log = self.dir.path().join("operations");
        self.clear();
        let out = self.start(None, Some(&log));
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let bytes = self.bytes();
        self.clear();
        let operations: Vec<String> =
            fs::read_to_string(&log).expect("the shim was there").lines().map(str::to_owned).collect();
        for operation in ["open ", "write ", "fsync ", "rename "] {
            // The shim knows absolute paths alone; what is written it knows by the descriptor.
            let seen = operations.iter().any(|o| o.starts_with(operation));
            assert!(seen || self.before.is_some() && operation != "write ", "{operation} is not seen");
        }
        assert!(!bytes.is_empty());
        Whole { operations, bytes }
    }

    /// How long it takes.
    pub fn time(&self) -> Duration {
        self.clear();
        let begin = Instant::now();
        let out = self.start(None, None);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        begin.elapsed()
    }

    /// What is wrong after a fault and another start; None where nothing is.
    pub fn wrong(&self, fault: Fault, whole: &Whole) -> Option<String> {
        self.clear();
        let out = self.start(Some(fault), None);
        if let Some(end) = unruly(&out) {
            return Some(end);
        }
        if out.status.success() && self.bytes() != whole.bytes {
            return Some("it ended well, in other bytes".into());
        }
        self.half_written(whole).or_else(|| self.ends_in(whole))
    }

    /// A file that is neither as before the command nor as after it, where there was something before.
    fn half_written(&self, whole: &Whole) -> Option<String> {
        let before = bytes(self.before.as_ref()?);
        let either =
            |path: &PathBuf, hash: &String| [&before, &whole.bytes].iter().any(|all| all.get(path) == Some(hash));
        let half: Vec<_> =
            self.bytes().into_iter().filter(|(path, hash)| !is_twin(path) && !either(path, hash)).collect();
        (!half.is_empty()).then(|| format!("neither old nor new: {half:?}"))
    }

    /// What is wrong with the command now, run to its end; None where it ends in the bytes of the whole one.
    pub fn ends_in(&self, whole: &Whole) -> Option<String> {
        let out = self.start(None, None);
        if !out.status.success() {
            return Some(format!("started again: {}", String::from_utf8_lossy(&out.stderr)));
        }
        // What a killed process has left in a directory that is the user's, such as a project's, nobody may remove.
        let ours = |path: &&PathBuf| self.before.is_none() || !is_twin(path) || path.components().count() > 2;
        let differ = self.differing(whole);
        let differ: Vec<_> = differ.iter().filter(ours).map(|path| path.display().to_string()).collect();
        (!differ.is_empty()).then(|| format!("other bytes in {}", differ.join(", ")))
    }

    /// Which files are not those of the whole command.
    pub fn differing(&self, whole: &Whole) -> Vec<PathBuf> {
        let bytes = self.bytes();
        let all: BTreeSet<&PathBuf> = whole.bytes.keys().chain(bytes.keys()).collect();
        all.into_iter().filter(|path| whole.bytes.get(*path) != bytes.get(*path)).cloned().collect()
    }
}

/// How a program ended that panicked, or died of anything but a kill; None for others.
pub fn unruly(out: &Output) -> Option<String> {
    let text = String::from_utf8_lossy(&out.stderr);
    let died = out.status.signal().is_some_and(|signal| signal != libc::SIGKILL);
    (died || text.contains("panicked")).then(|| format!("{}: {text}", out.status))
}

/// Whether a path is, or lies in, what is written beside a file and then renamed.
fn is_twin(path: &Path) -> bool {
    path.iter().any(|part| part.to_string_lossy().ends_with(".partial"))
}

/// SHA-256 of a directory's files but those that show times.
fn bytes(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = runs::bytes(dir);
    // Pages show times.
    all.retain(|path, _| !path.ends_with("report.html") && !path.ends_with("compare.json"));
    // A signature tells when it was made; four lines are a whole one.
    for (path, hash) in all.iter_mut().filter(|(path, _)| path.extension().is_some_and(|e| e == "minisig")) {
        let text = fs::read_to_string(dir.join(path)).expect("a signature is text");
        if text.lines().count() == 4 && text.ends_with('\n') {
            *hash = "a signature".into();
        }
    }
    all
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status().expect("cp starts");
    assert!(status.success(), "{} cannot be copied", from.display());
}

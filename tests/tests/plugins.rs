//! Plugins that work, and plugins that do not: each is refused or contained, by name, with what to do.
#![allow(clippy::unwrap_used)]

use ldalign::{
    Code, Error, Result,
    config::PluginChoice,
    library::Kind,
    plugin::{CorpusSource, Finder, ModelFacts, OwnedSample, Plugin, Pooling, Services},
};
use ldalign_sdk::{Error as PluginError, LatentShape, Sample, StepContext};
use ldalign_tests::{Bare, built, outside, runs};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, Instant},
};

const PAIR: LatentShape = LatentShape { slots: 1, dim: 2 };

fn zoo() -> &'static Path {
    static ZOO: OnceLock<PathBuf> = OnceLock::new();
    ZOO.get_or_init(outside::zoo)
}

fn finder() -> Finder {
    Finder { probe_program: env!("CARGO_BIN_EXE_plugin-driver").into(), ..Finder::new(&[]) }
}

fn choice(path: &Path, id: &str, options: serde_json::Value) -> PluginChoice {
    let options = options.as_object().unwrap().clone();
    PluginChoice { plugin: path.to_str().unwrap().into(), id: Some(id.into()), options }
}

fn load(kind: Kind, id: &str) -> Result<Plugin> {
    finder().load(kind, &choice(zoo(), id, json!({})))
}

fn refused(finder: &Finder, path: &Path, id: &str, options: serde_json::Value) -> Error {
    finder.load(Kind::Distance, &choice(path, id, options)).err().expect("this plugin must be refused")
}

/// `error[code]: message` with the zoo's long name shortened.
fn text(e: &Error) -> String {
    let sha = ldalign::files::sha256_file(zoo()).unwrap();
    format!("error[{}]: {e:#}", e.code()).replace(&format!("of zoo 9.8.7 (sha256 {})", &sha[..12]), "of ZOO")
}

#[test]
fn several_plugins_of_one_kind_live_in_one_process() {
    let twice = finder().load(Kind::Distance, &choice(zoo(), "well", json!({"factor": 2.0}))).unwrap();
    let once = load(Kind::Distance, "well").unwrap();
    let euclidean = Finder { search_path: vec![built().to_owned()], ..finder() };
    let euclidean = euclidean.load(Kind::Distance, &PluginChoice::bundled("euclidean")).unwrap();
    let measure = |plugin: &Plugin| {
        let distance = plugin.distance(Arc::new(Bare)).unwrap();
        let got = distance.distances(&[0.0, 0.0, 1.0, 1.0], &[3.0, 4.0, 1.0, 1.0], PAIR).unwrap();
        distance.close().unwrap();
        got
    };
    assert_eq!(measure(&twice), [14.0, 0.0]);
    assert_eq!(measure(&once), [7.0, 0.0]);
    assert_eq!(measure(&euclidean), [5.0, 0.0]);
    assert_eq!(twice.record().options, json!({"factor": 2.0}));
    assert_eq!(twice.record().sha256, ldalign::files::sha256_file(zoo()).unwrap());
    assert_eq!(euclidean.record().name, "ldalign-distance-euclidean");
    let schema = euclidean.options_schema().unwrap();
    assert_eq!(schema["properties"]["squared"]["type"], "boolean");
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn options_are_refused_when_loading() {
    let refused = |options| text(&refused(&finder(), zoo(), "well", options));
    let start = "error[plugin/options]: distance `well` of ZOO: options: ";
    assert_eq!(refused(json!({"factr": 1})), format!("{start}unknown field `factr`, expected `factor`"));
    assert_eq!(refused(json!({"factor": "x"})), format!("{start}invalid type: string \"x\", expected f32"));
    assert_eq!(refused(json!({"factor": -2})), format!("{start}factor must be greater than 0, not -2"));
}

#[test]
fn what_goes_wrong_while_building_is_found_in_a_child_process() {
    let finder = Finder { probe_limit: Duration::from_secs(2), ..finder() };
    let cases = [
        (
            "panics-in-new",
            "error[plugin/panic]: distance `panics-in-new` of ZOO panicked in new: no new today (src/lib.rs:",
        ),
        (
            "panics-in-drop",
            "error[plugin/panic]: distance `panics-in-drop` of ZOO panicked in Drop: no end today (src/lib.rs:",
        ),
        ("exits-in-new", "error[plugin/probe]: distance `exits-in-new` of ZOO called exit(0) in new"),
        ("exits-in-drop", "error[plugin/probe]: distance `exits-in-drop` of ZOO called exit(0) in Drop"),
        ("aborts-in-new", "error[plugin/probe]: distance `aborts-in-new` of ZOO aborted (SIGABRT) in new"),
        ("hangs-in-new", "error[plugin/probe]: distance `hangs-in-new` of ZOO did not return from new in 2s"),
        (
            "closes-descriptors-in-new",
            "error[plugin/probe]: distance `closes-descriptors-in-new` of ZOO closed descriptors that are not its own in new",
        ),
    ];
    for (id, expected) in cases {
        let got = text(&refused(&finder, zoo(), id, json!({})));
        // Line numbers of the zoo are its own business.
        assert!(got == expected || expected.ends_with(':') && got.starts_with(expected), "{got}");
    }
}

#[test]
fn what_goes_wrong_in_a_call_is_contained() {
    let cases = [
        (
            "panics-in-call",
            "error[plugin/panic]: distance `panics-in-call` of ZOO panicked in distances: no 1 today (src/lib.rs:",
        ),
        (
            "fails-in-call",
            "error[plugin/failed]: distance `fails-in-call` of ZOO failed in distances: these two cannot be compared",
        ),
        ("gives-nan", "error[plugin/output]: distance `gives-nan` of ZOO: distances gave NaN for pair 0 of 2"),
        (
            "gives-negative",
            "error[plugin/output]: distance `gives-negative` of ZOO: distances gave -1.5 for pair 0 of 2",
        ),
        (
            "writes-nothing",
            "error[plugin/output]: distance `writes-nothing` of ZOO: distances gave NaN for pair 0 of 2",
        ),
    ];
    for (id, expected) in cases {
        let distance = load(Kind::Distance, id).unwrap().distance(Arc::new(Bare)).unwrap();
        let got = text(&distance.distances(&[1.0; 4], &[2.0; 4], PAIR).unwrap_err());
        assert!(got == expected || expected.ends_with(':') && got.starts_with(expected), "{got}");
        if id == "panics-in-call" {
            let again = text(&distance.save().unwrap_err());
            assert_eq!(
                again,
                "error[plugin/panic]: distance `panics-in-call` of ZOO panicked before; save is not tried"
            );
        }
    }
    let distance = load(Kind::Distance, "panics-in-drop-once-used").unwrap().distance(Arc::new(Bare)).unwrap();
    distance.distances(&[1.0; 2], &[2.0; 2], PAIR).unwrap();
    let got = text(&distance.close().unwrap_err());
    let id = "panics-in-drop-once-used";
    assert!(
        got.starts_with(&format!("error[plugin/panic]: distance `{id}` of ZOO panicked in Drop: no end today")),
        "{got}"
    );

    let schedule = load(Kind::Schedule, "owing").unwrap().schedule(Arc::new(Bare)).unwrap();
    let at = |step| StepContext { round: 0, rounds: 1, step, total_steps: 9 };
    assert_eq!(schedule.weights(at(0), &[]).unwrap(), [0.0; 0]);
    let got = text(&schedule.weights(at(2), &[0.5, 0.25]).unwrap_err());
    assert_eq!(got, "error[plugin/output]: schedule `owing` of ZOO: weights gave -2 for distance 0.25 at step 2");
}

/// Runs the driver on a distance of the zoo.
fn drive(id: &str, on_load: &str) -> Output {
    let mut driver = Command::new(env!("CARGO_BIN_EXE_plugin-driver"));
    driver.arg(zoo()).arg(id).env("ZOO_ON_LOAD", on_load).output().unwrap()
}

fn stderr(output: &Output) -> String {
    let sha = ldalign::files::sha256_file(zoo()).unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    text.replace(&format!("of zoo 9.8.7 (sha256 {})", &sha[..12]), "of ZOO").trim().to_owned()
}

#[test]
fn a_plugin_that_ends_the_process_is_named() {
    use std::os::unix::process::ExitStatusExt;
    let well = drive("well", "");
    assert_eq!(
        (well.status.code(), String::from_utf8_lossy(&well.stdout).trim()),
        (Some(0), "1e-40"),
        "{}",
        stderr(&well)
    );
    let words = |id: &str, what: &str| {
        format!("error[plugin/exit]: distance `{id}` of ZOO {what} in distances; finished work of a run is kept")
    };
    let exits = drive("exits-in-call", "");
    assert_eq!((exits.status.code(), stderr(&exits)), (Some(70), words("exits-in-call", "called exit")));
    let aborts = drive("aborts-in-call", "");
    assert_eq!((aborts.status.signal(), stderr(&aborts)), (Some(6), words("aborts-in-call", "aborted")));
    let crashes = drive("crashes-in-call", "");
    let what = "touched memory it does not own (SIGSEGV)";
    assert_eq!((crashes.status.signal(), stderr(&crashes)), (Some(11), words("crashes-in-call", what)));
    let closes = drive("closes-descriptors-in-call", "");
    let said = "error[plugin/descriptors]: distance `closes-descriptors-in-call` of ZOO closed descriptors that are not its \
                own in distances; finished work of a run is kept";
    assert_eq!((closes.status.code(), stderr(&closes).as_str()), (Some(70), said));
    let overflows = drive("overflows-stack", "");
    let said = stderr(&overflows);
    assert!(overflows.status.signal().is_some() && said.starts_with(&words("overflows-stack", what)), "{said}");
}

#[test]
fn where_the_system_gives_no_file_in_memory_a_nameless_one_on_disk_is_loaded() {
    use std::os::unix::process::CommandExt;
    let well = |tmp: &Path| {
        let mut driver = Command::new(env!("CARGO_BIN_EXE_plugin-driver"));
        driver.arg(zoo()).arg("well").env("TMPDIR", tmp);
        // SAFETY: calls prctl and no more.
        unsafe { driver.pre_exec(refuse_memfd) };
        driver.output().unwrap()
    };
    let dir = tempfile::tempdir().unwrap();
    let out = well(dir.path());
    assert_eq!(
        (out.status.code(), String::from_utf8_lossy(&out.stdout).trim()),
        (Some(0), "1e-40"),
        "{}",
        stderr(&out)
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    // Where that cannot be had either, it is said; without the filter this does not matter.
    let out = well(Path::new("/proc"));
    assert_eq!(out.status.code(), Some(1));
    let text = stderr(&out);
    assert!(
        text.contains("no private copy of the library can be kept") || text.contains("to try the plugin out"),
        "{text}"
    );
}

/// Makes memfd_create fail in this process and those that it starts.
fn refuse_memfd() -> std::io::Result<()> {
    let statement = |code: u32, k: u32, jt, jf| libc::sock_filter { code: code as u16, jt, jf, k };
    let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::SYS_memfd_create as u32, 0, 1),
        statement(libc::BPF_RET | libc::BPF_K, refused, 0, 0),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: plain numbers, and a program that lives as long as the call.
    let failed = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
            || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) != 0
    };
    if failed { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

#[test]
fn what_goes_wrong_while_loading_is_found_in_a_child_process() {
    let cases = [
        ("exit", "called exit(0) in loading"),
        ("abort", "aborted (SIGABRT) in loading"),
        ("crash", "touched memory it does not own (SIGSEGV) in loading"),
        ("hang", "did not return from loading in 5s"),
    ];
    for (on_load, how) in cases {
        let output = drive("well", on_load);
        let expected = format!("error[plugin/probe]: distance `well` of ZOO {how}");
        assert_eq!((output.status.code(), stderr(&output)), (Some(1), expected));
    }
}

#[test]
fn a_library_swapped_after_its_inspection_is_not_loaded() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (path, program) = (dir.path().join("libhonest.so"), dir.path().join("probe.sh"));
    // The program that tries plugins out puts another library in its place, before or after.
    let swap = format!("cp {} {path}.new && mv {path}.new {path}", zoo().display(), path = path.display());
    let driver = format!("ZOO_ON_LOAD=exit {} \"$@\"", env!("CARGO_BIN_EXE_plugin-driver"));
    for script in [format!("{swap}\n{driver}"), format!("{driver}\n{swap}")] {
        std::fs::copy(built().join("libldalign_distance_euclidean.so"), &path).unwrap();
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let finder = Finder { probe_program: program.clone(), ..finder() };
        let e = refused(&finder, &path, "euclidean", json!({}));
        let canonical = path.canonicalize().unwrap();
        assert_eq!(
            e.to_string().replace(canonical.to_str().unwrap(), "FILE").replace("FILE: ", ""),
            "FILE was replaced while in use"
        );
    }
}

#[test]
fn a_library_cannot_change_the_floating_point_mode() {
    let flush = drive("well", "flush");
    assert_eq!(String::from_utf8_lossy(&flush.stdout).trim(), "1e-40", "{}", stderr(&flush));
}

#[test]
fn damaged_and_foreign_files_are_refused_before_they_are_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("libzoo.so");
    let good = std::fs::read(zoo()).unwrap();
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let e = refused(&finder(), &path, "well", json!({}));
        assert!(e.hint_text().is_some(), "{e}");
        text(&e).replace(&path.canonicalize().unwrap().display().to_string(), "FILE")
    };
    let patched = |old: &[u8], new: &[u8]| {
        let mut bytes = good.clone();
        let places: Vec<usize> =
            bytes.windows(old.len()).enumerate().filter(|(_, w)| *w == old).map(|(i, _)| i).collect();
        assert!(!places.is_empty());
        places.iter().for_each(|at| bytes[*at..at + old.len()].copy_from_slice(new));
        bytes
    };
    let start = "error[plugin/file]: FILE: ";
    assert_eq!(
        refused(b"#!/bin/sh\necho hello, world\n"),
        format!("{start}not a shared library: the file begins with \"#!/bin/sh\\necho hello\"")
    );
    assert_eq!(refused(b""), format!("{start}not a shared library: the file begins with \"\""));
    let len = good.len();
    assert_eq!(refused(&good[..40]), format!("{start}cut short: the file has 40 bytes, its headers end at 64"));
    for cut in [64, 1000, len - 1].into_iter().chain((1..20).map(|i| i * len / 20)) {
        let expected = format!("{start}cut short: the file has {cut} bytes, its ");
        assert!(refused(&good[..cut]).starts_with(&expected));
    }
    let huge = refused(&with_metadata(&good, &vec![b' '; 10 << 20]));
    assert_eq!(huge, format!("{start}its metadata are 10485760 bytes long: at most 65536 are read"));
    let mut foreign = good.clone();
    foreign[18..20].copy_from_slice(&183u16.to_le_bytes());
    assert_eq!(refused(&foreign), format!("{start}built for Aarch64, this program runs on x86_64"));
    assert_eq!(
        refused(&patched(b"_1as_0lib_1header", b"_1as_0lib_1hidden")),
        format!("{start}a shared library, but not a plugin: it has no entry symbol")
    );
    assert_eq!(
        refused(&patched(b".ldalign\0", b".another\0")),
        format!("{start}a plugin without metadata: it has no section .ldalign")
    );
    assert_eq!(
        refused(&patched(br#""abi":"1.1.0""#, br#""abi":"2.0.0""#)),
        format!("{start}built for plugin ABI 2.0.0, this program has 1.1.0")
    );
    assert_eq!(
        refused(&patched(br#"{"schema":1,"#, br#"{"schema":x,"#)),
        format!("{start}its metadata cannot be read: expected value at line 1 column 11")
    );
    let e = refused(&std::fs::read(env!("CARGO_BIN_EXE_plugin-driver")).unwrap());
    assert_eq!(e, format!("{start}a shared library, but not a plugin: it has no entry symbol"));
}

/// A library whose metadata section is this text, put at the end of the file.
fn with_metadata(library: &[u8], text: &[u8]) -> Vec<u8> {
    let mut bytes = library.to_vec();
    let number = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let (table, count) = (number(&bytes, 0x28), usize::from(u16::from_le_bytes([bytes[0x3c], bytes[0x3d]])));
    let is_metadata = |header: &usize| library[number(library, header + 24)..].starts_with(b"{\"schema\":1");
    let header = (0..count).map(|i| table + 64 * i).find(is_metadata).unwrap();
    bytes[header + 24..header + 32].copy_from_slice(&(library.len() as u64).to_le_bytes());
    bytes[header + 32..header + 40].copy_from_slice(&(text.len() as u64).to_le_bytes());
    bytes.extend(text);
    bytes
}

#[test]
fn a_library_with_holes_is_refused_or_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("libholed.so");
    let good = std::fs::read(zoo()).unwrap();
    let mut refusals = 0;
    for hole in 0..12 {
        let mut bytes = good.clone();
        let at = 64 + hole * (bytes.len() / 2) / 12;
        bytes[at..at + 100_000].fill(0);
        std::fs::write(&path, &bytes).unwrap();
        let out = Command::new(env!("CARGO_BIN_EXE_plugin-driver")).arg(&path).arg("well").output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        // What lies in the hole may not be needed; otherwise whose fault it is is said.
        assert!(
            out.status.success()
                || said.contains("error[plugin/") && said.contains("libholed.so")
                || said.contains("`well`"),
            "{at}: {out:?}"
        );
        refusals += usize::from(!out.status.success());
    }
    assert!(refusals > 0);
}

#[test]
fn a_call_cannot_change_the_floating_point_mode_of_the_host() {
    let distance = load(Kind::Distance, "flushes-denormals").unwrap().distance(Arc::new(Bare)).unwrap();
    assert_eq!(distance.distances(&[1.0, 2.0], &[1.0, 2.0], PAIR).unwrap(), [0.0]);
    let denormal = std::hint::black_box(1e-40f32);
    assert_eq!(std::hint::black_box(denormal * 0.5), 5e-41);
}

#[test]
fn ids_that_are_not_there_are_refused_with_those_that_are() {
    let e = load(Kind::Schedule, "owning").err().unwrap();
    assert!(e.to_string().ends_with("libzoo.so: zoo provides no schedule called `owning`, but: owing"), "{e}");
}

#[test]
fn a_plugin_with_other_types_is_refused_in_one_line() {
    let edits = [(
        "sdk/abi/src/lib.rs",
        "pub struct Shape {\n    pub slots: u64,\n    pub dim: u64,",
        "pub struct Shape {\n    pub dim: u64,\n    pub slots: u64,",
    )];
    let path = outside::zoo_with_changed_sdk("reordered", &edits);
    let e = refused(&finder(), &path, "well", json!({}));
    assert_eq!(e.code(), Code::PluginLayout);
    assert_eq!(e.hint_text(), Some("rebuild the plugin with this program's SDK"));
    let message = e.message().replace(&path.canonicalize().unwrap().display().to_string(), "FILE");
    let expected = "FILE: its types differ from this program's: Shape of `shape`: unexpected field: host has slots: u64, plugin has dim: u64; \
                    Shape of `shape`: unexpected field: host has dim: u64, plugin has slots: u64";
    assert_eq!(message, expected);
}

#[test]
fn a_plugin_of_a_later_boundary_works() {
    let abi = "sdk/abi/src/lib.rs";
    let edits = [
        ("sdk/abi/Cargo.toml", "version = \"1.1.0\"", "version = \"1.2.0\""),
        (
            abi,
            "    fn weights(&self, at: StepView, distances: RSlice<'_, f32>, out: RSliceMut<'_, f32>) -> AbiResult<()>;\n    /// See [`EncoderObject::close`].\n    #[sabi(last_prefix_field)]\n    fn close(&mut self) -> AbiResult<()>;",
            "    fn weights(&self, at: StepView, distances: RSlice<'_, f32>, out: RSliceMut<'_, f32>) -> AbiResult<()>;\n    /// See [`EncoderObject::close`].\n    #[sabi(last_prefix_field)]\n    fn close(&mut self) -> AbiResult<()>;\n    fn describe(&self) -> RString {\n        RString::new()\n    }",
        ),
        (
            abi,
            "host: HostBox) -> AbiResult<ScheduleBox>,",
            "host: HostBox) -> AbiResult<ScheduleBox>,\n    pub self_test: extern \"C\" fn() -> AbiResult<()>,",
        ),
        (
            "sdk/src/export.rs",
            "new_schedule: new_schedule::<L>,",
            "new_schedule: new_schedule::<L>,\n        self_test,",
        ),
        (
            "sdk/src/export.rs",
            "/// The root module of a library.",
            "extern \"C\" fn self_test() -> AbiResult<()> {\n    guard(|| Ok(()))\n}\n\n/// The root module of a library.",
        ),
    ];
    let path = outside::zoo_with_changed_sdk("grown", &edits);
    let plugin = finder().load(Kind::Distance, &choice(&path, "well", json!({}))).unwrap();
    let distance = plugin.distance(Arc::new(Bare)).unwrap();
    assert_eq!(distance.distances(&[1.0, 2.0], &[2.0, 4.0], PAIR).unwrap(), [3.0]);
    distance.close().unwrap();
    let schedule = finder().load(Kind::Schedule, &choice(&path, "owing", json!({}))).unwrap();
    let schedule = schedule.schedule(Arc::new(Bare)).unwrap();
    let at = StepContext { round: 0, rounds: 1, step: 0, total_steps: 9 };
    assert!(schedule.weights(at, &[0.5]).is_ok());
    schedule.close().unwrap();
}

/// A model whose state is the sum of a sample's token ids, over and over.
#[derive(Default)]
struct Summing {
    notes: Mutex<Vec<(f32, String)>>,
}

impl Services for Summing {
    fn model(&self) -> Option<ModelFacts> {
        Some(ModelFacts { vocab_size: 9, hidden_size: 2, num_layers: 1, max_positions: 64, end_ids: vec![0] })
    }
    fn hidden_states(
        &self,
        samples: &[Sample<'_>],
        layer: usize,
        pooling: Pooling,
        out: &mut [f32],
    ) -> Result<(), PluginError> {
        assert_eq!((layer, pooling), (1, Pooling::Last));
        for (out, sample) in out.chunks_exact_mut(2).zip(samples) {
            match sample.prompt {
                "fails" => return Err(Error::new(Code::EngineTensor, "the model is out of order").into()),
                "panics" => panic!("a fault of the host"),
                _ => out.fill(sample.prompt_ids.iter().chain(sample.response_ids).sum::<u32>() as f32),
            }
        }
        Ok(())
    }
    fn seed(&self) -> u64 {
        41
    }
    fn threads(&self) -> usize {
        3
    }
    fn progress(&self, fraction: f32, note: &str) {
        self.notes.lock().unwrap().push((fraction, note.into()));
    }
}

struct Two(OwnedSample);

impl CorpusSource for Two {
    fn len(&self) -> usize {
        2
    }
    fn read(&self, indices: &[usize]) -> Result<Vec<OwnedSample>> {
        Ok(indices.iter().map(|i| OwnedSample { response: "r".repeat(i + 4), ..self.0.clone() }).collect())
    }
}

#[test]
fn an_encoder_uses_every_service_of_the_host() {
    let sample = |prompt: &str| OwnedSample {
        prompt: prompt.into(),
        response: "ab".into(),
        prompt_ids: vec![7, 1],
        response_ids: vec![2],
    };
    let plugin = load(Kind::Encoder, "asks-the-host").unwrap();
    let services = Arc::new(Summing::default());
    let mut encoder = plugin.encoder(services.clone()).unwrap();
    assert_eq!(encoder.shape(), LatentShape { slots: 1, dim: 3 });
    let report = encoder.fit(&Two(sample("p"))).unwrap();
    let expected = [("seed", 41.0), ("threads", 3.0), ("cancelled", 0.0), ("first prompt token", 7.0)];
    assert_eq!(report, expected.map(|(name, value)| (name.to_owned(), value)));
    assert_eq!(*services.notes.lock().unwrap(), [(0.5, "half".to_owned())]);
    let (a, b) = (sample("p"), OwnedSample { response_ids: vec![], ..sample("p") });
    let latents = encoder.encode(&[a.as_sample(), b.as_sample()]).unwrap();
    // 5 is the length of the corpus' last response, learned in `fit`.
    assert_eq!(latents, [10.0, 10.0, 2.0 + 1.0 + 5.0, 8.0, 8.0, 2.0 + 5.0]);

    let state = encoder.save().unwrap();
    let mut other = plugin.encoder(services.clone()).unwrap();
    other.load(&state).unwrap();
    assert_eq!(other.encode(&[a.as_sample()]).unwrap(), latents[..3]);
    let e = text(&other.load(&[1, 2]).unwrap_err());
    assert_eq!(
        e,
        "error[plugin/failed]: encoder `asks-the-host` of ZOO failed in load: 2 bytes are not a state of mine"
    );

    // The host's own faults reach the plugin as errors, and the run through it.
    let start = "error[plugin/failed]: encoder `asks-the-host` of ZOO failed in encode: ";
    let e = text(&encoder.encode(&[sample("fails").as_sample()]).unwrap_err());
    assert_eq!(e, format!("{start}the model is out of order"));
    let e = text(&encoder.encode(&[sample("panics").as_sample()]).unwrap_err());
    assert!(
        e.starts_with("error[plugin/panic]: encoder `asks-the-host` of ZOO panicked in encode: a fault of the host"),
        "{e}"
    );
}

#[test]
fn a_plugins_thread_is_answered_though_the_hosts_only_one_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let encoder = format!("encoder: {{ plugin: {}, id: asks-the-host }}", zoo().display());
    let config = runs::config(dir.path(), &format!("generate: {{ samples: 1, max_new_tokens: 4 }}\n{encoder}\n"));
    let mut child = runs::command("score", &config, &["data.max_rows=4"]).spawn().unwrap();
    let start = Instant::now();
    assert!(!runs::kill_when(&mut child, || start.elapsed() > Duration::from_secs(60)), "it hung");
    assert!(dir.path().join("run/round-1/scores.jsonl").exists());
}

#[test]
fn an_encoder_is_not_believed() {
    let encoder = |id| load(Kind::Encoder, id).unwrap().encoder(Arc::new(Summing::default()));
    let e = text(&encoder("no-slots").err().unwrap());
    assert_eq!(
        e,
        "error[plugin/output]: encoder `no-slots` of ZOO: a latent of 0 slots x 3 numbers is not a usable shape"
    );
    let sample = OwnedSample::default();
    let e = encoder("gives-infinity").unwrap().encode(&[sample.as_sample(), sample.as_sample()]).unwrap_err();
    let expected =
        "error[plugin/output]: encoder `gives-infinity` of ZOO: encode gave inf for number 1 of sample 1 of 2";
    assert_eq!(text(&e), expected);
    let e = encoder("reports-nan").unwrap().fit(&Two(sample)).unwrap_err();
    assert_eq!(text(&e), "error[plugin/output]: encoder `reports-nan` of ZOO: fit reported nll = NaN");
}

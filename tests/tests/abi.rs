//! The boundary's past and future: what was built for 1.0 and 1.1 works with today's, today's works with 1.0, and
//! growth is announced.
#![allow(clippy::unwrap_used)]

use ldalign::{
    Code,
    config::PluginChoice,
    files,
    library::Kind,
    plugin::{CorpusSource, Finder, ModelFacts, OwnedSample, Pooling, Services},
};
use ldalign_sdk::{Error, LatentShape, Sample, StepContext};
use ldalign_tests::{frozen, outside, workspace_root};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
};

/// The library and the host of 1.0.
fn first() -> &'static (PathBuf, PathBuf) {
    static FIRST: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    FIRST.get_or_init(|| outside::build_with_program(&frozen::dir("1.0")))
}

/// The library and the host of 1.1.
fn second() -> &'static (PathBuf, PathBuf) {
    static SECOND: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    SECOND.get_or_init(|| outside::build_with_program(&frozen::dir("1.1")))
}

/// What a host of 1.0 prints of the plugins of 1.0, whatever SDK these were built with.
const ANSWERS: &str = "schema true\ndistance 1.25 state [0, 0, 64, 64]\nencoder Shape { slots: 1, dim: 3 } seed = 41\n\
                       state [0, 0, 192, 64]\nweight 3\n";

fn answers(host: &Path, library: &Path) -> String {
    let out = Command::new(host).arg(library).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// A host with a model of two numbers a state.
struct Small;

impl Services for Small {
    fn model(&self) -> Option<ModelFacts> {
        Some(ModelFacts { vocab_size: 9, hidden_size: 2, num_layers: 1, max_positions: 64, end_ids: vec![0] })
    }
    fn hidden_states(&self, _: &[Sample<'_>], layer: usize, _: Pooling, out: &mut [f32]) -> Result<(), Error> {
        out.fill(layer as f32 + 0.5);
        Ok(())
    }
    fn token_states(&self, samples: &[Sample<'_>], layer: usize, out: &mut [f32]) -> Result<(), Error> {
        out.fill((samples[0].response_ids.len() + layer) as f32);
        Ok(())
    }
    fn prefix_nll(&self, _: &[Sample<'_>], at: &[f32], nll: &mut [f32], slopes: &mut [f32]) -> Result<(), Error> {
        nll.fill(at.len() as f32);
        slopes.fill(0.75);
        Ok(())
    }
    fn seed(&self) -> u64 {
        41
    }
    fn threads(&self) -> usize {
        1
    }
}

struct Letters(Vec<OwnedSample>);

impl CorpusSource for Letters {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn read(&self, indices: &[usize]) -> ldalign::Result<Vec<OwnedSample>> {
        Ok(indices.iter().map(|i| self.0[*i].clone()).collect())
    }
}

#[test]
fn plugins_of_1_0_work_in_today_s_host() {
    let finder = Finder { probe_program: env!("CARGO_BIN_EXE_plugin-driver").into(), ..Finder::new(&[]) };
    let load = |kind, options: serde_json::Value| {
        let plugin = first().0.to_str().unwrap().into();
        finder
            .load(kind, &PluginChoice { plugin, id: Some("old".into()), options: options.as_object().unwrap().clone() })
    };
    let shape = LatentShape { slots: 1, dim: 2 };
    let plugin = load(Kind::Distance, json!({"more": 0.25})).unwrap();
    assert_eq!(plugin.options_schema().unwrap()["properties"]["more"]["description"], "Added to every distance.");
    let mut distance = plugin.distance(Arc::new(Small)).unwrap();
    distance.fit(&[0.0, 0.0, 1.0, 1.0], &[1.0, 1.0, 4.0, 2.0], shape).unwrap();
    assert_eq!(distance.distances(&[1.0, 2.0], &[2.0, 4.0], shape).unwrap(), [1.25]);
    let e = distance.distances(&[-1.0, 2.0], &[2.0, 4.0], shape).unwrap_err();
    assert!(e.code() == Code::PluginPanic && e.message().contains("a panic is contained"), "{e}");
    let e = load(Kind::Distance, json!({"more": -1})).err().unwrap();
    assert!(e.code() == Code::PluginOptions && e.message().ends_with("more is -1"), "{e}");

    let mut encoder = load(Kind::Encoder, json!({})).unwrap().encoder(Arc::new(Small)).unwrap();
    let corpus = Letters(vec![OwnedSample { response: "abc".into(), ..OwnedSample::default() }; 2]);
    let report = encoder.fit(&corpus).unwrap();
    assert_eq!(report, [("letters".to_owned(), 6.0), ("seed".to_owned(), 41.0)]);
    assert_eq!(encoder.encode(&[corpus.0[0].as_sample()]).unwrap(), [1.5, 1.5, 6.0]);
    encoder.load(&7f32.to_le_bytes()).unwrap();
    assert_eq!(encoder.encode(&[corpus.0[0].as_sample()]).unwrap(), [1.5, 1.5, 7.0]);
    encoder.close().unwrap();

    let mut schedule = load(Kind::Schedule, json!({})).unwrap().schedule(Arc::new(Small)).unwrap();
    schedule.begin_round(&[1.0, 3.0]).unwrap();
    let at = StepContext { round: 0, rounds: 1, step: 1, total_steps: 2 };
    assert_eq!(schedule.weights(at, &[3.0]).unwrap(), [3.0]);
    schedule.close().unwrap();
}

/// The services that 1.1 brought: asked for by its plugins in its own host and in today's, unsupported in a host of
/// 1.0; and plugins of 1.0 do not notice them.
#[test]
fn services_of_1_1_are_there_from_1_1_on() {
    let (library, host) = second();
    let with = |states: &str, likelihood: &str| {
        let reported = format!("seed = 41\nstates = {states}\nlikelihood = {likelihood}\n");
        ANSWERS.replace("seed = 41\n", &reported)
    };
    assert_eq!(answers(host, library), with("1.25", "10"));
    assert_eq!(answers(&first().1, library), ANSWERS);
    assert_eq!(answers(host, &first().0), ANSWERS);

    let finder = Finder { probe_program: env!("CARGO_BIN_EXE_plugin-driver").into(), ..Finder::new(&[]) };
    let fit = |library: &Path, services: Arc<dyn Services>| {
        let plugin = library.to_str().unwrap().into();
        let choice = PluginChoice { plugin, id: Some("old".into()), options: Default::default() };
        let mut encoder = finder.load(Kind::Encoder, &choice).unwrap().encoder(services).unwrap();
        encoder.fit(&Letters(vec![OwnedSample { response: "abc".into(), ..OwnedSample::default() }; 2]))
    };
    let expected = [("letters", 6.0), ("seed", 41.0), ("states", 3.0), ("likelihood", 4.75)];
    let expected = expected.map(|(name, value)| (name.to_owned(), value));
    // The older one first: what was loaded before does not matter.
    assert_eq!(fit(&first().0, Arc::new(Small)).unwrap(), expected[..2]);
    assert_eq!(fit(library, Arc::new(Small)).unwrap(), expected);
}

/// The source of the plugins of 1.0 with today's SDK: it compiles as it did, and a host of 1.0 loads what comes of it.
#[test]
fn today_s_sdk_builds_the_source_of_1_0_for_a_host_of_1_0() {
    let (library, host) = first();
    assert_eq!(answers(host, library), ANSWERS);
    let sdk = |folder: &str| format!("path = \"{}\"", workspace_root().join(folder).display());
    let version = abi_version();
    let edits = [
        ("Cargo.toml", "path = \"sdk/abi\", version = \"1.0.0\"", sdk("sdk/abi")),
        ("Cargo.toml", "path = \"sdk\", version = \"0.1.0\"", sdk("sdk")),
    ];
    let edits: Vec<(&str, &str, &str)> = edits.iter().map(|(file, old, new)| (*file, *old, new.as_str())).collect();
    let today = outside::build(&frozen::changed("today", &edits), "dev");
    let metadata = ldalign::library::inspect(&today).unwrap().metadata;
    assert_eq!((metadata.abi, metadata.name.as_str()), (version, "frozen-abi-1-0-today"));
    assert_eq!(answers(host, &today), ANSWERS);
}

/// A boundary that has grown in every way the policy allows, its plugins and its host, against those of 1.0.
#[test]
fn growth_is_seen_by_who_knows_it_and_by_nobody_else() {
    let abi = "sdk/abi/src/lib.rs";
    let last = "out: RSliceMut<'_, f32>,\n    ) -> AbiResult<()>;";
    let (service, service_grown) = (last, format!("{last}\n    fn moods(&self) -> u64 {{\n        7\n    }}"));
    let close = "    /// What was learned, as bytes.\n    fn save(&self) -> AbiResult<RVec<u8>>;\n    /// Restores what `save` gave.\n    fn load(&mut self, state: RSlice<'_, u8>) -> AbiResult<()>;\n    /// See [`EncoderObject::close`].\n    #[sabi(last_prefix_field)]\n    fn close(&mut self) -> AbiResult<()>;";
    let close_grown = format!("{close}\n    fn describe(&self) -> RString {{\n        \"nothing\".into()\n    }}");
    let field = "host: HostBox) -> AbiResult<ScheduleBox>,";
    let field_grown = format!("{field}\n    pub self_test: extern \"C\" fn() -> u32,");
    let edits = [
        // A version that is nobody else's: in one target directory cargo takes packages of one name, version and
        // relative path for the same.
        ("sdk/abi/Cargo.toml", "version = \"1.0.0\"", "version = \"1.99.0\""),
        (abi, service, service_grown.as_str()),
        (abi, close, close_grown.as_str()),
        (abi, field, field_grown.as_str()),
        (
            "sdk/src/export.rs",
            "new_schedule: new_schedule::<L>,",
            "new_schedule: new_schedule::<L>,\n        self_test,",
        ),
        (
            "sdk/src/export.rs",
            "/// The root module of a library.",
            "extern \"C\" fn self_test() -> u32 {\n    9\n}\n\n/// The root module of a library.",
        ),
        // The grown SDK implements the new methods, and its plugins call the host's.
        (
            "sdk/src/boundary.rs",
            "impl<T: DistanceMetric> abi::DistanceObject for Instance<T> {",
            "impl<T: DistanceMetric> abi::DistanceObject for Instance<T> {\n    fn describe(&self) -> RString {\n        T::SUMMARY.into()\n    }",
        ),
        (
            "sdk/src/host.rs",
            "    /// Whether the user asked to stop:",
            "    /// Grown.\n    pub fn moods(&self) -> u64 {\n        self.0.moods()\n    }\n    /// Whether the user asked to stop:",
        ),
        (
            "sdk/src/host.rs",
            "    fn facts_json(&self) -> RString {",
            "    fn moods(&self) -> u64 {\n        8\n    }\n    fn facts_json(&self) -> RString {",
        ),
        ("src/lib.rs", "self.host.seed() as f64", "(self.host.seed() + self.host.moods() * 100) as f64"),
        (
            "src/bin/host.rs",
            "    // Here a grown host asks what 1.0 did not know.",
            "    println!(\"{} {:?}\", distance.describe(), module.self_test().map(|test| test()));",
        ),
    ];
    let (grown, grown_host) = outside::build_with_program(&frozen::changed("grown", &edits));
    let (old, old_host) = first();
    let seen = |description: &str, seed: u64| {
        let answers = ANSWERS.replace("seed = 41", &format!("seed = {seed}"));
        answers.replace("64, 64]\nencoder", &format!("64, 64]\n{description}\nencoder"))
    };
    assert_eq!(answers(&grown_host, &grown), seen("a distance of boundary 1.0 Some(9)", 841));
    // An older plugin: the method's default body, and a field that is not there.
    assert_eq!(answers(&grown_host, old), seen("nothing None", 41));
    // An older host: nobody asks the plugin, and the service's default body answers it.
    assert_eq!(answers(old_host, &grown), ANSWERS.replace("seed = 41", "seed = 741"));
}

fn abi_version() -> String {
    let manifest = fs::read_to_string(workspace_root().join("sdk/abi/Cargo.toml")).unwrap();
    let line = manifest.lines().find_map(|l| l.strip_prefix("version = ")).unwrap();
    line.trim_matches('"').to_owned()
}

/// SHA-256 of the sources in a folder, with their names.
fn source_hash(folder: &Path) -> String {
    let mut sources: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    sources.sort();
    let named = |p: &PathBuf| [p.file_name().unwrap().as_encoded_bytes(), b"\n", &fs::read(p).unwrap()].concat();
    files::sha256(&sources.iter().flat_map(named).collect::<Vec<u8>>())
}

#[test]
fn every_change_of_the_boundary_s_source_raises_its_version() {
    let root = workspace_root();
    let recorded = fs::read_to_string(root.join("sdk/abi/versions.txt")).unwrap();
    let recorded: Vec<(&str, &str)> =
        recorded.lines().filter(|l| !l.starts_with('#')).map(|l| l.split_once(' ').unwrap()).collect();
    let (version, hash) = (abi_version(), source_hash(&root.join("sdk/abi/src")));
    let (last, last_hash) = *recorded.last().unwrap();
    let next = if version == last { "NEW-VERSION" } else { &version };
    assert!(
        (version.as_str(), hash.as_str()) == (last, last_hash),
        "\nsdk/abi/src has hash\n  {hash}\nand version {version}; recorded last is version {last} with hash\n  {last_hash}\n\
         Every change of the boundary's source, also of its docs, raises the version in sdk/abi/Cargo.toml (and in the workspace's\n\
         Cargo.toml): the minor version for growth by the rules of docs/plugin-abi.md, the patch version for docs. Then append to\n\
         sdk/abi/versions.txt:\n  {next} {hash}\nA version that is recorded is never recorded anew: plugins built with it are out there.\n"
    );
    let parts = |v: &str| v.split('.').map(|p| p.parse().unwrap()).collect::<Vec<u64>>();
    assert!(recorded.is_sorted_by(|a, b| parts(a.0) < parts(b.0)), "versions rise");

    for (version, hash) in &recorded {
        let [major, minor, patch] = parts(version)[..] else { panic!("{version} is not a version") };
        assert_eq!(major, 1, "a major version refuses every plugin built before: see docs/plugin-abi.md");
        if patch == 0 {
            let frozen = root.join(format!("tests/frozen/abi-{major}.{minor}/sdk/abi/src"));
            assert!(frozen.is_dir(), "{version} has no {}: see docs/plugin-abi.md", frozen.display());
            assert_eq!(source_hash(&frozen), *hash, "{} is no longer what {version} was", frozen.display());
        }
    }
}

/// Plugins of another compiler, where rustup has one.
#[test]
fn plugins_built_by_another_compiler_work() {
    let Some(other) = another_toolchain() else {
        println!("skipped: rustup shows no other toolchain than the one that builds this");
        return;
    };
    let target = outside::target().join("other-compiler");
    let dir = frozen::changed("other-compiler", &[]);
    fs::copy(workspace_root().join("Cargo.lock"), dir.join("Cargo.lock")).unwrap();
    let mut cargo = Command::new("rustup");
    cargo.args(["run", &other, "cargo", "build", "--lib", "--target-dir"]).arg(&target).current_dir(&dir);
    cargo.env(outside::NO_DEBUG.0, outside::NO_DEBUG.1);
    // What the running cargo set for its own compiler.
    for name in ["RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN", "CARGO"] {
        cargo.env_remove(name);
    }
    let out = cargo.output().unwrap();
    if !out.status.success() && fs::read_dir(&target).is_err() {
        println!("skipped: {other} does not start: {}", String::from_utf8_lossy(&out.stderr));
        return;
    }
    assert!(out.status.success(), "{other}: {}", String::from_utf8_lossy(&out.stderr));
    println!("built by {other}");
    assert_eq!(answers(&first().1, &target.join("debug/libfrozen_abi_1_0_other_compiler.so")), ANSWERS);
}

/// The name of an installed toolchain whose compiler is another release than ours.
fn another_toolchain() -> Option<String> {
    let said = |command: &mut Command| {
        let out = command.env_remove("RUSTUP_TOOLCHAIN").output().ok().filter(|o| o.status.success())?;
        String::from_utf8(out.stdout).ok()
    };
    let ours = said(Command::new(env!("CARGO")).arg("--version"))?;
    let all = said(Command::new("rustup").args(["toolchain", "list", "--quiet"]))?;
    let mut names = all.lines().filter_map(|l| l.split_whitespace().next());
    names
        .find(|name| {
            let theirs = said(Command::new("rustup").args(["run", name, "cargo", "--version"]));
            theirs.is_some_and(|theirs| theirs != ours)
        })
        .map(str::to_owned)
}

//! Good files for each entry point, from which mutations are made: fixtures, and what our own program writes. The first
//! file that was ever found to break one stays beside them, in `tests/fixtures/hostile/TARGET/`.

use super::{TARGETS, model, run, share};
use crate::{built, campaign::Scene, workspace_root};
use ldalign::{
    files,
    library::{self, Metadata},
    share::{
        archive::Package,
        keys,
        registry::{Index, Registry},
    },
};
use serde_json::json;
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

/// Where the corpus and the run that it is about are made: `corpus/TARGET/` and `run/`.
pub fn directory() -> PathBuf {
    workspace_root().join("target/hostile")
}

/// Makes it all anew; what was found before, and what another test has beside it, stays.
pub fn make() {
    let dir = directory();
    files::remove_dir(&dir.join("run")).expect("a directory can be removed");
    fs::create_dir_all(&dir).expect("a directory can be made");
    let scene = Scene::run();
    let out = scene.start(None, None);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    copy_small(scene.output(), &dir.join("run"));
    for target in TARGETS {
        let (to, broken) = (dir.join("corpus").join(target.name), workspace_root().join("tests/fixtures/hostile"));
        files::remove_dir(&to).expect("a directory can be removed");
        fs::create_dir_all(&to).expect("a directory can be made");
        let write = |name: String, bytes: &[u8]| fs::write(to.join(name), bytes).expect("a file can be written");
        // Good ones come first.
        good(target.name).iter().enumerate().for_each(|(i, bytes)| write(format!("good-{i:03}"), bytes));
        for entry in fs::read_dir(broken.join(target.name)).into_iter().flatten() {
            let path = entry.expect("an entry can be read").path();
            write(format!("once-{}", path.file_name().unwrap_or_default().to_string_lossy()), &read(&path));
        }
    }
    files::remove_dir(super::place()).expect("a directory can be removed");
}

/// A target's files, good ones first, and how many are good.
pub fn of(target: &str) -> (Vec<Vec<u8>>, usize) {
    let entries = fs::read_dir(directory().join("corpus").join(target)).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|e| e.expect("an entry can be read").path()).collect();
    paths.sort();
    let good = paths.iter().filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("good")));
    (paths.iter().map(|path| read(path)).collect(), good.count())
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A run without what is large: weights of models and of optimizers.
fn copy_small(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory can be made");
    for entry in fs::read_dir(from).expect("a run can be listed") {
        let path = entry.expect("an entry can be read").path();
        let to = to.join(path.file_name().unwrap_or_default());
        match path.is_dir() {
            true => copy_small(&path, &to),
            false if read(&path).len() < 1 << 18 => drop(fs::copy(&path, to).expect("a file can be copied")),
            false => (),
        }
    }
}

fn good(target: &str) -> Vec<Vec<u8>> {
    let fixtures = workspace_root().join("tests/fixtures");
    let models = |file: &str, names: &[&str]| -> Vec<Vec<u8>> {
        names.iter().map(|name| read(&fixtures.join("models").join(name).join(file))).collect()
    };
    let texts = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>();
    match target {
        "safetensors" => models("model.safetensors", &["llama"]),
        "config" => models("config.json", &["llama"]),
        "adapter_config" => models("adapter_config.json", &["llama-lora"]),
        "gguf" => vec![read(&fixtures.join("hostile/tiny.gguf"))],
        "tokenizer" => vec![read(&model::talking().join("tokenizer.json"))],
        "tokenizer_config" => vec![read(&model::talking().join("tokenizer_config.json"))],
        "template" => {
            let own = read(&model::talking().join("chat_template.jinja"));
            let other = |name: &str| read(&fixtures.join("templates").join(name));
            vec![own, other("chatml.jinja"), other("features.jinja")]
        }
        "conversation" => texts(&CONVERSATIONS),
        "rows" => {
            let all = [&ROWS[..], &CONVERSATIONS].concat();
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(all[0].as_bytes()).expect("bytes in memory can be compressed");
            let packed = [
                gzip.finish().expect("bytes in memory can be compressed"),
                zstd::encode_all(all[1].as_bytes(), 3).expect("bytes in memory can be compressed"),
            ];
            texts(&all).into_iter().chain(packed).collect()
        }
        "run_config" => {
            texts(&[&run_config(), "model: model\noutput_dir: out\ndata: { path: rows.jsonl }\nrounds: 1\n"])
        }
        "compare_config" => texts(&[COMPARE]),
        "package" => vec![
            zstd::encode_all(archive().as_slice(), 3).expect("bytes in memory can be compressed"),
            Package::pack(&plugin(), &[]).expect("a bundled plugin can be packed").bytes,
        ],
        "package_contents" => vec![archive()],
        "index" => vec![shared().0],
        "lock" => vec![shared().1],
        "library" => vec![read(&plugin())],
        "run_file" => run_files(&run::whole(), ""),
        "checkpoint" => vec![run::state()],
        other => panic!("there is no corpus for {other}"),
    }
}

/// A config with every section.
pub(super) fn run_config() -> String {
    "model: model\noutput_dir: run\nrounds: 2\nseed: 3\nbf16: false\nthreads: 1\n\
     data: { path: rows.jsonl, turns: last, max_rows: 4, max_length: 96 }\n\
     generate: { samples: 2, max_new_tokens: 4, temperature: 1.0, top_k: 0, top_p: 0.9, batch_size: 3 }\n\
     encoder: length\ndistance: { plugin: euclidean, options: { squared: true } }\nschedule: constant\n\
     pairs: nearest-over-farthest\n\
     train: { loss_type: sigmoid, beta: 0.1, learning_rate: 1.0e-4, max_steps: 3, per_device_train_batch_size: 2, \
     gradient_accumulation_steps: 1, save_steps: 1, save_total_limit: 2, logging_steps: 1, \
     lora: { r: 4, lora_alpha: 8, target_modules: [all-linear] } }\n\
     eval: { data: { path: rows.jsonl, max_rows: 4 }, checker: { regex: 'a(.)' } }\n"
        .into()
}

const COMPARE: &str = "output_dir: out\nbase: base.yaml\nset: { rounds: 1 }\nseeds: [1, 2]\nreference: a\n\
                       arms: { a: {}, b: { method: sft, note: plain, set: { train: { max_steps: 2 } } } }\n";

/// Every shape of rows without conversations.
const ROWS: [&str; 5] = [
    "{\"prompt\": \"Reverse loper.\", \"completion\": \"repol\"}\n{\"prompt\": \"\\u00e9\", \"completion\": \"x\"}\n",
    "{\"prompt\": \"p\", \"chosen\": \"c\", \"rejected\": \"r\"}\n",
    "{\"prompt\": \"p\", \"completion\": \"c\", \"weight\": 1.5}\n",
    "{\"instruction\": \"i\", \"input\": \"\", \"output\": \"o\"}\n",
    "{\"conversations\": [{\"from\": \"human\", \"value\": \"u\"}, {\"from\": \"gpt\", \"value\": \"a\"}]}\n",
];

const CONVERSATIONS: [&str; 3] = [
    "{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"user\", \"content\": \"u\"}, \
     {\"role\": \"assistant\", \"content\": \"a\"}]}\n",
    "{\"prompt\": [{\"role\": \"user\", \"content\": \"Reverse loper.\"}], \
     \"completion\": [{\"role\": \"assistant\", \"content\": \"repol\"}]}\n",
    "{\"prompt\": [{\"role\": \"user\", \"content\": \"u\"}], \"chosen\": [{\"role\": \"assistant\", \"content\": \"a\"}], \
     \"rejected\": [{\"role\": \"assistant\", \"content\": \"b\"}]}\n",
];

fn plugin() -> PathBuf {
    built().join("libldalign_distance_euclidean.so")
}

fn metadata() -> Metadata {
    let metadata = json!({"schema": 1, "name": share::NAME, "version": "0.1.0", "abi": "1.0.0", "sdk": "0.1.0",
        "license": "MIT", "target": library::target(), "cpu_features": [], "provides": []});
    serde_json::from_value(metadata).expect("this is what libraries say of themselves")
}

/// A small package's archive.
fn archive() -> Vec<u8> {
    let parts = [("LICENSE", b"MIT".to_vec()), ("plugin.so", b"no library".repeat(9))];
    let listed = parts
        .iter()
        .map(|(name, bytes)| ((*name).to_owned(), json!({"size": bytes.len(), "sha256": files::sha256(bytes)})));
    let listed: serde_json::Map<_, _> = listed.collect();
    let manifest = json!({"schema": 1, "plugin": metadata(), "files": listed}).to_string().into_bytes();
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in [("manifest.json", manifest)].into_iter().chain(parts) {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes.as_slice()).expect("bytes in memory can be packed");
    }
    tar.into_inner().expect("bytes in memory can be packed")
}

/// A registry's index and a lock file.
fn shared() -> (Vec<u8>, Vec<u8>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let secret = dir.path().join("key");
    let (key, _) = keys::generate(&secret, false).expect("a key can be made");
    let package = Package::read(zstd::encode_all(archive().as_slice(), 3).expect("bytes can be compressed"));
    let package = package.expect("the package is good");
    let registry = Registry::open_or_create(&dir.path().join("registry"), Some(key.clone())).expect("a new registry");
    let (signature, _) = keys::sign(&package.id, &package.bytes, &secret).expect("a package can be signed");
    registry.publish(&package, &signature).expect("a package can be published");
    let index: Index = registry.index(share::NAME).expect("it was just published");
    let locked = json!({"version": "0.1.0", "requirement": "^0.1", "registry": "../registry", "key": key,
        "abi": "1.0.0", "sha256": { library::target(): package.sha256 }});
    let lock = json!({"schema": 1, "plugins": { share::NAME: locked }});
    (serde_json::to_vec_pretty(&index).expect("JSON"), serde_json::to_vec_pretty(&lock).expect("JSON"))
}

fn run_files(run: &Path, below: &str) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut names: Vec<_> =
        fs::read_dir(run.join(below)).expect("a run can be listed").map(|e| e.expect("an entry").file_name()).collect();
    names.sort();
    for name in names {
        let path = Path::new(below).join(name);
        let name = path.to_string_lossy().into_owned();
        if run.join(&path).is_dir() {
            all.extend(run_files(run, &name));
        } else {
            all.push([format!("{name}\n").as_bytes(), &read(&run.join(&path))].concat());
        }
    }
    all
}

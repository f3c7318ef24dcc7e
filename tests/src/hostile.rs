//! What files of other people are read by, as functions that take any bytes: entry points for mutated input.
//!
//! Each reads the bytes as the program would and says whether they were taken. It may refuse them in one message, and
//! must neither panic, overflow the stack, nor take more time or memory than the [bounds](SECONDS). `tests/hostile.rs`
//! calls them with [mutations](mutated) of the files in [`corpus`], `fuzz/` lets libFuzzer call them.

pub mod corpus;
mod data;
mod model;
mod mutate;
mod run;
mod share;

pub use mutate::mutated;

use ldalign::Result;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// Seconds of the processor that an input may take.
pub const SECONDS: u32 = 10;
/// Bytes of addresses that the process which reads inputs may have.
pub const MEMORY: u64 = 2 << 30;
/// Bytes of the longest message.
const MESSAGE: usize = 20_000;

/// An entry point.
pub struct Target {
    /// As a file name.
    pub name: &'static str,
    /// Whether the bytes were taken.
    pub read: fn(&[u8]) -> bool,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "safetensors", read: model::safetensors },
    Target { name: "gguf", read: model::gguf },
    Target { name: "config", read: model::config },
    Target { name: "adapter_config", read: model::adapter_config },
    Target { name: "tokenizer", read: model::tokenizer },
    Target { name: "tokenizer_config", read: model::tokenizer_config },
    Target { name: "template", read: model::template },
    Target { name: "conversation", read: data::conversation },
    Target { name: "rows", read: data::rows },
    Target { name: "run_config", read: data::run_config },
    Target { name: "compare_config", read: data::compare_config },
    Target { name: "package", read: share::package },
    Target { name: "package_contents", read: share::package_contents },
    Target { name: "index", read: share::index },
    Target { name: "lock", read: share::lock },
    Target { name: "library", read: share::library },
    Target { name: "run_file", read: run::file },
    Target { name: "checkpoint", read: run::checkpoint },
];

/// Not among [`TARGETS`]: breaks each bound in its way, by which a test sees that it is found out.
pub const BROKEN: Target = Target { name: "broken", read: broken };

/// The entry point of a name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().chain([&BROKEN]).find(|target| target.name == name)
}

/// Has the entry point of a name read bytes.
pub fn read(name: &str, bytes: &[u8]) -> bool {
    (target(name).expect("an entry point's name").read)(bytes)
}

fn broken(bytes: &[u8]) -> bool {
    fn deep(n: u64) -> u64 {
        if n == 0 { 0 } else { 1 + std::hint::black_box(deep(n - 1)) }
    }
    match bytes {
        b"panics" => panic!("as asked"),
        b"recurses" => deep(u64::MAX) > 0,
        b"allocates" => !std::hint::black_box(vec![1u8; 2 * MEMORY as usize]).is_empty(),
        b"spins" => loop {
            std::hint::spin_loop();
        },
        _ => true,
    }
}

/// Whether something was taken; a refusal is held to being a message.
fn taken<T>(result: Result<T>) -> bool {
    result
        .map_err(|e| {
            let text = format!("{e:#}");
            assert!(!text.is_empty() && text.len() < MESSAGE, "a message of {} bytes: {text:.200}", text.len());
            let hint = e.hint_text().unwrap_or_default();
            assert!(hint.len() < MESSAGE, "a hint of {} bytes: {hint:.200}", hint.len());
        })
        .is_ok()
}

/// A directory of this process for the files of an entry point, filled the first time it is asked for.
fn folder(name: &str, fill: impl FnOnce(&Path)) -> PathBuf {
    let folder = place().join(name);
    if !folder.exists() {
        fs::create_dir_all(&folder).expect("a directory can be made");
        fill(&folder);
    }
    folder
}

/// This process's folder, which whoever runs it removes.
fn place() -> &'static Path {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    PLACE.get_or_init(|| {
        let place = std::env::temp_dir().join(format!("hostile-{}", std::process::id()));
        // Of another process that had the number.
        ldalign::files::remove_dir(&place).expect("a directory can be removed");
        place
    })
}

fn put(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("a temporary file can be written");
}

//! Support of the end-to-end tests: what they build, and stand-ins.

pub mod campaign;
pub mod frozen;
pub mod hostile;
pub mod outside;
pub mod random;
pub mod runs;

use ldalign::plugin::Services;
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The workspace's root directory.
pub fn workspace_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a member of the workspace")
}

/// The directory of this profile's binaries and libraries, `target/debug` or `target/release`, with everything in it
/// built.
pub fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let test = std::env::current_exe().expect("a test knows its own path");
        let dir = test.ancestors().nth(2).expect("a test lies in target/PROFILE/deps").to_owned();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(workspace_root()).args(["build", "--workspace", "--quiet"]);
        if dir.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().expect("cargo starts").success(), "the workspace does not build");
        dir
    })
}

/// The `ldalign` program, with the bundled plugins beside it.
pub fn host_binary() -> PathBuf {
    built().join("ldalign")
}

/// Services of a host without a model.
pub struct Bare;

impl Services for Bare {}

//! Records the compiler and the target for `ldalign env`, and says how the program is linked.

use std::{env, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Plugins find the program's `_exit` before the C library's.
    println!("cargo::rustc-link-arg-bins=-Wl,--export-dynamic-symbol=_exit");
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().ok().and_then(|out| String::from_utf8(out.stdout).ok());
    println!("cargo::rustc-env=LDALIGN_RUSTC={}", version.as_deref().unwrap_or("unknown").trim());
    println!("cargo::rustc-env=LDALIGN_TARGET={}", env::var("TARGET").unwrap_or_default());
}

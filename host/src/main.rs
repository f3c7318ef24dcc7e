//! The `ldalign` program.

mod cli;

use ldalign::{interrupt, memory, plugin};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: memory::Allocator = memory::Allocator;

/// In place of the C library's, for plugins too: what it is called with says nothing of a run.
#[unsafe(no_mangle)]
extern "C" fn _exit(status: std::ffi::c_int) -> ! {
    plugin::exit(status)
}

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|a| a == plugin::PROBE_COMMAND) {
        return plugin::probe_main(args);
    }
    if let Err(e) = interrupt::install() {
        ldalign::progress::say(format_args!("cannot handle signals: {e}"));
        return ExitCode::FAILURE;
    }
    cli::main()
}

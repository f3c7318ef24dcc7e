//! What every LD-Align plugin owes its host, as checks that run against the boundary itself.
//!
//! `ldalign plugin check LIBRARY` runs them on a library file. The same checks run in an author's `cargo test`, by one
//! line in the plugin's crate:
//!
//! ```ignore
//! #[cfg(test)]
//! ldalign_conformance::conforms!();
//! ```
//!
//! A check has a stable id such as `distance/symmetric` and a sentence that says what is owed; it passes, fails with
//! what was found (the smallest input that shows it), or is skipped with the reason: a property that is not declared,
//! options that must be given. Everything random comes from one seed. Each check runs in a process of its own with a
//! time limit, so that a plugin that aborts, hangs or exits fails the check it does so in, and no other.
//!
//! `suite` is the list of checks, in `checks`; `subject` the library, its plugins and their instances; `runner` has the
//! checks run and `report` shows what came of it; `linked` is the author's side, the host's is in the host.

mod checks;
pub mod child;
mod inputs;
pub mod linked;
mod memory;
mod process;
mod report;
mod runner;
mod stand_in;
mod subject;
mod suite;

pub use ldalign_abi as abi;
pub use report::{Checked, Report, Verdict};
pub use runner::{Plan, run};
pub use serde_json;
pub use stand_in::StandIn;
pub use subject::{Case, Library};
pub use suite::{Job, Said, answer};

/// Makes a test, `conforms`, that runs every check on the plugins that this crate exports.
///
/// Plugins that need options get them by id; an id given more than once is checked with each:
///
/// ```ignore
/// #[cfg(test)]
/// ldalign_conformance::conforms! { "sentence": { "model_dir": "fixtures/model" } }
/// ```
///
/// A distance that takes latents of one shape only gets that, slots and numbers per slot: `"learned" [1, 384]: {}`.
///
/// The test reads the variables `LDALIGN_CONFORMANCE_FILTER` (a glob over check ids, such as `distance/*`),
/// `LDALIGN_CONFORMANCE_SEED`, and `LDALIGN_CONFORMANCE_IN_PROCESS=1`, which runs the checks in the test's own process,
/// for a debugger.
#[macro_export]
macro_rules! conforms {
    ($($id:literal $([$slots:literal, $dim:literal])? : $options:tt),* $(,)?) => {
        #[test]
        fn conforms() {
            // SAFETY: `export_plugin!` defines it in this crate, with this name and this type.
            unsafe extern "C" {
                #[allow(non_upper_case_globals)]
                safe static _1as_0lib_1header_0root_bmodule_bloader: $crate::abi::abi_stable::library::LibHeader;
            }
            $crate::linked::test(
                &_1as_0lib_1header_0root_bmodule_bloader,
                concat!(module_path!(), "::conforms"),
                &[$(($id, None$(.or(Some([$slots, $dim])))?, $crate::serde_json::json!($options))),*],
            );
        }
    };
}

//! dlopen, and the check that both sides mean the same types.

use super::call::{Call, Who};
use crate::{Error, Result, files};
use ldalign_abi::{
    PluginModule_Ref,
    abi_stable::{
        abi_stability::{StableAbi, check_layout_compatibility},
        library::{AbiHeaderRef, LibHeader, ROOT_MODULE_LOADER_NAME_WITH_NUL},
    },
};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Libraries are never unloaded: threads and thread-locals of theirs may live on.
const RTLD_NODELETE: i32 = 0x1000;

/// What this process has loaded, by canonical path. dlopen answers a path it has seen with the old library, whatever the file holds by then.
static LOADED: Mutex<BTreeMap<PathBuf, (String, PluginModule_Ref)>> = Mutex::new(BTreeMap::new());

/// Loads the library at a canonical path, whose bytes had this hash when they were inspected.
///
/// Between inspection and dlopen the file can be replaced; it is hashed again afterwards, so that what a manifest says is what was loaded,
/// up to a file written in place at that very moment.
pub(super) fn load(path: &Path, sha256: &str, who: Who) -> Result<PluginModule_Ref> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((old, module)) = loaded.get(path) {
        if old != sha256 {
            return Err(replaced(path));
        }
        return Ok(*module);
    }
    let module = who.inside(Call::Loading, || open(path)).map_err(|e| e.at(path.display()))?;
    if files::sha256_file(path)? != sha256 {
        return Err(replaced(path));
    }
    loaded.insert(path.to_owned(), (sha256.to_owned(), module));
    Ok(module)
}

fn replaced(path: &Path) -> Error {
    Error::new("plugin/load", format!("{} was replaced while in use", path.display()))
        .hint("run the same command again")
}

fn open(path: &Path) -> Result<PluginModule_Ref> {
    let fail = |what: &'static str| move |e: libloading::Error| Error::new("plugin/load", what).caused_by(e);
    // SAFETY: runs the library's constructors. It was inspected, and a child process has survived the same call.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) }
        .map_err(fail("the library cannot be loaded"))?;
    // SAFETY: a symbol of this name is abi_stable's header by its naming rule; its magic string is compared by `upgrade`.
    let header: AbiHeaderRef = *unsafe { library.get::<AbiHeaderRef>(ROOT_MODULE_LOADER_NAME_WITH_NUL.as_bytes()) }
        .map_err(fail("its entry symbol cannot be resolved"))?;
    std::mem::forget(library);
    let header: &'static LibHeader = header
        .upgrade()
        .map_err(|_| Error::new("plugin/layout", "built with an incompatible release of abi_stable").hint(REBUILD))?;
    let plugin = header.layout().ok_or_else(|| Error::new("plugin/layout", "carries no type layout").hint(REBUILD))?;
    let host = <PluginModule_Ref as StableAbi>::LAYOUT;
    // The second direction is for a plugin older than the host: all growable types are prefix types whose missing fields read as None
    // or as the default body, but the stock check accepts growth on the plugin's side only.
    if let Err(mismatch) = check_layout_compatibility(host, plugin).into_result()
        && check_layout_compatibility(plugin, host).is_err()
    {
        tracing::debug!("full layout comparison:\n{mismatch}");
        let message = format!("its types differ from this program's: {}", condense(&mismatch.to_string()));
        return Err(Error::new("plugin/layout", message).hint(REBUILD));
    }
    // SAFETY: the layouts agree in one of the directions.
    unsafe { header.init_root_module_with_unchecked_layout::<PluginModule_Ref>() }
        .map_err(|e| Error::new("plugin/layout", format!("its root module cannot be used: {e}")).hint(REBUILD))
}

const REBUILD: &str = "rebuild the plugin with this program's SDK";

/// The 900 lines of a mismatch as one: for each differing type, what the host has and what the plugin has.
fn condense(report: &str) -> String {
    let lines: Vec<&str> = report.lines().map(str::trim).collect();
    let after = |i: usize, n: usize| lines.get(i + n).copied().unwrap_or_default();
    let (mut found, mut type_name) = (Vec::new(), "");
    for (i, line) in lines.iter().enumerate() {
        if *line == "Layout of expected type:" {
            type_name = after(i, 2);
        }
        if let Some(kind) = line.strip_prefix("Error:") {
            found.push(format!("{type_name}: {kind}: host has {}, plugin has {}", after(i, 2), after(i, 4)));
        }
    }
    found.dedup();
    found.join("; ")
}

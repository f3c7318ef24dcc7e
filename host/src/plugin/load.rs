//! dlopen of the bytes that were inspected, and the check that both sides mean the same types.

use super::who::{Call, Who};
use crate::{Code, Error, Result, files};
use ldalign_abi::{
    PluginModule_Ref,
    abi_stable::{
        abi_stability::{
            StableAbi,
            abi_checking::{AbiInstabilityErrors, CheckingGlobals, check_layout_compatibility_with_globals},
        },
        library::{AbiHeaderRef, LibHeader, ROOT_MODULE_LOADER_NAME_WITH_NUL},
        type_layout::{TLFieldOrFunction, TypeLayout},
    },
};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
    io::Errno,
};
use std::{
    collections::BTreeMap,
    fs::{File, Permissions},
    io::{self, Write},
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Libraries are never unloaded: threads and thread-locals of theirs may live on.
const RTLD_NODELETE: i32 = 0x1000;

/// What this process has loaded, by canonical path: a run has one version of each.
static LOADED: Mutex<BTreeMap<PathBuf, (String, PluginModule_Ref)>> = Mutex::new(BTreeMap::new());

/// Loads the library at a canonical path, whose bytes had this hash when they were inspected: those bytes and no
/// others.
pub(super) fn load(path: &Path, sha256: &str, who: Who) -> Result<PluginModule_Ref> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((old, module)) = loaded.get(path) {
        if old != sha256 {
            return Err(replaced(path));
        }
        return Ok(*module);
    }
    let module = who.inside(Call::Loading, || open(path, sha256)).map_err(|e| e.at(path.display()))?;
    loaded.insert(path.to_owned(), (sha256.to_owned(), module));
    Ok(module)
}

fn replaced(path: &Path) -> Error {
    Error::new(Code::PluginLoad, format!("{} was replaced while in use", path.display()))
        .hint("run the same command again")
}

/// Copies of libraries that nobody can change, by their SHA-256. They stay open as long as the process lives: dlopen
/// knows a library by its path, and a descriptor's number would come again.
static COPIES: Mutex<BTreeMap<String, File>> = Mutex::new(BTreeMap::new());

/// The path of a private copy of the library at `path`, whose bytes must have this hash: between inspection and dlopen
/// a file can be replaced.
fn copy(path: &Path, sha256: &str) -> Result<PathBuf> {
    let mut copies = COPIES.lock().unwrap_or_else(PoisonError::into_inner);
    if !copies.contains_key(sha256) {
        let bytes = files::read(path)?;
        if files::sha256(&bytes) != sha256 {
            return Err(replaced(path));
        }
        let name = path.file_name().map_or("plugin".into(), |name| name.to_string_lossy());
        let file = sealed(&name, &bytes).or_else(|e| match e.kind() {
            io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied => {
                tracing::warn!(
                    "{} is loaded from a temporary file, since the system refuses files in memory ({e})",
                    path.display()
                );
                nameless(&bytes)
            }
            _ => Err(e),
        });
        let file = file.map_err(|e| {
            Error::new(Code::PluginLoad, "no private copy of the library can be kept, in memory or in a file")
                .hint("set TMPDIR to a directory that you may write in, of a file system that is not mounted noexec")
                .caused_by(e)
        })?;
        copies.insert(sha256.to_owned(), file);
    }
    Ok(format!("/proc/self/fd/{}", copies[sha256].as_raw_fd()).into())
}

/// A file in memory with these bytes for good.
fn sealed(name: &str, bytes: &[u8]) -> io::Result<File> {
    let name: String = name.chars().filter(|c| *c != '\0').take(200).collect();
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Where systems make such files unfit for code by default, that has to be asked for; older ones do not know the
    // word.
    let made = memfd_create(&name, flags | MemfdFlags::EXEC).or_else(|e| match e {
        Errno::INVAL => memfd_create(&name, flags),
        e => Err(e),
    })?;
    let mut file = File::from(made);
    file.write_all(bytes)?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file)
}

/// A temporary file with these bytes that has no name in any directory, open to read: where the kernel, or a filter of
/// its calls, gives no file in memory. It is no seal: processes of the same user can give themselves leave to change
/// it.
fn nameless(bytes: &[u8]) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(bytes)?;
    file.set_permissions(Permissions::from_mode(0o400))?;
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Loads the library at `path`, whose bytes must have this hash, with whatever its constructors leave behind.
pub(super) fn open(path: &Path, sha256: &str) -> Result<PluginModule_Ref> {
    let fail = |what: &'static str| move |e: libloading::Error| Error::new(Code::PluginLoad, what).caused_by(e);
    let copy = copy(path, sha256)?;
    // SAFETY: runs the library's constructors. These bytes were inspected, and a child process has survived the same
    // call.
    let library = unsafe { Library::open(Some(&copy), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) }
        .map_err(fail("the library cannot be loaded"))?;
    // SAFETY: a symbol of this name is abi_stable's header by its naming rule; its magic string is compared by
    // `upgrade`.
    let header: AbiHeaderRef = *unsafe { library.get::<AbiHeaderRef>(ROOT_MODULE_LOADER_NAME_WITH_NUL.as_bytes()) }
        .map_err(fail("its entry symbol cannot be resolved"))?;
    std::mem::forget(library);
    let header: &'static LibHeader = header.upgrade().map_err(|_| {
        Error::new(Code::PluginLayout, "built with an incompatible release of abi_stable").hint(REBUILD)
    })?;
    let plugin =
        header.layout().ok_or_else(|| Error::new(Code::PluginLayout, "carries no type layout").hint(REBUILD))?;
    let host = <PluginModule_Ref as StableAbi>::LAYOUT;
    agree(host, plugin).map_err(|e| {
        Error::new(Code::PluginLayout, format!("its types differ from this program's: {e}")).hint(REBUILD)
    })?;
    // SAFETY: the layouts agree in one of the directions.
    unsafe { header.init_root_module_with_unchecked_layout::<PluginModule_Ref>() }
        .map_err(|e| Error::new(Code::PluginLayout, format!("its root module cannot be used: {e}")).hint(REBUILD))
}

const REBUILD: &str = "rebuild the plugin with this program's SDK";

/// Whether both sides mean the same types, one of them perhaps grown.
///
/// The second direction is for a plugin older than the host: all growable types are prefix types whose missing fields
/// read as None or as the default body, but the stock check accepts growth on the plugin's side only.
///
/// Each library is held against the host alone: no plugin hands another anything. abi_stable by itself also remembers
/// what it has seen, and refuses a plugin of the host's own boundary after one of an older boundary.
fn agree(host: &'static TypeLayout, plugin: &'static TypeLayout) -> std::result::Result<(), String> {
    let check = |a, b| check_layout_compatibility_with_globals(a, b, &CheckingGlobals::new());
    match check(host, plugin) {
        Err(mismatch) if check(plugin, host).is_err() => {
            tracing::debug!("full layout comparison:\n{mismatch}");
            Err(condense(&mismatch))
        }
        _ => Ok(()),
    }
}

/// The 900 lines of a mismatch as one: where the types differ, what the host has there and what the plugin has.
fn condense(mismatch: &AbiInstabilityErrors) -> String {
    let name = |step: &TLFieldOrFunction| match step {
        TLFieldOrFunction::Field(field) => field.name().to_owned(),
        TLFieldOrFunction::Function(function) => function.name.to_string(),
    };
    let mut found = Vec::new();
    for error in &mismatch.errors {
        // The way to a type is long, and much of it is abi_stable's: `0.shape.shape.__returns.field_0`.
        let mut way = error.stack_trace.iter().rev().map(|step| name(&step.expected));
        let place = way.find(|n| n.starts_with(char::is_alphabetic) && !n.starts_with("field_")).unwrap_or_default();
        let report = error.to_string();
        let lines: Vec<&str> = report.lines().map(str::trim).collect();
        let in_type =
            lines.iter().skip_while(|l| **l != "Layout of expected type:").find_map(|l| l.strip_prefix("type:"));
        let in_type = in_type.unwrap_or("root module");
        // A field takes several lines, of which name and type say enough.
        let value = |heading: &str, from: usize| {
            let after = lines[from..].iter().skip_while(|l| **l != heading).skip(1);
            let shown = after.take_while(|l| !l.is_empty() && **l != "Found:").take(2);
            shown
                .map(|l| l.trim_start_matches("field_name:").trim_start_matches("type:"))
                .collect::<Vec<_>>()
                .join(": ")
        };
        for (i, line) in lines.iter().enumerate() {
            if let Some(kind) = line.strip_prefix("Error:") {
                let (host, plugin) = (value("Expected:", i), value("Found:", i));
                found.push(format!("{in_type} of `{place}`: {kind}: host has {host}, plugin has {plugin}"));
            }
        }
    }
    found.dedup();
    found.join("; ")
}

#[cfg(test)]
mod tests {
    //! The same module at several stages of its life. Layouts are compared by name, not by path.
    #![allow(non_local_definitions)]
    use super::*;

    macro_rules! stage {
        ($stage:ident $fields:tt) => {
            #[allow(dead_code, non_camel_case_types)]
            mod $stage {
                use abi_stable::StableAbi;
                #[repr(C)]
                #[derive(StableAbi)]
                #[sabi(kind(Prefix(prefix_ref = Module_Ref)), missing_field(option))]
                pub struct Module $fields
            }
        };
    }

    stage! { first { pub a: u32, #[sabi(last_prefix_field)] pub b: u64 } }
    stage! { grown { pub a: u32, #[sabi(last_prefix_field)] pub b: u64, pub c: u32 } }
    stage! { retyped { pub a: u32, #[sabi(last_prefix_field)] pub b: i64 } }

    #[test]
    fn growth_is_accepted_on_either_side_and_change_on_none() {
        let (first, grown) = (first::Module_Ref::LAYOUT, grown::Module_Ref::LAYOUT);
        for (host, plugin) in [(first, first), (first, grown), (grown, first), (grown, grown)] {
            assert_eq!(agree(host, plugin), Ok(()));
        }
        // What the second direction is for: alone, the first refuses a plugin older than the host.
        assert!(check_layout_compatibility_with_globals(grown, first, &CheckingGlobals::new()).is_err());
        let e = agree(first, retyped::Module_Ref::LAYOUT);
        assert_eq!(e, Err("u64 of `b`: mismatched type: host has u64, plugin has i64".into()));
        assert!(agree(grown, retyped::Module_Ref::LAYOUT).is_err());
    }
}

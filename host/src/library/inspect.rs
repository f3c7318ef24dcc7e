//! What can be seen in a library's bytes: whole, for this machine, with a plugin's entry, for this boundary.
//!
//! After dlopen has started no error is possible any more: a file cut short kills the process with SIGBUS.

use super::{Metadata, abi_major, target};
use crate::{Code, Error, Result, files, foreign::parse_json};
use ldalign_abi::{METADATA_SCHEMA, METADATA_SECTION, VERSION, abi_stable::library::ROOT_MODULE_LOADER_NAME};
use object::{
    Endianness, Object, ObjectSymbol,
    elf::FileHeader64,
    read::elf::{FileHeader, ProgramHeader, SectionHeader},
};
use std::path::Path;

/// Bytes of metadata that are read; the SDK writes at most a quarter of it.
const LARGEST_METADATA: usize = 64 << 10;

/// A file that looked right.
pub struct Inspected {
    /// Of the whole file.
    pub sha256: String,
    /// Its metadata section.
    pub metadata: Metadata,
}

/// Reads a library file and refuses what cannot be loaded, without running any of it.
///
/// # Errors
/// The file cannot be read, is damaged, is not a plugin, or was built for another machine or boundary.
pub fn inspect(path: &Path) -> Result<Inspected> {
    let bytes = files::read(path)?;
    let metadata = inspect_bytes(&bytes).map_err(|e| e.at(path.display()))?;
    Ok(Inspected { sha256: files::sha256(&bytes), metadata })
}

/// As [`inspect`], for a library in memory; the errors do not name it.
pub fn inspect_bytes(bytes: &[u8]) -> Result<Metadata> {
    let (findings, metadata) = findings(bytes);
    findings.into_iter().try_for_each(|finding| finding.outcome.map(drop))?;
    Ok(metadata.expect("metadata was read, as nothing was refused"))
}

/// What one step of the inspection found: a thing that is looked at before a library is loaded.
#[derive(Debug)]
pub struct Finding {
    /// A word for it.
    pub name: &'static str,
    /// What was found, or why a library is refused.
    pub outcome: Result<String>,
}

/// Every step of the inspection, also those after one that failed where they can be taken, and the metadata if there is
/// any.
pub fn findings(bytes: &[u8]) -> (Vec<Finding>, Option<Metadata>) {
    let mut findings = Vec::new();
    let mut found = |name, outcome| findings.push(Finding { name, outcome });
    let file = match library(bytes) {
        Ok(file) => file,
        Err(e) => {
            found("file", Err(e));
            return (findings, None);
        }
    };
    found("file", Ok(format!("whole, {} bytes", bytes.len())));
    found("machine", machine(&file));
    found("entry", entry(&file));
    let metadata = match metadata(&file) {
        Ok(metadata) => metadata,
        Err(e) => {
            found("metadata", Err(e));
            return (findings, None);
        }
    };
    found("metadata", Ok(format!("{} {} ({})", metadata.name, metadata.version, metadata.license)));
    found("abi", abi(&metadata));
    found("target", fits_target(&metadata));
    found("processor", processor(&metadata));
    (findings, Some(metadata))
}

type Elf<'a> = object::read::elf::ElfFile64<'a, Endianness>;

fn refuse(what: impl Into<String>) -> Error {
    Error::new(Code::PluginFile, what).hint("expected the .so file that `cargo build` makes of a plugin crate")
}

fn library(bytes: &[u8]) -> Result<Elf<'_>> {
    if !bytes.starts_with(b"\x7fELF") {
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(20)]).into_owned();
        return Err(refuse(format!("not a shared library: the file begins with {start:?}")));
    }
    whole(bytes)?;
    Elf::parse(bytes).map_err(|e| refuse("damaged").caused_by(e))
}

fn machine(file: &Elf<'_>) -> Result<String> {
    let (built, ours) = (file.architecture(), std::env::consts::ARCH);
    if !format!("{built:?}").eq_ignore_ascii_case(ours) {
        return Err(refuse(format!("built for {built:?}, this program runs on {ours}")));
    }
    Ok(ours.into())
}

fn entry(file: &Elf<'_>) -> Result<String> {
    if file.kind() != object::ObjectKind::Dynamic {
        return Err(refuse(format!("not a shared library but an ELF file of kind {:?}", file.kind())));
    }
    if !file.dynamic_symbols().any(|s| s.is_definition() && s.name() == Ok(ROOT_MODULE_LOADER_NAME)) {
        return Err(refuse("a shared library, but not a plugin: it has no entry symbol")
            .hint("does the crate call `ldalign_sdk::export_plugin!`?"));
    }
    Ok("a plugin's entry symbol".into())
}

fn metadata(file: &Elf<'_>) -> Result<Metadata> {
    parse_json(section_of(file)?).map_err(|e| refuse("its metadata cannot be read").caused_by(e))
}

/// The metadata section of a library that [`inspect`] has taken.
pub fn section(path: &Path) -> Result<Vec<u8>> {
    let bytes = files::read(path)?;
    let file = Elf::parse(bytes.as_slice()).map_err(|e| refuse("damaged").caused_by(e).at(path.display()))?;
    Ok(section_of(&file)?.to_vec())
}

fn section_of<'a>(file: &Elf<'a>) -> Result<&'a [u8]> {
    let section = file
        .section_by_name(METADATA_SECTION)
        .ok_or_else(|| refuse(format!("a plugin without metadata: it has no section {METADATA_SECTION}")))?;
    let text = object::ObjectSection::data(&section).map_err(|e| refuse("damaged").caused_by(e))?;
    if text.len() > LARGEST_METADATA {
        let what = format!("its metadata are {} bytes long: at most {LARGEST_METADATA} are read", text.len());
        return Err(refuse(what));
    }
    Ok(text)
}

/// Refuses a file that ends before its own tables say it does.
fn whole(bytes: &[u8]) -> Result<()> {
    let end = bytes.len() as u64;
    let short = |what: &str, needed: u64| {
        refuse(format!("cut short: the file has {end} bytes, its {what} end at {needed}"))
            .hint("copy or build the library again")
    };
    let size = size_of::<FileHeader64<Endianness>>() as u64;
    if end < size {
        return Err(short("headers", size));
    }
    let header = FileHeader64::<Endianness>::parse(bytes).map_err(|e| refuse("no 64-bit library").caused_by(e))?;
    let endian = header.endian().map_err(|e| refuse("damaged").caused_by(e))?;
    let table = |at: u64, count: u16, each: u16| at.saturating_add(u64::from(count) * u64::from(each));
    let tables = [
        ("program headers", table(header.e_phoff(endian), header.e_phnum(endian), header.e_phentsize(endian))),
        ("section headers", table(header.e_shoff(endian), header.e_shnum(endian), header.e_shentsize(endian))),
    ];
    if let Some((what, needed)) = tables.into_iter().find(|(_, needed)| *needed > end) {
        return Err(short(what, needed));
    }
    let damaged = |e: object::Error| refuse("damaged").caused_by(e);
    let segments = header.program_headers(endian, bytes).map_err(damaged)?.iter().map(|p| p.file_range(endian));
    let sections = header.section_headers(endian, bytes).map_err(damaged)?.iter().filter_map(|s| s.file_range(endian));
    match segments.chain(sections).map(|(at, size)| at.saturating_add(size)).max() {
        Some(needed) if needed > end => Err(short("contents", needed)),
        _ => Ok(()),
    }
}

fn abi(Metadata { schema, abi, sdk, .. }: &Metadata) -> Result<String> {
    if *schema != METADATA_SCHEMA || abi_major(abi) != abi_major(VERSION) {
        return Err(Error::new(Code::PluginFile, format!("built for plugin ABI {abi}, this program has {VERSION}"))
            .hint("rebuild the plugin with this program's SDK"));
    }
    Ok(format!("{abi}, SDK {sdk}; this program has {VERSION}"))
}

fn fits_target(Metadata { target: built_for, .. }: &Metadata) -> Result<String> {
    let ours = target();
    if *built_for != ours {
        return Err(Error::new(Code::PluginFile, format!("built for {built_for}, this program for {ours}")));
    }
    Ok(ours)
}

fn processor(Metadata { cpu_features, .. }: &Metadata) -> Result<String> {
    let missing: Vec<&str> = cpu_features.iter().map(String::as_str).filter(|f| !processor_has(f)).collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return Err(Error::new(Code::PluginFile, format!("built for processors with {missing}, which this one lacks"))
            .hint("rebuild the plugin without `-C target-cpu=native`"));
    }
    Ok(if cpu_features.is_empty() { "any".into() } else { format!("one with {}", cpu_features.join(", ")) })
}

/// Whether the processor has a feature; true for one we know nothing about, as the probe will tell.
#[cfg(target_arch = "x86_64")]
fn processor_has(feature: &str) -> bool {
    match feature {
        "sse4.2" => is_x86_feature_detected!("sse4.2"),
        "avx" => is_x86_feature_detected!("avx"),
        "avx2" => is_x86_feature_detected!("avx2"),
        "fma" => is_x86_feature_detected!("fma"),
        "bmi2" => is_x86_feature_detected!("bmi2"),
        "avx512f" => is_x86_feature_detected!("avx512f"),
        "avx512bw" => is_x86_feature_detected!("avx512bw"),
        "avx512vl" => is_x86_feature_detected!("avx512vl"),
        _ => true,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn processor_has(_feature: &str) -> bool {
    true
}

#[cfg(test)]
mod tests;

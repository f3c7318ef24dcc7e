//! The package file: NAME-VERSION-TARGET.ldp, a tar.zst of a library, what it says about itself, and texts.
//!
//! The same inputs make the same bytes. A package is read into memory under limits, from nothing but plain files of
//! known names, and whoever holds a [`Package`] holds what its manifest says, to the byte.

use super::PackageId;
use crate::{
    Code, Error, Result, files,
    foreign::{self, parse_json},
    library::{self, Metadata},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::Path,
};

const MANIFEST: &str = "manifest.json";
const LIBRARY: &str = "plugin.so";
/// What a package may hold beside its manifest, with the most bytes of each.
const CONTENTS: [(&str, u64); 3] = [("LICENSE", 1 << 20), (LIBRARY, 256 << 20), ("README.md", 1 << 20)];
const MANIFEST_LIMIT: u64 = 1 << 20;
/// The most bytes of a package file.
pub const PACKED_LIMIT: u64 = 64 << 20;
/// Libraries shrink to a third or a tenth; what grows a hundredfold beyond this allowance was made to fill memory.
const RATIO: u64 = 100;
const ALLOWANCE: u64 = 1 << 20;
const LEVEL: i32 = 19;
/// Window of that level, in powers of two: what a reader must be ready to hold.
const WINDOW_LOG: u32 = 23;

/// `manifest.json`: what the package holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this layout.
    schema: u32,
    /// What the library says about itself: name, version, abi, sdk, license, target, what it provides.
    pub plugin: Metadata,
    /// The other files.
    files: BTreeMap<String, Content>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Content {
    size: u64,
    sha256: String,
}

impl Content {
    fn of(bytes: &[u8]) -> Self {
        Self { size: bytes.len() as u64, sha256: files::sha256(bytes) }
    }
}

/// A package, whole and consistent in itself. Who made it is for its signature to say.
#[derive(Debug)]
pub struct Package {
    /// Which package it says it is.
    pub id: PackageId,
    /// What it holds.
    pub manifest: Manifest,
    /// The file's bytes.
    pub bytes: Vec<u8>,
    /// SHA-256 of the file's bytes.
    pub sha256: String,
    contents: BTreeMap<String, Vec<u8>>,
}

impl Package {
    /// Makes a package of a library file and texts that go with it, by their names in the package: `README.md`,
    /// `LICENSE`.
    ///
    /// # Errors
    /// The library is not a plugin for this machine, or a file cannot be read or is too large.
    pub fn pack(library: &Path, texts: &[(&str, &Path)]) -> Result<Self> {
        let library::Inspected { metadata, .. } = library::inspect(library)?;
        let mut contents = BTreeMap::new();
        for (name, path) in texts.iter().copied().chain([(LIBRARY, library)]) {
            let limit = limit(name).unwrap_or_else(|| panic!("{name} is not a part of a package"));
            contents.insert(name.to_owned(), foreign::read_up_to(path, limit)?);
        }
        let files = contents.iter().map(|(name, bytes)| (name.clone(), Content::of(bytes))).collect();
        let manifest = Manifest { schema: 1, plugin: metadata, files };
        let bytes = encode(&manifest, &contents)
            .map_err(|e| Error::new(Code::SharePackage, "cannot pack").at(library.display()).caused_by(e))?;
        // Through the reader, so that nothing is given out that it would refuse.
        Self::read(bytes)?.for_this_program()
    }

    /// Reads a package file; see [`read`](Self::read).
    pub fn open(path: &Path) -> Result<Self> {
        Self::read(foreign::read_up_to(path, PACKED_LIMIT)?).map_err(|e| e.at(path.display()))
    }

    /// Reads a package from its bytes. Nothing is written anywhere.
    ///
    /// # Errors
    /// `share/package`: damaged, larger unpacked than limits allow, or with anything in it but the plain files its
    /// manifest lists.
    pub fn read(bytes: Vec<u8>) -> Result<Self> {
        let mut contents = unpack(&bytes).map_err(|e| {
            refuse("refused").hint("get the package again; if that does not help, tell who made it").caused_by(e)
        })?;
        let manifest = contents.remove(MANIFEST).ok_or_else(|| refuse(format!("it has no {MANIFEST}")))?;
        let manifest: Manifest =
            parse_json(&manifest).map_err(|e| refuse(format!("its {MANIFEST} cannot be understood")).caused_by(e))?;
        if manifest.schema != 1 {
            return Err(refuse(format!("its layout has version {}, this program knows 1", manifest.schema))
                .hint("use a newer release"));
        }
        let found: BTreeMap<String, Content> = contents.iter().map(|(n, b)| (n.clone(), Content::of(b))).collect();
        if found != manifest.files || !found.contains_key(LIBRARY) {
            return Err(refuse(format!("its files are not those of its {MANIFEST}")).hint("get the package again"));
        }
        let id = PackageId::of(&manifest.plugin)?;
        Ok(Self { id, manifest, sha256: files::sha256(&bytes), bytes, contents })
    }

    /// The package, if its library is one that this program can load and the one that the manifest describes.
    ///
    /// # Errors
    /// As [`library::inspect`], and `share/package` where library and manifest differ.
    pub fn for_this_program(self) -> Result<Self> {
        let (id, ours) = (&self.id, library::target());
        if id.target != ours {
            return Err(refuse(format!("{id} cannot run here: this program is for {ours}"))
                .hint("ask for a package of this target"));
        }
        let found = library::inspect_bytes(self.library()).map_err(|e| e.at(&self.id))?;
        if found != self.manifest.plugin {
            return Err(refuse(format!("{id} holds a library that says of itself {} {}", found.name, found.version))
                .hint("do not use it, and tell who made it"));
        }
        Ok(self)
    }

    /// The library's bytes.
    pub fn library(&self) -> &[u8] {
        &self.contents[LIBRARY]
    }
}

fn refuse(what: impl Into<String>) -> Error {
    Error::new(Code::SharePackage, what.into()).at("not a package that can be used")
}

fn limit(name: &str) -> Option<u64> {
    CONTENTS.iter().chain([&(MANIFEST, MANIFEST_LIMIT)]).find(|(n, _)| *n == name).map(|(_, limit)| *limit)
}

/// The manifest first, the others by name, without times and owners.
fn encode(manifest: &Manifest, contents: &BTreeMap<String, Vec<u8>>) -> io::Result<Vec<u8>> {
    let manifest = serde_json::to_vec_pretty(manifest)?;
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in [(MANIFEST, &manifest)].into_iter().chain(contents.iter().map(|(n, b)| (n.as_str(), b))) {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, bytes.as_slice())?;
    }
    let tar = tar.into_inner()?;
    let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL)?;
    encoder.include_checksum(true)?;
    encoder.window_log(WINDOW_LOG)?;
    encoder.set_pledged_src_size(Some(tar.len() as u64))?;
    io::copy(&mut tar.as_slice(), &mut encoder)?;
    encoder.finish()
}

/// The files of a package. Only plain files, each of a known name, once, within its limit, and nothing after them.
fn unpack(packed: &[u8]) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let wrong = |what: String| io::Error::other(what);
    let mut decoder = zstd::Decoder::with_buffer(packed)?.single_frame();
    decoder.window_log_max(WINDOW_LOG)?;
    let largest = ALLOWANCE + MANIFEST_LIMIT + CONTENTS.iter().map(|(_, limit)| limit).sum::<u64>();
    let most = largest.min(ALLOWANCE + RATIO * packed.len() as u64);
    let mut archive = tar::Archive::new(Bounded { inner: &mut decoder, most, left: most });
    let mut contents = BTreeMap::new();
    // Raw: extensions, which could rename what follows them or make it large, are entries of a type that is refused.
    for entry in archive.entries()?.raw(true) {
        let entry = entry?;
        let shown = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if entry.header().entry_type() != tar::EntryType::Regular {
            return Err(wrong(format!("{shown:?} is not a plain file but {:?}", entry.header().entry_type())));
        }
        let Some(limit) = limit(&shown) else {
            let known: Vec<&str> = [MANIFEST].into_iter().chain(CONTENTS.map(|(name, _)| name)).collect();
            return Err(wrong(format!("{shown:?} is none of the files a package may hold: {}", known.join(", "))));
        };
        if entry.size() > limit {
            return Err(wrong(format!("{shown} has {} bytes, the most is {limit}", entry.size())));
        }
        let size = entry.size();
        let mut bytes = Vec::new();
        entry.take(limit).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != size {
            return Err(wrong(format!("{shown} is cut short")));
        }
        if contents.insert(shown.clone(), bytes).is_some() {
            return Err(wrong(format!("{shown} is in it twice")));
        }
    }
    let mut rest = archive.into_inner();
    let mut part = [0; 1 << 12];
    loop {
        match rest.read(&mut part)? {
            0 => break,
            n if part[..n].iter().any(|b| *b != 0) => return Err(wrong("something follows its end".into())),
            _ => {}
        }
    }
    if !decoder.finish().is_empty() {
        return Err(wrong("something follows its end".into()));
    }
    Ok(contents)
}

/// A reader that fails where more than `most` bytes come.
struct Bounded<R> {
    inner: R,
    most: u64,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.left = self.left.checked_sub(n as u64).ok_or_else(|| {
            io::Error::other(format!("it unpacks to more than {} bytes, too much for its size", self.most))
        })?;
        Ok(n)
    }
}

#[cfg(test)]
mod tests;

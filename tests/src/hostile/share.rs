//! Packages, registries, lock files and plugin libraries, of which no code is run.

use super::{folder, put, taken};
use ldalign::{
    Error, Result, library,
    share::{
        archive::Package,
        keys,
        lock::Lock,
        registry::{Registry, resolve},
    },
};
use std::fs;

/// The plugin that files of the corpus are about.
pub(super) const NAME: &str = "chord";

pub fn package(bytes: &[u8]) -> bool {
    taken(Package::read(bytes.to_vec()))
}

/// The archive in a package, packed well.
pub fn package_contents(bytes: &[u8]) -> bool {
    package(&zstd::encode_all(bytes, 1).expect("bytes in memory can be compressed"))
}

pub fn index(bytes: &[u8]) -> bool {
    let folder = folder("registry", |folder| {
        let (key, _) = keys::generate(&folder.join("key"), false).expect("a key can be made");
        Registry::open_or_create(folder, Some(key)).expect("a registry can be made");
        fs::create_dir_all(folder.join("index")).expect("a directory can be made");
    });
    put(&folder.join("index").join(format!("{NAME}.json")), bytes);
    let read = || -> Result<()> {
        let registry = Registry::open(&folder)?;
        let index = registry.index(NAME)?;
        let target = library::target();
        let release = resolve(&index, &">=0.0.0".parse().expect("a requirement"), &target, &registry.names())?;
        // It lists a package that is not there.
        let fetched: Result<(), Error> = registry.fetch(NAME, release, registry.key()).map(drop);
        assert!(!taken(fetched), "there is no package");
        Ok(())
    };
    taken(read())
}

pub fn lock(bytes: &[u8]) -> bool {
    let file = folder("lock", |_| ()).join("ldalign.lock");
    put(&file, bytes);
    taken(Lock::read(&file))
}

pub fn library(bytes: &[u8]) -> bool {
    let (findings, metadata) = library::findings(bytes);
    findings.into_iter().for_each(|finding| drop(format!("{finding:?}")));
    let found = library::inspect_bytes(bytes);
    assert!(found.is_err() || metadata.is_some());
    taken(found.map(|metadata| metadata.provides.iter().map(|one| one.promises()).collect::<String>()))
}

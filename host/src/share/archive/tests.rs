#![allow(clippy::unwrap_used)]
use super::*;

fn manifest(contents: &BTreeMap<String, Vec<u8>>) -> Manifest {
    let plugin = serde_json::json!({
        "schema": 1, "name": "chord", "version": "0.1.0", "abi": "1.0.0", "sdk": "0.1.0", "license": "MIT",
        "target": "x86_64-linux-gnu", "cpu_features": [], "provides": [],
    });
    let files = contents.iter().map(|(name, bytes)| (name.clone(), Content::of(bytes))).collect();
    Manifest { schema: 1, plugin: serde_json::from_value(plugin).unwrap(), files }
}

fn good() -> (Manifest, BTreeMap<String, Vec<u8>>) {
    let contents = BTreeMap::from([(LIBRARY.into(), b"no real library".repeat(99)), ("LICENSE".into(), b"MIT".into())]);
    (manifest(&contents), contents)
}

fn packed() -> Vec<u8> {
    let (manifest, contents) = good();
    encode(&manifest, &contents).unwrap()
}

/// What a reader says of an archive made by hand, in which paths are written as they are given.
fn says(entries: &[(tar::EntryType, &str, &[u8])]) -> String {
    let mut tar = tar::Builder::new(Vec::new());
    for (kind, name, bytes) in entries {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        tar.append(&header, *bytes).unwrap();
    }
    let tar = tar.into_inner().unwrap();
    let e = Package::read(zstd::encode_all(tar.as_slice(), 3).unwrap()).unwrap_err();
    assert_eq!(e.code(), Code::SharePackage);
    format!("{e:#}")
}

#[test]
fn what_is_packed_is_read_back() {
    let package = Package::read(packed()).unwrap();
    let (manifest, contents) = good();
    assert_eq!((package.id.file_name().as_str(), &package.manifest), ("chord-0.1.0-x86_64-linux-gnu.ldp", &manifest));
    assert_eq!(package.library(), contents[LIBRARY]);
    assert_eq!(package.sha256, files::sha256(&packed()));
}

#[test]
fn nothing_unpacks_to_more_than_a_package_may_hold() {
    // Large enough that the ratio alone would let 400 MB pass, then zeros, which follow the end of every archive.
    let mut noise = 1u32;
    let library: Vec<u8> = (0..4 << 20)
        .map(|_| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 24) as u8
        })
        .collect();
    let contents = BTreeMap::from([(LIBRARY.into(), library)]);
    let mut tar = zstd::decode_all(encode(&manifest(&contents), &contents).unwrap().as_slice()).unwrap();
    let padded = |tar: &[u8]| Package::read(zstd::encode_all(tar, 1).unwrap()).map(drop).map_err(|e| format!("{e:#}"));
    tar.resize(tar.len() + (1 << 20), 0);
    assert_eq!(padded(&tar), Ok(()));
    tar.resize(300 << 20, 0);
    let e = padded(&tar).unwrap_err();
    assert!(e.contains("it unpacks to more than 272629760 bytes"), "{e}");
}

#[test]
fn only_plain_files_of_known_names_each_once() {
    use tar::EntryType as T;
    let names = ["../plugin.so", "/etc/passwd", "a/plugin.so", "./plugin.so", "plugin.so\u{1}", "Plugin.so", ""];
    for name in names {
        let said = says(&[(T::Regular, name, b"x")]);
        assert!(said.contains("is none of the files a package may hold"), "{name:?}: {said}");
    }
    // Directories, links, devices, sparse files, and the extensions that rename or enlarge what follows.
    for kind in [
        T::Directory,
        T::Symlink,
        T::Link,
        T::Char,
        T::Block,
        T::Fifo,
        T::GNUSparse,
        T::GNULongName,
        T::GNULongLink,
        T::XHeader,
        T::XGlobalHeader,
        T::Continuous,
    ] {
        let said = says(&[(kind, LIBRARY, b"")]);
        assert!(said.contains("\"plugin.so\" is not a plain file but"), "{kind:?}: {said}");
    }
    assert!(says(&[(T::Regular, LIBRARY, b"x"), (T::Regular, LIBRARY, b"x")]).contains("is in it twice"));
    assert!(says(&[(T::Regular, LIBRARY, b"x")]).contains("it has no manifest.json"));
    assert!(says(&[(T::Regular, MANIFEST, b"{}")]).contains("cannot be understood"));
    assert!(
        says(&[(T::Regular, "LICENSE", &vec![0; (1 << 20) + 1])]).contains("LICENSE has 1048577 bytes, the most is")
    );
}

#[test]
fn a_manifest_is_held_to_its_word() {
    let refused = |change: fn(&mut Manifest, &mut BTreeMap<String, Vec<u8>>)| {
        let (mut manifest, mut contents) = good();
        change(&mut manifest, &mut contents);
        format!("{:#}", Package::read(encode(&manifest, &contents).unwrap()).unwrap_err())
    };
    let differs = "its files are not those of its manifest.json";
    assert!(refused(|_, c| c.get_mut(LIBRARY).unwrap()[7] ^= 1).contains(differs));
    assert!(refused(|_, c| drop(c.remove("LICENSE"))).contains(differs));
    assert!(refused(|_, c| drop(c.insert("README.md".into(), vec![]))).contains(differs));
    assert!(
        refused(|m, c| *m = {
            c.remove(LIBRARY);
            manifest(c)
        })
        .contains(differs)
    );
    assert!(refused(|m, _| m.schema = 2).contains("its layout has version 2"));
    assert!(refused(|m, _| m.plugin.version = "1".into()).contains("is not MAJOR.MINOR.PATCH"));
    assert!(refused(|m, _| m.plugin.name = "../up".into()).contains("cannot be a package"));
    assert!(refused(|m, _| m.plugin.target = "a b".into()).contains("cannot be a package"));
    assert!(refused(|m, _| m.plugin.target = "a\nb".into()).contains("holds control characters"));
}

#[test]
fn what_would_fill_the_memory_is_refused_early() {
    let zeros = |n: usize| zstd::encode_all(io::repeat(0).take(n as u64), 3).unwrap();
    let e = format!("{:#}", Package::read(zeros(64 << 20)).unwrap_err());
    assert!(e.contains("too much for its size"), "{e}");
    // One entry that says it is small, and one that is what it says.
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(8 << 20);
    tar.append_data(&mut header, LIBRARY, io::repeat(0).take(8 << 20)).unwrap();
    let e =
        format!("{:#}", Package::read(zstd::encode_all(tar.into_inner().unwrap().as_slice(), 3).unwrap()).unwrap_err());
    assert!(e.contains("too much for its size"), "{e}");
}

#[test]
fn nothing_is_cut_off_hung_on_or_flipped() {
    let whole = packed();
    for cut in 0..whole.len() {
        assert!(Package::read(whole[..cut].to_vec()).is_err(), "cut at {cut}");
    }
    for extra in [whole.clone(), vec![0], zstd::encode_all(&b"more"[..], 3).unwrap()] {
        let e = format!("{:#}", Package::read([whole.clone(), extra].concat()).unwrap_err());
        assert!(e.ends_with("something follows its end"), "{e}");
    }
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        // A flag of the frame that nothing depends on may be free; contents never are.
        if let Ok(package) = Package::read(bytes) {
            assert_eq!((package.manifest, package.contents), good(), "flipped at {at}");
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        proptest::prop_assert!(Package::read(bytes).is_err());
    }

    #[test]
    fn no_archive_panics(bytes: Vec<u8>, at in 0..2048usize, flips: Vec<(u16, u8)>) {
        // Inside a sound frame, and near a sound archive, arbitrary bytes get further.
        let mut tar = zstd::decode_all(packed().as_slice()).unwrap();
        for (i, x) in flips {
            let i = usize::from(i) % tar.len();
            tar[i] ^= x;
        }
        tar.splice(at..at, bytes);
        let _ = Package::read(zstd::encode_all(tar.as_slice(), 1).unwrap());
    }
}

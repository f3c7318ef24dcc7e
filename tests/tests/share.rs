//! Two teams share a plugin: what `docs/share-plugins.md` says they do, and everything that is refused between them.
//!
//! Whatever is refused leaves the user's home and project as they were.
#![allow(clippy::unwrap_used)]

use ldalign::{files, library, share};
use ldalign_tests::{built, outside, workspace_root};
use std::{
    collections::BTreeMap,
    fs,
    io::Cursor,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};
use tar::EntryType;

/// The example's distance, as its author built it.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| outside::build(&workspace_root().join("examples/third-party-distance"), "release"))
}

/// The package file of a version.
fn package(version: &str) -> String {
    format!("minkowski-{version}-{}.ldp", library::target())
}

/// Two teams with a home and a project each, beside each other, and a registry between them.
struct Teams {
    root: tempfile::TempDir,
}

/// What a command did.
struct Said {
    ok: bool,
    text: String,
}

impl Said {
    #[track_caller]
    fn done(self) -> String {
        assert!(self.ok, "{}", self.text);
        self.text
    }
    #[track_caller]
    fn refused(self, code: &str, why: &str) {
        let text = &self.text;
        assert!(
            !self.ok && text.contains(&format!("error[{code}]")) && text.contains(why),
            "not {code} {why:?}: {text}"
        );
    }
}

impl From<Output> for Said {
    fn from(out: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { ok: out.status.success(), text: text(&out.stdout) + &text(&out.stderr) }
    }
}

impl Teams {
    /// Team A has its library, team B a config that names it, and both have nothing else.
    fn new() -> Self {
        let teams = Self { root: tempfile::tempdir().unwrap() };
        for team in ["a", "b"] {
            fs::create_dir_all(teams.at(team).join("home")).unwrap();
        }
        let example = workspace_root().join("examples/third-party-distance");
        let a = teams.at("a");
        fs::create_dir_all(a.join("target/release")).unwrap();
        fs::copy(library(), a.join("target/release/libminkowski.so")).unwrap();
        fs::copy(example.join("Cargo.toml"), a.join("README.md")).unwrap();
        fs::write(a.join("LICENSE"), "MIT OR Apache-2.0\n").unwrap();
        teams.config("b", "distance: minkowski");
        teams
    }

    /// Team A has published versions of its library, and team B trusts the registry.
    fn published(versions: &[&str]) -> Self {
        let teams = Self::new();
        teams.say("a", "plugin keygen home/keys/team --no-password").done();
        for version in versions {
            teams.publish(version).done();
        }
        fs::copy(teams.at("a/home/keys/team.pub"), teams.at("b/team.pub")).unwrap();
        teams.say("b", "plugin trust ../registry --key team.pub").done();
        teams
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn config(&self, team: &str, more: &str) {
        let clean_golden = workspace_root().join("examples/clean-golden");
        let (model, rows) = (clean_golden.join("model"), clean_golden.join("golden.jsonl"));
        let text = format!(
            "model: {}\noutput_dir: run\nthreads: 1\ndata: {{ path: {}, max_rows: 8, max_length: 96 }}\n\
             generate: {{ samples: 1, max_new_tokens: 4 }}\n{more}\n",
            model.display(),
            rows.display()
        );
        fs::write(self.at(team).join("run.yaml"), text).unwrap();
    }

    fn shell(&self, team: &str, script: &str) -> Said {
        let path = std::env::join_paths(
            [built().to_owned()].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
        );
        let mut bash = Command::new("sh");
        for name in ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "LDALIGN_PLUGINS", "LDALIGN_KEY_PASSWORD"] {
            bash.env_remove(name);
        }
        bash.env("PATH", path.unwrap()).env("HOME", self.at(team).join("home"));
        bash.current_dir(self.at(team)).args(["-e", "-c", script]).output().unwrap().into()
    }

    /// `ldalign ...` in a team's directory.
    fn say(&self, team: &str, arguments: &str) -> Said {
        self.shell(team, &format!("ldalign {arguments}"))
    }

    /// Team A packs, signs and publishes its library as a version.
    fn publish(&self, version: &str) -> Said {
        let library = self.at("a/target/release/libminkowski.so");
        fs::write(&library, versioned(version)).unwrap();
        let package = package(version);
        self.say("a", "plugin pack target/release/libminkowski.so").done();
        self.say("a", &format!("plugin sign {package} --key home/keys/team")).done();
        self.say("a", &format!("plugin publish {package} --registry ../registry --key home/keys/team.pub"))
    }

    /// Every file of team B, by name and hash: what must stay as it was.
    fn disk(&self) -> BTreeMap<PathBuf, String> {
        files_of(&self.at("b"))
    }

    /// A command of team B is refused, and nothing of it stays.
    #[track_caller]
    fn refuses(&self, arguments: &str, code: &str, why: &str) {
        let before = self.disk();
        self.say("b", arguments).refused(code, why);
        assert_eq!(self.disk(), before, "{arguments}: left something behind");
    }

    /// The one file of team B's store with this name.
    fn stored(&self, name: &str) -> PathBuf {
        let mut found = fs::read_dir(self.at("b/home/.local/share/ldalign/plugins")).unwrap();
        let directory = found.find_map(|e| Some(e.unwrap().path()).filter(|p| p.is_dir())).unwrap();
        directory.join(name)
    }

    /// Puts a file into the registry that `publish` would refuse, signed with team A's key and listed.
    fn plant(&self, id: (&str, &str), bytes: &[u8], comment: impl FnOnce(&str) -> String) {
        let (version, target) = id;
        let sha256 = files::sha256(bytes);
        let path = self.at("registry/packages/minkowski").join(format!("minkowski-{version}-{target}.ldp"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        let comment = comment(&format!("name:minkowski version:{version} target:{target} sha256:{sha256}"));
        fs::write(share::keys::signature_path(&path), self.sign(bytes, &comment)).unwrap();
        let index = self.at("registry/index/minkowski.json");
        let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
        let list = json["releases"].as_array_mut().unwrap();
        let mut release = list[0].clone();
        release["version"] = version.into();
        release["target"] = target.into();
        release["sha256"] = sha256.into();
        list.retain(|r| r["version"] != version || r["target"] != target);
        list.push(release);
        fs::write(&index, json.to_string()).unwrap();
    }

    /// What team A's key signs, whatever it is.
    fn sign(&self, bytes: &[u8], comment: &str) -> String {
        let secret = fs::read_to_string(self.at("a/home/keys/team")).unwrap();
        let secret = minisign::SecretKeyBox::from_string(&secret).unwrap().into_unencrypted_secret_key().unwrap();
        minisign::sign(None, &secret, Cursor::new(bytes), Some(comment), None).unwrap().into_string()
    }
}

/// Whoever may write in a shared directory may plant links there: what they lead to stays as it was.
#[test]
fn planted_links_are_not_followed() {
    let teams = Teams::published(&["0.1.0"]);
    let victim = teams.at("victim");
    fs::write(&victim, "precious").unwrap();
    let plant = |path: &str| {
        let path = teams.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&victim, path).unwrap();
    };
    let next = package("0.2.0");
    plant("registry/index/minkowski.json.partial");
    plant(&format!("registry/packages/minkowski/{next}.partial"));
    plant(&format!("registry/packages/minkowski/{next}.minisig.partial"));
    teams.publish("0.2.0").done();
    plant("b/home/.local/share/ldalign/plugins/.lock");
    teams.say("b", "plugin install minkowski").refused("file/io", "cannot open");
    fs::remove_file(teams.at("b/home/.local/share/ldalign/plugins/.lock")).unwrap();
    teams.say("b", "plugin install minkowski").done();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

/// The library as if it had been built with another version: its metadata are text in the file.
fn versioned(version: &str) -> Vec<u8> {
    let mut bytes = fs::read(library()).unwrap();
    let (old, new) = (b"\"version\":\"0.1.0\"".as_slice(), format!("\"version\":\"{version}\""));
    assert_eq!(old.len(), new.len(), "the text must not move");
    let places: Vec<usize> = (0..bytes.len() - old.len()).filter(|i| bytes[*i..].starts_with(old)).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + old.len()].copy_from_slice(new.as_bytes());
    }
    bytes
}

fn files_of(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files_of(&path)),
            false => drop(found.insert(path.clone(), files::sha256_file(&path).unwrap())),
        }
    }
    found
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// A compressed archive whose paths are written as given.
fn archive(entries: &[(EntryType, &str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (kind, name, bytes) in entries {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        if *kind == EntryType::Symlink {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        tar.append(&header, *bytes).unwrap();
    }
    zstd::encode_all(tar.into_inner().unwrap().as_slice(), 3).unwrap()
}

/// The distance of the first pair that team B scored.
fn first_distance(teams: &Teams, team: &str) -> f64 {
    let scores = fs::read_to_string(teams.at(team).join("run/round-1/scores.jsonl")).unwrap();
    serde_json::from_str::<serde_json::Value>(scores.lines().next().unwrap()).unwrap()["distance"].as_f64().unwrap()
}

#[test]
fn the_page_about_sharing_works_as_written() {
    let page = fs::read_to_string(workspace_root().join("docs/share-plugins.md")).unwrap();
    let page = page.replace("x86_64-linux-gnu", &library::target());
    let block = |text: &str, language: &str| -> Vec<String> {
        let fence = format!("```{language}\n");
        text.split(&fence).skip(1).map(|part| part.split_once("```").expect("a block ends").0.to_owned()).collect()
    };
    let section = |heading: &str| {
        let (_, rest) = page.split_once(&format!("## {heading}\n")).expect("the page has this heading");
        rest.split("\n## ").next().unwrap().to_owned()
    };
    let teams = Teams::new();
    for script in block(&section("The team that publishes"), "sh") {
        teams.shell("a", &script).done();
    }
    fs::copy(teams.at("a/home/keys/team.pub"), teams.at("b/team.pub")).unwrap();
    let uses = section("The team that uses it");
    teams.config("b", &block(&uses, "yaml").concat());
    let said: Vec<String> = block(&uses, "sh").iter().map(|script| teams.shell("b", script).done()).collect();
    let said = said.join("");
    assert!(said.contains("distance minkowski: Minkowski distance of order p"), "{said}");
    let signed = format!(
        "distance `minkowski` of minkowski 0.1.0 (sha256 {:.12}), signed by ",
        files::sha256_file(library()).unwrap()
    );
    assert!(said.contains(&signed), "{said}");
    let measured = first_distance(&teams, "b");

    // What the run used is in its manifest.
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(teams.at("b/run/manifest.json")).unwrap()).unwrap();
    let used = &manifest["plugins"][1];
    let lock: serde_json::Value = serde_json::from_slice(&fs::read(teams.at("b/ldalign.lock")).unwrap()).unwrap();
    let locked = &lock["plugins"]["minkowski"];
    assert_eq!(used["sha256"], files::sha256_file(library()).unwrap());
    assert_eq!(used["origin"]["state"], "signed");
    let key: share::keys::PublicKey = serde_json::from_value(locked["key"].clone()).unwrap();
    assert_eq!(used["origin"]["key_id"], key.id());
    assert_eq!(used["origin"]["package"], locked["sha256"][library::target()]);
    assert_eq!(manifest["plugins"][0]["origin"]["state"], "bundled");

    // A clean home with what the team has committed.
    fs::create_dir_all(teams.at("ci/home")).unwrap();
    for name in ["run.yaml", "ldalign.lock", "team.pub"] {
        fs::copy(teams.at("b").join(name), teams.at("ci").join(name)).unwrap();
    }
    for script in block(&section("Everybody else, and CI"), "sh") {
        teams.shell("ci", &script).done();
    }
    assert_eq!(first_distance(&teams, "ci"), measured);
    assert_eq!(fs::read(teams.at("ci/ldalign.lock")).unwrap(), fs::read(teams.at("b/ldalign.lock")).unwrap());
}

#[test]
fn packages_have_the_same_bytes_wherever_and_whenever_they_are_made() {
    let teams = Teams::new();
    let pack = |from: &str, out: &str| {
        let command = format!("plugin pack {from} --readme README.md --license LICENSE --out {out}");
        teams.say("a", &command).done();
        fs::read(teams.at("a").join(out).join(package("0.1.0"))).unwrap()
    };
    let first = pack("target/release/libminkowski.so", "one");
    let other = teams.at("a/elsewhere.so");
    fs::copy(library(), &other).unwrap();
    fs::File::open(&other).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert!(first == pack("elsewhere.so", "two"), "another place, name and time make another package");
    teams.say("a", "plugin pack LICENSE").refused("plugin/file", "LICENSE: not a shared library");
}

#[test]
fn what_is_published_stays() {
    let teams = Teams::published(&["0.1.0"]);
    let before = files_of(&teams.at("registry"));
    let publish = format!("plugin publish {} --registry ../registry", package("0.1.0"));
    assert!(teams.say("a", &publish).done().contains("published already, with the same bytes: nothing to do"));
    // Other bytes under the same version.
    teams.say("a", "plugin pack target/release/libminkowski.so --license LICENSE").done();
    teams.say("a", &publish).refused("share/signature", "does not fit the file, which was changed");
    teams.say("a", &format!("plugin sign {} --key home/keys/team", package("0.1.0"))).done();
    teams.say("a", &publish).refused("share/registry", "is published already, with other bytes");
    // Another key: neither into this registry, nor to begin another with a package it did not sign.
    teams.say("a", "plugin keygen home/keys/other --no-password").done();
    let with =
        |key: &str, registry: &str| format!("plugin publish {} --registry {registry} --key {key}", package("0.1.0"));
    teams.say("a", &with("home/keys/other.pub", "../other")).refused("share/signature", "signed by another key");
    assert!(!teams.at("other").exists());
    teams.say("a", &format!("plugin sign {} --key home/keys/other", package("0.1.0"))).done();
    teams.say("a", &publish).refused("share/signature", "signed by another key");
    teams.say("a", &with("home/keys/other.pub", "../registry")).refused("share/registry", "belongs to key ");
    fs::remove_file(teams.at("a").join(format!("{}.minisig", package("0.1.0")))).unwrap();
    teams.say("a", &publish).refused("share/signature", "has no signature beside it");
    assert_eq!(files_of(&teams.at("registry")), before);
}

#[test]
fn a_damaged_package_or_signature_is_not_installed() {
    let teams = Teams::published(&["0.1.0"]);
    let path = teams.at("registry/packages/minkowski").join(package("0.1.0"));
    let signature = share::keys::signature_path(&path);
    let (good, good_signature) = (fs::read(&path).unwrap(), fs::read(&signature).unwrap());
    for at in [0, 9, good.len() / 2, good.len() - 1] {
        flip(&path, at);
        teams.refuses("plugin install minkowski", "share/signature", "does not fit the file, which was changed");
        fs::write(&path, &good).unwrap();
    }
    let lines: Vec<usize> = good_signature.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i).collect();
    // In the signature, in the trusted comment's version, in the comment's signature.
    for at in [lines[0] + 60, lines[1] + 40, lines[2] + 60] {
        flip(&signature, at);
        teams.refuses("plugin install minkowski", "share/signature", "its signature");
        fs::write(&signature, &good_signature).unwrap();
    }
    fs::write(&path, &good[..good.len() / 2]).unwrap();
    teams.refuses("plugin install minkowski", "share/signature", "does not fit the file");
    fs::remove_file(&signature).unwrap();
    teams.refuses("plugin install minkowski", "share/signature", "has no signature beside it");
    fs::remove_file(&path).unwrap();
    teams.refuses("plugin install minkowski", "file/io", "cannot read");
    // The control: with the good bytes back it installs.
    fs::write(&path, &good).unwrap();
    fs::write(&signature, &good_signature).unwrap();
    teams.say("b", "plugin install minkowski").done();
}

#[test]
fn what_a_publisher_itself_made_wrong_is_not_installed() {
    let ours = library::target();
    let ours = ours.as_str();
    let teams = Teams::published(&["0.1.0"]);
    let good = fs::read(teams.at("a").join(package("0.1.0"))).unwrap();
    let same = |comment: &str| comment.to_owned();
    let evil: [(&str, Vec<u8>, &str); 8] = [
        (
            "a path that climbs",
            archive(&[(EntryType::Regular, "../../../../evil.so", b"x")]),
            "is none of the files a package may hold",
        ),
        (
            "an absolute path",
            archive(&[(EntryType::Regular, "/tmp/ldalign-evil.so", b"x")]),
            "is none of the files a package may hold",
        ),
        ("a link", archive(&[(EntryType::Symlink, "plugin.so", b"")]), "is not a plain file but Symlink"),
        ("a hard link", archive(&[(EntryType::Link, "plugin.so", b"")]), "is not a plain file but Link"),
        (
            "a file twice",
            archive(&[(EntryType::Regular, "plugin.so", b"x"), (EntryType::Regular, "plugin.so", b"y")]),
            "is in it twice",
        ),
        ("a bomb", archive(&[(EntryType::Regular, "plugin.so", &vec![0; 64 << 20])]), "too much for its size"),
        ("cut short", good[..good.len() / 2].to_vec(), "not a package that can be used"),
        ("text", b"#!/bin/sh".to_vec(), "not a package that can be used"),
    ];
    for (what, bytes, why) in evil {
        teams.plant(("0.2.0", ours), &bytes, same);
        let before = teams.disk();
        let said = teams.say("b", "plugin install minkowski@0.2");
        assert!(
            !said.ok && said.text.contains("error[share/package]") && said.text.contains(why),
            "{what}: {}",
            said.text
        );
        assert_eq!(teams.disk(), before, "{what}");
        // Nor does it come in as a file.
        let file = teams.at("registry/packages/minkowski").join(package("0.2.0"));
        teams.refuses(&format!("plugin install {}", file.display()), "share/package", why);
    }
    assert!(!Path::new("/tmp/ldalign-evil.so").exists());
    // The package of one version, with its own signature, where another belongs; and with a signature of the right
    // bytes.
    teams.plant(("0.2.0", ours), &good, |comment| comment.replace("version:0.2.0", "version:0.1.0"));
    teams.refuses("plugin install minkowski@0.2", "share/signature", "its signature is one for another package");
    teams.plant(("0.2.0", ours), &good, same);
    teams.refuses(
        "plugin install minkowski@0.2",
        "share/registry",
        "is not what the index says: it holds minkowski 0.1.0",
    );
    // For another machine alone; and for another machine in the place of ours.
    teams.plant(("0.3.0", "pdp11-unix"), &good, same);
    teams.refuses(
        "plugin install minkowski@0.3",
        "share/resolve",
        &format!("minkowski is not published for {ours}: there are 0.3.0 for pdp11-unix"),
    );
    teams.refuses(
        "plugin install minkowski@7",
        "share/resolve",
        "no version of minkowski meets ^7: there are 0.1.0, 0.2.0, 0.3.0",
    );
    teams.refuses("plugin install minkovski", "share/resolve", "no trusted registry has a plugin called `minkovski`");
    teams.say("b", "plugin install minkowski@0.1").done();
}

#[test]
fn what_is_installed_is_checked_at_every_use() {
    let teams = Teams::published(&["0.1.0"]);
    teams.say("b", "plugin install minkowski").done();
    let score = "score run.yaml";
    for name in ["plugin.so", "package.ldp", "package.ldp.minisig"] {
        let path = teams.stored(name);
        flip(&path, fs::metadata(&path).unwrap().len() as usize / 2);
        teams.refuses(score, "plugin/untrusted", "the installed minkowski 0.1.0 for ");
        teams.refuses(score, "plugin/untrusted", "is modified: ");
        teams.refuses("plugin verify", "share/verify", "is modified: ");
        assert!(teams.say("b", "plugin list").done().contains("modified"), "{name}");
        teams.say("b", "plugin install --locked").done();
        teams.say("b", "plugin verify").done();
    }
    fs::remove_file(teams.stored("plugin.so")).unwrap();
    teams.refuses(score, "plugin/untrusted", "is modified: ");
    // Allowed by name it is used as it is, and the manifest says so.
    teams.say("b", "plugin install --locked").done();
    fs::write(teams.stored("plugin.so"), versioned("9.9.9")).unwrap();
    let state = || {
        let manifest: serde_json::Value =
            serde_json::from_slice(&fs::read(teams.at("b/run/manifest.json")).unwrap()).unwrap();
        manifest["plugins"][1]["origin"]["state"].as_str().unwrap().to_owned()
    };
    teams.say("b", "score run.yaml --set allow_plugins=[minkowski]").done();
    assert_eq!(state(), "modified");
    // Trust is not written into the store.
    teams.say("b", "plugin install --locked").done();
    teams.say("b", "plugin trust ../registry --forget").done();
    teams.refuses(score, "plugin/untrusted", "is unsigned: the registry ");
    teams.refuses("plugin install --locked", "share/trust", "is not trusted here");
    teams.say("b", "plugin remove minkowski").done();
    teams.refuses(score, "plugin/find", "no distance called `minkowski`");
}

#[test]
fn a_package_file_stays_unsigned_until_a_config_allows_it() {
    let teams = Teams::published(&["0.1.0"]);
    let file = format!("../a/{}", package("0.1.0"));
    assert!(teams.say("b", &format!("plugin install {file}")).done().contains("is unsigned"));
    assert!(!teams.at("b/ldalign.lock").exists());
    teams.refuses("score run.yaml", "plugin/untrusted", "is unsigned: installed from a file");
    teams.say("b", "score run.yaml --set allow_plugins=[minkowski]").done();
    let manifest = fs::read_to_string(teams.at("b/run/manifest.json")).unwrap();
    assert!(manifest.contains("\"state\": \"unsigned\""), "{manifest}");
    teams.refuses(&format!("plugin verify {file}"), "share/verify", "no key to verify");
    teams.refuses("plugin verify", "share/verify", "is unsigned: installed from a file");
    teams.say("b", &format!("plugin verify {file} --key team.pub")).done();
    teams.say("b", "plugin remove minkowski").done();
    teams.refuses("plugin remove minkowski", "share/store", "minkowski is neither installed nor in ");
    // A file takes nothing from what a registry vouches for, whichever comes first.
    teams.say("b", &format!("plugin install {file}")).done();
    teams.say("b", "plugin install minkowski").done();
    teams.say("b", "plugin verify").done();
    teams.say("b", &format!("plugin install {file}")).done();
    teams.say("b", "plugin verify").done();
    teams.refuses(&format!("plugin install --locked {file}"), "share/lock", "a package file is not in the lock file");
    teams.refuses("plugin verify minkowski --key team.pub", "share/verify", "--key is for package files");
}

#[test]
fn a_lock_file_pins_all_targets() {
    let teams = Teams::published(&["0.1.0"]);
    teams.say("b", "plugin install minkowski").done();
    let alone = fs::read(teams.at("b/ldalign.lock")).unwrap();
    // The same version for another machine: a package that says so, with a library that nobody looks into here.
    let (ours, other) = (library::target(), format!("z{}", &library::target()[1..]));
    let mut tar = zstd::decode_all(fs::read(teams.at("a").join(package("0.1.0"))).unwrap().as_slice()).unwrap();
    let at = (0..tar.len() - ours.len()).find(|i| tar[*i..].starts_with(ours.as_bytes())).unwrap();
    tar[at..at + ours.len()].copy_from_slice(other.as_bytes());
    let bytes = zstd::encode_all(tar.as_slice(), 3).unwrap();
    teams.plant(("0.1.0", &other), &bytes, str::to_owned);
    // No reason for a locked install to fail; the next one without takes it in.
    teams.say("b", "plugin install --locked").done();
    assert_eq!(fs::read(teams.at("b/ldalign.lock")).unwrap(), alone);
    teams.say("b", "plugin install").done();
    let lock: serde_json::Value = serde_json::from_slice(&fs::read(teams.at("b/ldalign.lock")).unwrap()).unwrap();
    assert_eq!(lock["plugins"]["minkowski"]["sha256"][&other], files::sha256(&bytes));
    teams.say("b", "plugin install --locked").done();
    // It does not come in as a file, nor in the place of ours.
    let path = teams.at("registry/packages/minkowski").join(format!("minkowski-0.1.0-{other}.ldp"));
    teams.refuses(
        &format!("plugin install {}", path.display()),
        "share/package",
        "cannot run here: this program is for ",
    );
    teams.plant(("0.1.0", &ours), &bytes, str::to_owned);
    teams.refuses("plugin install", "share/registry", &format!("it holds minkowski 0.1.0 for {other}"));
    // A lock file from a team on other machines alone.
    let mut lock = lock;
    lock["plugins"]["minkowski"]["sha256"].as_object_mut().unwrap().remove(&ours);
    fs::write(teams.at("b/ldalign.lock"), lock.to_string()).unwrap();
    teams.refuses("score run.yaml", "plugin/find", &format!("has minkowski 0.1.0, but not for {ours}"));
}

#[test]
fn a_lock_file_is_kept() {
    let teams = Teams::published(&["0.1.0"]);
    teams.refuses("plugin install --locked", "share/lock", "there is no ");
    teams.refuses("plugin update minkowski", "share/lock", "does not have minkowski");
    teams.say("b", "plugin install minkowski").done();
    let old = fs::read(teams.at("b/ldalign.lock")).unwrap();
    teams.publish("0.2.0").done();
    // What is locked stays, until it is asked for.
    assert!(teams.say("b", "plugin install minkowski").done().contains("minkowski 0.1.0"));
    assert_eq!(fs::read(teams.at("b/ldalign.lock")).unwrap(), old);
    teams.refuses("plugin install --locked minkowski@0.2", "share/lock", "would change");
    assert!(teams.say("b", "plugin update").done().contains("minkowski 0.2.0"));
    let new = fs::read(teams.at("b/ldalign.lock")).unwrap();
    teams.refuses("plugin install minkowski@=0.1.0", "share/lock", "minkowski 0.1.0 is below the locked 0.2.0");
    // Somebody writes the old package's hash, which is still installed and signed, under the new version.
    let hash = |lock: &[u8]| {
        let lock: serde_json::Value = serde_json::from_slice(lock).unwrap();
        lock["plugins"]["minkowski"]["sha256"][library::target()].as_str().unwrap().to_owned()
    };
    let forged = String::from_utf8(new.clone()).unwrap().replace(&hash(&new), &hash(&old));
    fs::write(teams.at("b/ldalign.lock"), forged).unwrap();
    teams.refuses("score run.yaml", "plugin/untrusted", "pins minkowski 0.2.0 by the hash of minkowski 0.1.0");
    // Somebody writes another key.
    teams.say("a", "plugin keygen home/keys/other --no-password").done();
    let key = |name: &str| {
        let text = fs::read_to_string(teams.at("a/home/keys").join(name)).unwrap();
        text.lines().last().unwrap().to_owned()
    };
    let forged = String::from_utf8(new.clone()).unwrap();
    let mine = serde_json::from_str::<serde_json::Value>(&forged).unwrap()["plugins"]["minkowski"]["key"].clone();
    let forged = forged.replace(mine.as_str().unwrap(), &key("other.pub"));
    fs::write(teams.at("b/ldalign.lock"), forged).unwrap();
    teams.refuses("score run.yaml", "plugin/untrusted", "pins minkowski 0.2.0 as signed by ");
    // Somebody puts the old file back.
    fs::write(teams.at("b/ldalign.lock"), &old).unwrap();
    for command in ["plugin install --locked", "plugin install", "plugin update", "score run.yaml"] {
        teams.refuses(command, "share/lock", "has minkowski 0.1.0, and had 0.2.0 before: a downgrade");
    }
    teams.say("b", "plugin install --locked --allow-downgrade").done();
    teams.say("b", "plugin install --locked").done();
    assert!(teams.say("b", "check run.yaml --rows 0").done().contains("minkowski 0.1.0"));
    fs::write(teams.at("b/ldalign.lock"), &new).unwrap();
    // The publisher changes a published version behind everybody's back, index, signature and all.
    let other = fs::read(teams.at("a").join(package("0.1.0"))).unwrap();
    fs::write(teams.at("a/target/release/libminkowski.so"), versioned("0.2.0")).unwrap();
    teams.say("a", "plugin pack target/release/libminkowski.so --license LICENSE").done();
    assert!(fs::read(teams.at("a").join(package("0.2.0"))).unwrap() != other);
    let changed = fs::read(teams.at("a").join(package("0.2.0"))).unwrap();
    teams.plant(("0.2.0", &library::target()), &changed, str::to_owned);
    for command in ["plugin install --locked", "plugin install minkowski", "plugin update --json"] {
        teams.refuses(command, "share/lock", "the lock has sha256 ");
    }
}

#[test]
fn a_registry_has_one_key_and_a_name_one_registry() {
    let teams = Teams::published(&["0.1.0"]);
    teams.say("a", "plugin keygen home/keys/other --no-password").done();
    fs::copy(teams.at("a/home/keys/other.pub"), teams.at("b/other.pub")).unwrap();
    teams.refuses("plugin trust ../registry --key other.pub", "share/trust", "is trusted with key ");
    teams.refuses("plugin trust ../a --key team.pub", "share/registry", "is not a plugin registry");
    teams.refuses("plugin trust ../registry", "share/trust", "no key given");
    // A registry taken over: its head and its signatures are another key's.
    let path = teams.at("a").join(package("0.1.0"));
    teams.say("a", &format!("plugin sign {} --key home/keys/other", path.display())).done();
    let publish = format!("plugin publish {} --registry ../other --key home/keys/other.pub", path.display());
    teams.say("a", &publish).done();
    teams.refuses("plugin trust ../other --key team.pub", "share/trust", "is signed with key ");
    fs::rename(teams.at("registry"), teams.at("kept")).unwrap();
    fs::rename(teams.at("other"), teams.at("registry")).unwrap();
    teams.refuses("plugin install minkowski", "share/signature", "signed by another key than the key ");
    fs::rename(teams.at("registry"), teams.at("other")).unwrap();
    fs::rename(teams.at("kept"), teams.at("registry")).unwrap();
    // Both trusted, both with the name: nobody wins by a higher version.
    teams.say("b", "plugin trust ../other --key other.pub").done();
    teams.refuses("plugin install minkowski", "share/resolve", "several trusted registries have minkowski: ");
    teams.say("b", "plugin install minkowski --registry ../registry").done();
    // From then on the lock file says which, and another key does not replace it.
    teams.say("b", "plugin install minkowski").done();
    teams.refuses("plugin install minkowski --registry ../other", "share/lock", "locked as signed by key ");
    assert!(teams.say("b", "plugin trust").done().lines().count() == 2);
}

#[test]
fn nothing_of_a_plugin_runs_before_a_run_does() {
    // A library all of whose code, constructors too, is one trap.
    use object::{Object, ObjectSection};
    let teams = Teams::new();
    let mut bytes = fs::read(library()).unwrap();
    let file = object::File::parse(bytes.as_slice()).unwrap();
    let code =
        [".init", ".fini", ".plt", ".text"].into_iter().filter_map(|name| file.section_by_name(name)?.file_range());
    let code: Vec<(u64, u64)> = code.collect();
    assert!(code.iter().map(|(_, size)| size).sum::<u64>() > 10_000);
    for (at, size) in code {
        bytes[at as usize..(at + size) as usize].fill(0xcc);
    }
    fs::write(teams.at("a/target/release/libminkowski.so"), bytes).unwrap();
    let package = package("0.1.0");
    for command in [
        "plugin info target/release/libminkowski.so",
        "plugin keygen key --no-password",
        "plugin pack target/release/libminkowski.so",
        &format!("plugin sign {package} --key key"),
        &format!("plugin publish {package} --registry ../registry --key key.pub"),
    ] {
        teams.say("a", command).done();
    }
    for command in [
        "plugin trust ../registry --key ../a/key.pub",
        "plugin search minkowski",
        "plugin install minkowski",
        "plugin install --locked",
        "plugin update",
        "plugin list",
        "plugin verify",
    ] {
        teams.say("b", command).done();
    }
    // The control: it is a trap. A child process falls into it, and the run is refused.
    teams.say("b", "check run.yaml").refused("plugin/probe", "died of signal 5 in loading");
    teams.say("b", "plugin remove minkowski").done();
}

#[test]
fn a_key_with_a_password_signs_where_nobody_can_be_asked() {
    let teams = Teams::new();
    teams.shell("a", "LDALIGN_KEY_PASSWORD=open ldalign plugin keygen home/keys/team").done();
    teams.say("a", "plugin pack target/release/libminkowski.so").done();
    let sign = |password: &str| {
        teams.shell(
            "a",
            &format!("LDALIGN_KEY_PASSWORD={password} ldalign plugin sign {} --key home/keys/team", package("0.1.0")),
        )
    };
    sign("shut").refused("share/key", "Wrong password");
    sign("open").done();
    teams.say("a", &format!("plugin verify {} --key home/keys/team.pub", package("0.1.0"))).done();
}

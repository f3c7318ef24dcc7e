//! From a name to an installed, locked plugin: choose a registry, resolve, check everything in memory, then store, then
//! lock.

use super::{
    archive::Package,
    home,
    lock::{Lock, Locked},
    registry::{Registry, Release, Signed, resolve},
    store::{Entry, Store},
    trust::{Trust, Trusted},
};
use crate::{Code, Error, Result, library};
use semver::VersionReq;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    str::FromStr,
};

/// A plugin asked for: `chord`, or `chord@^1.2`.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// The versions that will do; none said where absent.
    pub requirement: Option<VersionReq>,
}

impl FromStr for Wanted {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let (name, requirement) = match text.split_once('@') {
            None => (text, None),
            Some((name, version)) => {
                let parsed = VersionReq::parse(version).map_err(|e| {
                    Error::new(Code::ShareResolve, format!("{text}: {version:?} is not a version requirement"))
                        .hint("write NAME, NAME@1.2, NAME@=1.2.3 or NAME@>=1,<3")
                        .caused_by(e)
                });
                (name, Some(parsed?))
            }
        };
        Ok(Self { name: name.to_owned(), requirement })
    }
}

/// What may happen.
#[derive(Debug, Default, Clone)]
pub struct Rules {
    /// The registry to take plugins from that the lock file does not have.
    pub registry: Option<PathBuf>,
    /// Nothing in the lock file may change.
    pub locked: bool,
    /// A version below that in the lock file will do.
    pub allow_downgrade: bool,
    /// A version above that in the lock file is wanted.
    pub update: bool,
}

/// Installs plugins and locks them; with none named, everything in the lock file. Returns what is installed now, by
/// name.
///
/// # Errors
/// Anything that is not as it was locked, signed and published; then neither store nor lock file has changed.
pub fn install(lock: &mut Lock, wanted: &[Wanted], rules: &Rules) -> Result<Vec<(Entry, Locked)>> {
    if rules.locked && !lock.path().exists() {
        return Err(Error::new(Code::ShareLock, format!("there is no {}", lock.path().display()))
            .hint("`ldalign plugin install NAME` writes it; commit it with the config"));
    }
    if !rules.allow_downgrade {
        lock.check_not_downgraded()?;
    }
    let all = || lock.plugins.keys().map(|n| Wanted { name: n.clone(), requirement: None }).collect();
    let wanted: Vec<Wanted> = if wanted.is_empty() { all() } else { wanted.to_vec() };
    let trust = Trust::load()?;
    let mut found = Vec::new();
    for wanted in &wanted {
        let old = lock.plugins.get(&wanted.name);
        if rules.update && old.is_none() {
            return Err(Error::new(
                Code::ShareLock,
                format!("{} does not have {}", lock.path().display(), wanted.name),
            )
            .hint(format!("ldalign plugin install {}", wanted.name)));
        }
        let (trusted, signed, new) = find(&trust, wanted, old, rules)?;
        if let Some(old) = old {
            old.check_same_bytes(&wanted.name, &new)?;
            if new.version < old.version && !rules.allow_downgrade {
                let what = format!("{} {} is below the locked {}", wanted.name, new.version, old.version);
                return Err(Error::new(Code::ShareLock, what).hint("if it is meant, say --allow-downgrade"));
            }
        }
        if rules.locked && old != Some(&new) {
            return Err(Error::new(
                Code::ShareLock,
                format!("{}: {} would change", wanted.name, lock.path().display()),
            )
            .hint("run the same command without --locked and commit the lock file"));
        }
        found.push((trusted, signed, new));
    }
    let _held = super::hold(&home()?.1.join("install.lock"))?;
    if Lock::read(lock.path())?.plugins != lock.plugins {
        return Err(Error::new(Code::ShareLock, format!("{} was changed just now", lock.path().display()))
            .hint("run the same command again"));
    }
    // Everything is checked; from here on only the disk can fail.
    let store = Store::open()?;
    let mut installed = Vec::new();
    for (trusted, Signed { package, signature }, new) in found {
        installed.push((store.add(&package, Some(&signature), Some(&trusted.registry))?, new.clone()));
        lock.plugins.insert(package.id.name, new);
    }
    if !rules.locked {
        lock.write()?;
    }
    lock.remember()?;
    Ok(installed)
}

/// Installs a package file that no registry vouches for: unsigned, and not locked.
pub fn install_file(path: &Path) -> Result<Entry> {
    let package = Package::open(path)?.for_this_program()?;
    Store::open()?.add(&package, None, None)
}

/// The package that will do, with what a lock file says of it.
fn find<'t>(
    trust: &'t Trust,
    wanted: &Wanted,
    old: Option<&Locked>,
    rules: &Rules,
) -> Result<(&'t Trusted, Signed, Locked)> {
    let name = &wanted.name;
    let (trusted, registry) = choose(trust, name, old, rules)?;
    let index = registry.index(name)?;
    let requirement = wanted.requirement.as_ref().or(old.map(|o| &o.requirement)).cloned().unwrap_or_default();
    // What is locked is kept where it will do.
    let keep = old.filter(|o| !rules.update && requirement.matches(&o.version));
    let exactly = keep.map(|o| format!("={}", o.version).parse().expect("a version is a requirement"));
    let release = resolve(&index, exactly.as_ref().unwrap_or(&requirement), &library::target(), &registry.names())?;
    // Hashes come from packages whose signatures were checked, also those of other targets: the index proves nothing.
    let mut sha256 = BTreeMap::new();
    let mut ours = None;
    // What was published since for other targets is no business of a locked install.
    let matters = |r: &Release| {
        !rules.locked || r.target == release.target || old.is_none_or(|o| o.sha256.contains_key(&r.target))
    };
    for other in index.releases.iter().filter(|r| r.version == release.version && matters(r)) {
        let signed = registry.fetch(name, other, &trusted.key)?;
        sha256.insert(other.target.clone(), signed.package.sha256.clone());
        if other.target == release.target {
            ours = Some(Signed { package: signed.package.for_this_program()?, ..signed });
        }
    }
    let ours = ours.expect("the release is one of its version's");
    let (version, abi) = (release.version.clone(), ours.package.manifest.plugin.abi.clone());
    let key = trusted.key.clone();
    // The place of a registry may differ between machines, and is no reason to change a lock file.
    let place = old.filter(|o| o.key == key).map(|o| o.registry.clone()).unwrap_or_else(|| trusted.name());
    let locked = Locked { version, requirement, registry: place, key, abi, sha256 };
    Ok((trusted, ours, locked))
}

/// The registry to take a plugin from: the one asked for, else the lock's, else the only trusted one that has it.
fn choose<'t>(trust: &'t Trust, name: &str, old: Option<&Locked>, rules: &Rules) -> Result<(&'t Trusted, Registry)> {
    let open = |trusted: &'t Trusted| Ok((trusted, Registry::open(&trusted.registry)?));
    if let Some(asked) = &rules.registry {
        return open(trust.get(asked)?);
    }
    if let Some(old) = old {
        return open(trust.by_key(&old.key, &old.registry)?);
    }
    let mut all = trust.all().iter().map(open).collect::<Result<Vec<_>>>()?;
    if all.is_empty() {
        return Err(Error::new(Code::ShareTrust, format!("cannot install {name}: no registry is trusted"))
            .hint("ldalign plugin trust REGISTRY --key KEY"));
    }
    let has: Vec<usize> = (0..all.len()).filter(|i| all[*i].1.names().iter().any(|n| n == name)).collect();
    match has[..] {
        // None of them: the first one's refusal serves for all, if it knows all names.
        [] => {
            let names: Vec<String> = all.iter().flat_map(|(_, r)| r.names()).collect();
            let nothing = super::registry::Index { name: name.to_owned(), releases: Vec::new() };
            Err(resolve(&nothing, &VersionReq::STAR, &library::target(), &names).expect_err("nothing fits nothing"))
        }
        [only] => Ok(all.swap_remove(only)),
        _ => {
            let places: Vec<String> = has.iter().map(|i| all[*i].0.name()).collect();
            // Whoever could publish the same name elsewhere must not win by a higher version.
            Err(Error::new(
                Code::ShareResolve,
                format!("several trusted registries have {name}: {}", places.join(", ")),
            )
            .hint("choose one with --registry"))
        }
    }
}

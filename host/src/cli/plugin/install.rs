//! `plugin install` and `plugin update`: plugins from trusted registries, into the store and the lock file.

use crate::cli::{print, print_json};
use ldalign::{
    Code, Error, Result,
    config::LOCK_FILE,
    share::{
        install::{self, Rules, Wanted},
        lock::{Lock, Locked},
    },
};
use std::path::{Path, PathBuf};

/// Arguments of `plugin install`.
#[derive(clap::Args)]
pub struct Install {
    /// NAME, NAME@REQUIREMENT as in chord@^1.2, or a package file, which stays unsigned; without any, all of the lock
    /// file
    plugins: Vec<String>,
    /// Directory of the run config, where ldalign.lock lies
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// The registry to take plugins from, where several have them
    #[arg(long, value_name = "DIR")]
    registry: Option<PathBuf>,
    /// Fails where anything would not be exactly as in the lock file
    #[arg(long)]
    locked: bool,
    /// Takes a version below the one in the lock file
    #[arg(long)]
    allow_downgrade: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `plugin update`.
#[derive(clap::Args)]
pub struct Update {
    /// Names from the lock file; without any, all
    plugins: Vec<String>,
    /// Directory of the run config, where ldalign.lock lies
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

impl Install {
    /// Installs and says what.
    pub fn run(&self) -> Result<()> {
        let (packages, names): (Vec<&String>, Vec<&String>) =
            self.plugins.iter().partition(|p| p.ends_with(".ldp") || p.contains('/'));
        if !packages.is_empty() && (self.locked || self.json) {
            return Err(Error::new(
                Code::ShareLock,
                "a package file is not in the lock file: --locked and --json are for names",
            )
            .hint("publish it in a registry, or install it alone"));
        }
        for package in &packages {
            let entry = install::install_file(Path::new(package))?;
            tracing::warn!(
                "{} is unsigned: a run uses it only where its config says allow_plugins: [{}]",
                entry.id(),
                entry.id().name
            );
            print(&format!("{} installed from {package}, sha256 {}", entry.id(), entry.sha256))?;
        }
        if !packages.is_empty() && names.is_empty() {
            return Ok(());
        }
        let rules = Rules {
            registry: self.registry.clone(),
            locked: self.locked,
            allow_downgrade: self.allow_downgrade,
            update: false,
        };
        install(&self.dir, names.into_iter().cloned().collect(), &rules, self.json)
    }
}

impl Update {
    /// Updates and says what.
    pub fn run(&self) -> Result<()> {
        install(&self.dir, self.plugins.clone(), &Rules { update: true, ..Rules::default() }, self.json)
    }
}

fn install(directory: &Path, names: Vec<String>, rules: &Rules, json: bool) -> Result<()> {
    let wanted = names.iter().map(|text| text.parse()).collect::<Result<Vec<Wanted>>>()?;
    let mut lock = Lock::read(&directory.join(LOCK_FILE))?;
    let installed = install::install(&mut lock, &wanted, rules)?;
    if json {
        let list = installed.iter().map(|(entry, locked)| {
            serde_json::json!({"id": entry.id(), "sha256": entry.sha256, "library": entry.library(), "locked": locked})
        });
        return print_json(&list.collect::<Vec<_>>());
    }
    installed.iter().try_for_each(|(entry, Locked { registry, key, .. })| {
        print(&format!("{} installed, signed by {key}, from {registry}", entry.id()))
    })?;
    match installed.is_empty() {
        true => print(&format!("{} names no plugins: nothing to do", lock.path().display())),
        false => Ok(()),
    }
}

//! `plugin remove`: out of the lock file and the store.

use crate::cli::print;
use ldalign::{
    Code, Error, Result,
    config::LOCK_FILE,
    share::{lock::Lock, store::Store},
};
use std::path::PathBuf;

/// Arguments of `plugin remove`.
#[derive(clap::Args)]
pub struct Remove {
    /// The plugin's name
    name: String,
    /// Directory of the run config, where ldalign.lock lies
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

impl Remove {
    /// Removes all versions and says which.
    pub fn run(&self) -> Result<()> {
        let (name, mut lock, store) = (&self.name, Lock::read(&self.dir.join(LOCK_FILE))?, Store::open()?);
        let was_locked = lock.plugins.remove(name).is_some();
        if was_locked {
            lock.write()?;
            lock.remember()?;
            print(&format!("{name} removed from {}", lock.path().display()))?;
        }
        let installed: Vec<_> = store.entries().into_iter().filter(|e| e.id().name == *name).collect();
        for entry in &installed {
            store.remove(entry)?;
            print(&format!("{} removed", entry.id()))?;
        }
        match was_locked || !installed.is_empty() {
            true => Ok(()),
            false => Err(Error::new(
                Code::ShareStore,
                format!("{name} is neither installed nor in {}", lock.path().display()),
            )
            .hint("`ldalign plugin list` shows what is")),
        }
    }
}

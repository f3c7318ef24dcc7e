//! From the name in a config to a library file, and who vouches for it.

use super::{Plugin, names};
use crate::{
    Code, Error, Result,
    config::{PluginChoice, RunConfig},
    files,
    library::{self, Kind},
    share::{
        Origin, State,
        lock::Lock,
        store::{Checked, Entry, Store},
        trust::Trust,
    },
};
use std::{
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// Names a directory of bundled plugins in place of those beside the program.
pub const BUNDLED_ENV: &str = "LDALIGN_PLUGINS";

/// Where plugins are looked for, and how they are tried out.
#[derive(Debug, Clone)]
pub struct Finder {
    /// Directories for names; the bundled directories are searched after them.
    pub search_path: Vec<PathBuf>,
    /// The lock file, whose names come before all others.
    pub lock: Option<PathBuf>,
    /// Names of installed plugins that will do although they are unsigned or modified.
    pub allowed: Vec<String>,
    /// Program that runs [`super::probe_main`] when called with [`super::PROBE_COMMAND`]: this one, unless told
    /// otherwise.
    pub probe_program: PathBuf,
    /// Time a plugin has for loading, building and dropping an instance in the probe.
    pub probe_limit: Duration,
    /// Whether only bundled plugins and those of the lock file will do.
    pub locked: bool,
    /// Time a plugin may show no sign of life in a call, in whole seconds; zero for no limit.
    pub call_limit: Duration,
    /// Bytes that the process may hold while a plugin is called; 0 for no limit.
    pub memory_limit: u64,
    /// Where relative paths in options start.
    pub directory: PathBuf,
}

/// A library file for a choice.
#[derive(Debug)]
pub(super) struct Found {
    /// In canonical form.
    pub path: PathBuf,
    /// Who vouches for it.
    pub origin: Origin,
    /// SHA-256 of the bytes that are vouched for.
    pub sha256: Option<String>,
    /// Whether the lock file names it.
    pub pinned: bool,
}

impl Found {
    fn file(path: &Path, state: State) -> io::Result<Self> {
        Ok(Self { path: path.canonicalize()?, origin: state.into(), sha256: None, pinned: false })
    }
}

impl Finder {
    /// Looks in `search_path`, then among the bundled and the installed plugins.
    pub fn new(search_path: &[PathBuf]) -> Self {
        Self {
            search_path: search_path.to_vec(),
            lock: None,
            allowed: Vec::new(),
            // Still this program after its file was replaced, unlike `current_exe`.
            probe_program: "/proc/self/exe".into(),
            probe_limit: Duration::from_secs(10),
            locked: false,
            call_limit: Duration::ZERO,
            memory_limit: 0,
            directory: PathBuf::new(),
        }
    }

    /// Looks where a config says.
    pub fn of(config: &RunConfig) -> Self {
        Self {
            lock: config.plugin_lock.clone(),
            allowed: config.allow_plugins.clone(),
            locked: config.locked,
            call_limit: Duration::from_secs(config.plugin_timeout),
            memory_limit: config.plugin_memory.saturating_mul(1 << 20),
            directory: config.directory.clone(),
            ..Self::new(&config.plugin_path)
        }
    }

    /// Finds, inspects, probes and loads the plugin of a choice, and validates its options.
    ///
    /// `choice.plugin` is a path if it contains `/` or ends in `.so`, else a name: of the lock file, of a library in
    /// the search path, of a bundled plugin, or of an installed one, in this order.
    ///
    /// # Errors
    /// One for each way a plugin can be refused, naming the file and what to do.
    pub fn load(&self, kind: Kind, choice: &PluginChoice) -> Result<Plugin> {
        Plugin::open(self, kind, &self.find(kind, &choice.plugin)?, choice)
    }

    /// The path of the library for a name or path.
    ///
    /// # Errors
    /// There is none, or none that may be used.
    pub fn library(&self, kind: Kind, plugin: &str) -> Result<PathBuf> {
        self.find(kind, plugin).map(|found| found.path)
    }

    /// The library file for a name or path.
    pub(super) fn find(&self, kind: Kind, plugin: &str) -> Result<Found> {
        let found = self.look(kind, plugin)?;
        if self.locked && found.origin.state != State::Bundled && !found.pinned {
            let what =
                format!("{kind} `{plugin}` is {}, and neither bundled nor in the lock file", found.path.display());
            return Err(Error::new(Code::PluginUntrusted, what)
                .hint("`ldalign plugin install` locks it; without --locked (or locked: true) it is used"));
        }
        Ok(found)
    }

    fn look(&self, kind: Kind, plugin: &str) -> Result<Found> {
        if plugin.contains('/') || plugin.ends_with(".so") {
            return Found::file(Path::new(plugin), State::Local).map_err(|e| {
                Error::new(Code::PluginFind, format!("{kind}: cannot open the plugin library {plugin}"))
                    .hint("relative paths start at the directory of the config file")
                    .caused_by(e)
            });
        }
        let lock = self.lock.as_deref().map(Lock::read).transpose()?;
        if let Some((entry, checked)) = lock.as_ref().map(|lock| locked(lock, plugin)).transpose()?.flatten() {
            let found = self.installed(kind, &entry, checked)?;
            return Ok(Found { pinned: true, ..found });
        }
        let names = names::files(kind, plugin);
        let directories = self.directories();
        for (i, directory) in directories.iter().enumerate() {
            // Whoever sets the variable says what is loaded, as a config does: that is not what came with the program.
            let came = i >= self.search_path.len() && std::env::var_os(BUNDLED_ENV).is_none();
            let state = if came { State::Bundled } else { State::Local };
            if let Some(path) = names.iter().map(|n| directory.join(n)).find(|p| p.is_file()) {
                if state == State::Local && is_open_to_all(directory) {
                    let what = "is in a directory in which everybody may write: whoever does decides what is run";
                    tracing::warn!("{kind} `{plugin}`: {} {what}", path.display());
                }
                return Found::file(&path, state).map_err(|e| files::io_error(&path, "open", e));
            }
        }
        let stored = Store::open().map(|store| store.entries()).unwrap_or_default();
        let mut here = stored.iter().filter(|e| e.id().name == plugin && e.id().target == library::target()).peekable();
        if here.peek().is_some() {
            let trust = Trust::load()?;
            // An unsigned package must not hide a signed one by its version.
            let rank = |(e, checked): &(&Entry, Checked)| {
                (checked.origin.state == State::Signed, e.id().version.clone(), e.sha256.clone())
            };
            let best = here.map(|e| (e, e.check(&trust))).max_by_key(rank);
            let (entry, checked) = best.expect("there is one");
            return self.installed(kind, entry, checked);
        }
        let searched: Vec<String> = directories.iter().map(|d| d.display().to_string()).collect();
        let mut known = names::known(kind, &directories);
        known.extend(lock.into_iter().flat_map(|lock| lock.plugins.into_keys()));
        known.extend(stored.iter().map(|e| e.id().name.clone()));
        let like = known
            .iter()
            .map(|id| (strsim::jaro_winkler(plugin, id), id))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .filter(|(likeness, _)| *likeness > 0.8);
        let mut hint = like.map(|(_, id)| format!("did you mean `{id}`? ")).unwrap_or_default();
        hint += &match known.is_empty() {
            true => format!(
                "found no {kind} plugins there: those that come with the program belong beside it, in `plugins` there \
                 or in ../lib/ldalign, or {BUNDLED_ENV} names their directory; ",
            ),
            false => format!("found there: {}; ", known.into_iter().collect::<Vec<_>>().join(", ")),
        };
        hint += "a path must contain `/`";
        let [first, second, third] = &names;
        let message =
            format!("no {kind} called `{plugin}`: looked for {first}, {second} and {third} in {}", searched.join(", "));
        Err(Error::new(Code::PluginFind, message).hint(hint))
    }

    /// The library of an installed plugin, if it was found to be one that a run may use.
    fn installed(&self, kind: Kind, entry: &Entry, checked: Checked) -> Result<Found> {
        let (name, state, why) = (&entry.id().name, checked.origin.state, checked.why.unwrap_or_default());
        let found = |sha256| {
            let file =
                Found::file(&entry.library(), state).map_err(|e| files::io_error(&entry.library(), "open", e))?;
            Ok(Found { origin: checked.origin, sha256, ..file })
        };
        if state == State::Signed {
            return found(checked.library_sha256);
        }
        if self.allowed.contains(name) {
            tracing::warn!("{} is {state}, and the config allows it: {why}", entry.id());
            return found(None);
        }
        let again = match state {
            State::Modified => "`ldalign plugin install` puts it back as it was published",
            _ => "install it from a registry that you trust",
        };
        Err(Error::new(Code::PluginUntrusted, format!("{kind}: the installed {} is {state}: {why}", entry.id()))
            .hint(format!("{again}; or say in the config that it will do: allow_plugins: [{name}]")))
    }

    /// Where names are looked for, in order.
    pub fn directories(&self) -> Vec<PathBuf> {
        let mut all = self.search_path.clone();
        match std::env::var_os(BUNDLED_ENV) {
            Some(directory) => all.push(directory.into()),
            None => {
                let program = std::env::current_exe().unwrap_or_default();
                let beside = program.parent().map(|d| [d.join("plugins"), d.to_owned(), d.join("../lib/ldalign")]);
                all.extend(beside.into_iter().flatten());
            }
        }
        all
    }
}

/// Whether everybody may put files into a directory.
fn is_open_to_all(directory: &Path) -> bool {
    directory.metadata().is_ok_and(|about| about.permissions().mode() & 0o002 != 0)
}

/// The installed package that a lock file pins for a name, and who vouches for it; None where it has no such name.
fn locked(lock: &Lock, name: &str) -> Result<Option<(Entry, Checked)>> {
    let Some(pinned) = lock.plugins.get(name) else { return Ok(None) };
    lock.check_not_downgraded()?;
    let (at, pinned_version, target) = (lock.path().display(), &pinned.version, library::target());
    let sha256 = pinned.sha256.get(&target).ok_or_else(|| {
        Error::new(Code::PluginFind, format!("{at} has {name} {pinned_version}, but not for {target}")).hint(
            "ask its authors for a package of this target, then `ldalign plugin install` it and commit the lock file",
        )
    })?;
    let entry = Store::open()?.get(sha256)?.ok_or_else(|| {
        Error::new(Code::PluginFind, format!("{name} {pinned_version} of {at} is not installed"))
            .hint("in that directory: ldalign plugin install --locked")
    })?;
    // The store keeps versions that were replaced, whose signatures are as good as ever.
    let changed = |what| Error::new(Code::PluginUntrusted, what).hint("restore the lock file: it was changed by hand");
    if (entry.id().name.as_str(), &entry.id().version, &entry.id().target) != (name, pinned_version, &target) {
        return Err(changed(format!("{at} pins {name} {pinned_version} by the hash of {}", entry.id())));
    }
    let checked = entry.check(&Trust::load()?);
    if let Some(signer) = checked.origin.key_id.as_ref().filter(|signer| *signer != pinned.key.id()) {
        let key = pinned.key.id();
        return Err(changed(format!(
            "{at} pins {name} {pinned_version} as signed by {key}, and {signer} has signed it"
        )));
    }
    Ok(Some((entry, checked)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plugin::name_of;

    #[test]
    fn names_become_files_and_misses_say_where_and_what_else() {
        let dir = tempfile::tempdir().unwrap();
        let names =
            ["libldalign_distance_chord_length.so", "libmine.so", "libldalign_schedule_steep.so", "libldalign_all.so"];
        for name in names {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let finder = Finder::new(&[dir.path().to_owned()]);
        let find = |name| finder.find(Kind::Distance, name).map(|found| found.path);
        let root = dir.path().canonicalize().unwrap();
        assert_eq!(find("chord-length").unwrap(), root.join("libldalign_distance_chord_length.so"));
        assert_eq!(find("mine").unwrap(), root.join("libmine.so"));
        assert_eq!(find("all").unwrap(), root.join("libldalign_all.so"));
        assert_eq!(name_of(&find("all").unwrap()).as_deref(), Some("all"));
        let path = root.join("libmine.so").display().to_string();
        assert_eq!(find(&path).unwrap(), root.join("libmine.so"));
        assert_eq!(name_of(&find("mine").unwrap()).as_deref(), Some("mine"));
        assert_eq!(name_of(&find("chord-length").unwrap()).as_deref(), Some("chord-length"));
        let e = find("chord-lenght").unwrap_err();
        let start = "no distance called `chord-lenght`: looked for libldalign_distance_chord_lenght.so, libldalign_chord_lenght.so and libchord_lenght.so in ";
        assert!(e.message().starts_with(&format!("{start}{}, ", dir.path().display())), "{e}");
        // Beside them, what is bundled.
        let hint = e.hint_text().unwrap();
        assert!(hint.starts_with("did you mean `chord-length`? found there: all, "), "{e:?}");
        assert!(hint.contains(", chord-length, ") && !hint.contains("steep"), "{e:?}");
        let e = find("./missing.so").unwrap_err();
        assert_eq!(
            format!("{e:#}"),
            "distance: cannot open the plugin library ./missing.so: No such file or directory (os error 2)"
        );
    }
}

//! From the name in a config to a library file.

use super::{Kind, Plugin};
use crate::{Error, Result, config::PluginChoice};
use std::{
    collections::BTreeSet,
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
    /// Program that runs [`super::probe_main`] when called with [`super::PROBE_COMMAND`]: this one, unless told otherwise.
    pub probe_program: PathBuf,
    /// Time a plugin has for loading, building and dropping an instance in the probe.
    pub probe_limit: Duration,
}

impl Finder {
    /// Looks in `search_path`, then among the bundled plugins.
    pub fn new(search_path: &[PathBuf]) -> Self {
        Self {
            search_path: search_path.to_vec(),
            // Still this program after its file was replaced, unlike `current_exe`.
            probe_program: "/proc/self/exe".into(),
            probe_limit: Duration::from_secs(10),
        }
    }

    /// Finds, inspects, probes and loads the plugin of a choice, and validates its options.
    ///
    /// `choice.plugin` is a path if it contains `/` or ends in `.so`, else the name of a library in the search path or of a bundled plugin.
    ///
    /// # Errors
    /// One for each way a plugin can be refused, naming the file and what to do.
    pub fn load(&self, kind: Kind, choice: &PluginChoice) -> Result<Plugin> {
        Plugin::open(self, kind, &self.find(kind, &choice.plugin)?, choice)
    }

    /// The library file for a name or path, in canonical form.
    pub(super) fn find(&self, kind: Kind, plugin: &str) -> Result<PathBuf> {
        if plugin.contains('/') || plugin.ends_with(".so") {
            let path = Path::new(plugin);
            return path.canonicalize().map_err(|e| {
                Error::new("plugin/find", format!("{kind}: cannot open the plugin library {plugin}"))
                    .hint("relative paths start at the directory of the config file")
                    .caused_by(e)
            });
        }
        let stem = plugin.replace('-', "_");
        let names = [format!("libldalign_{kind}_{stem}.so"), format!("lib{stem}.so")];
        let directories = self.directories();
        let found = directories.iter().flat_map(|d| names.iter().map(move |n| d.join(n))).find(|p| p.is_file());
        if let Some(path) = found {
            return path.canonicalize().map_err(|e| crate::files::io_error(&path, "open", e));
        }
        let searched: Vec<String> = directories.iter().map(|d| d.display().to_string()).collect();
        let known = known(kind, &directories);
        let like = known
            .iter()
            .map(|id| (strsim::jaro_winkler(plugin, id), id))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .filter(|(likeness, _)| *likeness > 0.8);
        let mut hint = like.map(|(_, id)| format!("did you mean `{id}`? ")).unwrap_or_default();
        hint += &match known.is_empty() {
            true => format!("found no {kind} plugins there; ",),
            false => format!("found there: {}; ", known.into_iter().collect::<Vec<_>>().join(", ")),
        };
        hint += "a path must contain `/`";
        let (first, second) = (&names[0], &names[1]);
        let message =
            format!("no {kind} called `{plugin}`: looked for {first} and {second} in {}", searched.join(", "));
        Err(Error::new("plugin/find", message).hint(hint))
    }

    /// Where names are looked for, in order.
    pub fn directories(&self) -> Vec<PathBuf> {
        let mut all = self.search_path.clone();
        match std::env::var_os(BUNDLED_ENV) {
            Some(directory) => all.push(directory.into()),
            None => {
                let program = std::env::current_exe().unwrap_or_default();
                all.extend(program.parent().map(|d| [d.join("plugins"), d.to_owned()]).into_iter().flatten());
            }
        }
        all
    }
}

/// Ids by the file names of libraries of a kind.
fn known(kind: Kind, directories: &[PathBuf]) -> BTreeSet<String> {
    let prefix = format!("libldalign_{kind}_");
    let entries = directories.iter().filter_map(|d| d.read_dir().ok()).flatten().flatten();
    entries
        .filter_map(|e| {
            let name = e.file_name().into_string().ok()?;
            Some(name.strip_prefix(&prefix)?.strip_suffix(".so")?.replace('_', "-"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_become_files_and_misses_say_where_and_what_else() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["libldalign_distance_chord_length.so", "libmine.so", "libldalign_schedule_steep.so"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let finder = Finder::new(&[dir.path().to_owned()]);
        let find = |name| finder.find(Kind::Distance, name);
        let root = dir.path().canonicalize().unwrap();
        assert_eq!(find("chord-length").unwrap(), root.join("libldalign_distance_chord_length.so"));
        assert_eq!(find("mine").unwrap(), root.join("libmine.so"));
        let path = root.join("libmine.so").display().to_string();
        assert_eq!(find(&path).unwrap(), root.join("libmine.so"));
        let e = find("chord-lenght").unwrap_err();
        let start = "no distance called `chord-lenght`: looked for libldalign_distance_chord_lenght.so and libchord_lenght.so in ";
        assert!(e.message().starts_with(&format!("{start}{}, ", dir.path().display())), "{e}");
        assert!(e.hint_text().unwrap().starts_with("did you mean `chord-length`? found there: "), "{e:?}");
        let e = find("./missing.so").unwrap_err();
        assert_eq!(
            e.to_string(),
            "distance: cannot open the plugin library ./missing.so: No such file or directory (os error 2)"
        );
    }
}

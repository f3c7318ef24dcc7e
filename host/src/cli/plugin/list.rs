//! `plugin list`: every plugin that a config can name, and who vouches for it.

use crate::cli::{print, print_json};
use ldalign::{
    Result,
    config::LOCK_FILE,
    library,
    plugin::{self, Finder},
    share::{
        State,
        lock::{self, Lock},
        store::Store,
        trust::Trust,
    },
};
use std::path::{Path, PathBuf};

/// Arguments of `plugin list`.
#[derive(clap::Args)]
pub struct List {
    /// Directory of the run config, where ldalign.lock lies
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Further directories to look for plugins in
    #[arg(long, value_name = "DIR")]
    plugin_path: Vec<PathBuf>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// A line of the list.
#[derive(serde::Serialize)]
struct Line {
    name: String,
    version: String,
    state: String,
    provides: Vec<String>,
    from: String,
}

impl List {
    /// Lists.
    pub fn run(&self) -> Result<()> {
        let finder = Finder::new(&self.plugin_path);
        let mut lines = Vec::new();
        for (i, directory) in finder.directories().iter().enumerate() {
            let state = if i < self.plugin_path.len() { State::Local } else { State::Bundled };
            lines.extend(libraries(directory).iter().filter_map(|path| Line::library(path, state)));
        }
        let (trust, store) = (Trust::load()?, Store::open()?);
        let entries = store.entries();
        for entry in &entries {
            let (id, checked) = (entry.id(), entry.check(&trust));
            lines.push(Line {
                name: id.name.clone(),
                version: id.version.to_string(),
                state: checked.origin.state.to_string(),
                provides: checked.package.map(|p| provides(&p.manifest.plugin)).unwrap_or_default(),
                from: checked.why.or(checked.origin.registry).unwrap_or_default(),
            });
        }
        let lock = Lock::read(&self.dir.join(LOCK_FILE))?;
        let here = |locked: &lock::Locked| entries.iter().any(|e| locked.sha256.values().any(|sha| *sha == e.sha256));
        lines.extend(lock.plugins.iter().filter(|(_, locked)| !here(locked)).map(|(name, locked)| Line {
            name: name.clone(),
            version: locked.version.to_string(),
            state: "not installed".into(),
            provides: Vec::new(),
            from: format!("{}; ldalign plugin install --locked", lock.path().display()),
        }));
        if self.json {
            return print_json(&lines);
        }
        let width = |of: fn(&Line) -> &str| lines.iter().map(|l| of(l).len()).max().unwrap_or(0);
        let (name, version, state) = (width(|l| &l.name), width(|l| &l.version), width(|l| &l.state));
        lines.iter().try_for_each(|l| {
            let provides = l.provides.join(", ");
            let line = format!("{:name$}  {:version$}  {:state$}  {provides}  {}", l.name, l.version, l.state, l.from);
            print(line.trim_end())
        })
    }
}

impl Line {
    /// A library under the name that configs give it; none for a file that is no plugin.
    fn library(path: &Path, state: State) -> Option<Self> {
        let metadata = library::inspect(path).ok()?.metadata;
        Some(Self {
            provides: provides(&metadata),
            name: plugin::name_of(path)?,
            version: metadata.version,
            state: state.to_string(),
            from: path.display().to_string(),
        })
    }
}

fn provides(metadata: &library::Metadata) -> Vec<String> {
    metadata.provides.iter().map(|p| format!("{} {}", p.kind, p.id)).collect()
}

fn libraries(directory: &Path) -> Vec<PathBuf> {
    let entries = directory.read_dir().into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> =
        entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "so")).collect();
    paths.sort();
    paths
}

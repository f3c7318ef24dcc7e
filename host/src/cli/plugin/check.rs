//! `plugin check`: the conformance suite on a library.

use crate::cli::{print, print_json};
use ldalign::{
    Code, Error, Result, files,
    library::{self, Inspected, Kind},
    plugin::{
        Finder,
        conformance::{self, Choice, Plan},
    },
};
use serde_json::{Map, Value};
use std::{path::PathBuf, time::Duration};

/// Arguments of `plugin check`.
#[derive(clap::Args)]
pub struct Check {
    /// The plugin library (.so), a script for the bundled plugin `python` (.py), or a library in C for `c`
    library: PathBuf,
    /// Only plugins of this kind: encoder, distance or schedule
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Only plugins of this id
    #[arg(long)]
    id: Option<String>,
    /// Options of the plugin, a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = super::options)]
    options: Map<String, Value>,
    /// Latents that distances are tried with, for those that take one shape only: slots x numbers per slot, such as
    /// 1x384
    #[arg(long, value_name = "SHAPE", value_parser = shape)]
    shape: Option<[u64; 2]>,
    /// Only checks whose ids match, as in 'distance/*'
    #[arg(long, value_name = "GLOB")]
    filter: Option<String>,
    /// Seed of all inputs
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Seconds for each check
    #[arg(long, value_name = "S", default_value_t = 60)]
    time_limit: u64,
    /// Runs the checks in this process, for a debugger; nothing is contained then
    #[arg(long)]
    in_process: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// A library to check.
struct Subject {
    library: PathBuf,
    /// Its kinds, None for all.
    kinds: Vec<Option<Kind>>,
    options: Map<String, Value>,
}

fn shape(text: &str) -> std::result::Result<[u64; 2], String> {
    let parsed = text.split_once('x').and_then(|(slots, dim)| Some([slots.parse().ok()?, dim.parse().ok()?]));
    // Some checks take 33 pairs of each at once.
    let usable = |[slots, dim]: &[u64; 2]| matches!(slots.checked_mul(*dim), Some(1..=0x10_0000));
    parsed.filter(usable).ok_or_else(|| "expected SLOTSxNUMBERS such as 1x384, of at most 1048576 numbers".into())
}

impl Check {
    /// Checks and prints; an error where a check failed.
    pub fn run(&self) -> Result<()> {
        let finder = Finder::new(&[]);
        let Subject { library, kinds, options } = self.subject(&finder)?;
        let plan = Plan {
            filter: self.filter.clone(),
            seed: self.seed,
            limit: Duration::from_secs(self.time_limit.max(1)),
            in_process: self.in_process,
        };
        let check = |kind: &Option<Kind>| {
            let choice = Choice { kind: *kind, id: self.id.clone(), options: options.clone(), shape: self.shape };
            conformance::check(&finder, &library, &choice, &plan)
        };
        let (Inspected { sha256, metadata }, mut report) = check(&kinds[0])?;
        for kind in &kinds[1..] {
            // What the library owes is known by now.
            report.checks.extend(check(kind)?.1.checks.into_iter().filter(|checked| checked.case.is_some()));
        }
        if report.checks.is_empty() {
            let filter = self.filter.as_deref().unwrap_or_default();
            return Err(Error::new(Code::PluginCheck, format!("no check of these plugins matches `{filter}`"))
                .hint("ids are such as distance/symmetric; without --filter all are shown"));
        }
        match self.json {
            true => print_json(&report)?,
            false => print(&format!("{} {} (sha256 {sha256:.12})\n{report}", metadata.name, metadata.version))?,
        }
        match report.failed() {
            0 => Ok(()),
            failed => Err(Error::new(Code::PluginCheck, format!("{failed} of {} checks failed", report.checks.len()))
                .at(self.library.display())
                .hint("--filter ID runs one again, with --in-process under a debugger; what is merely slow needs a larger --time-limit or options that make it quick")),
        }
    }

    /// What is checked for the file that was given. A script, or a library in C, is checked as what the bundled plugin
    /// for it makes of it.
    fn subject(&self, finder: &Finder) -> Result<Subject> {
        let (plugin, option, kinds) = match self.library.extension().and_then(|end| end.to_str()) {
            Some("py") => ("python", "script", self.classes()?),
            _ => ("c", "library", self.tables()?),
        };
        if plugin == "c" && kinds.is_empty() {
            let (library, options) = (self.library.clone(), self.options.clone());
            return Ok(Subject { library, kinds: vec![self.kind], options });
        }
        let kinds: Vec<Kind> = self.kind.map_or(kinds, |kind| vec![kind]);
        let Some(first) = kinds.first() else {
            let what = format!("{} has no class Encoder, Distance or Schedule", self.library.display());
            return Err(Error::new(Code::PluginFind, what)
                .hint("--kind says what it is, and --options '{\"class\": \"Name\"}' what its class is called"));
        };
        let mut options = self.options.clone();
        if options.insert(option.into(), self.library.to_string_lossy().into()).is_some() {
            let what = format!("what is checked is given twice: remove `{option}` from --options");
            return Err(Error::new(Code::PluginFind, what));
        }
        let library = finder.library(*first, plugin)?;
        Ok(Subject { library, kinds: kinds.into_iter().map(Some).collect(), options })
    }

    /// The kinds of which a script has a class, by class statements as nearly all are written.
    fn classes(&self) -> Result<Vec<Kind>> {
        let text = files::read_text(&self.library)?;
        let has = |kind: &Kind| {
            let (first, rest) = kind.name().split_at(1);
            let class = format!("class {}{rest}", first.to_uppercase());
            text.lines().filter_map(|line| line.strip_prefix(&class)).any(|rest| rest.starts_with([':', '(', ' ']))
        };
        Ok(Kind::ALL.into_iter().filter(has).collect())
    }

    /// The kinds of which a library that is no plugin by itself exports a table in C.
    fn tables(&self) -> Result<Vec<Kind>> {
        let bytes = files::read(&self.library)?;
        let has = |kind: &Kind| {
            let name = format!("\0ldalign_{kind}_1\0");
            bytes.windows(name.len()).any(|bytes| bytes == name.as_bytes())
        };
        let is_ours = library::section(&self.library).is_ok();
        Ok(Kind::ALL.into_iter().filter(|kind| !is_ours && has(kind)).collect())
    }
}

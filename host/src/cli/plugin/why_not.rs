//! `plugin why-not`: what stands between a name or path and a loaded plugin.

use crate::cli::{
    paint::{Paint, Style},
    print, print_json,
};
use ldalign::{
    Code, Error, Result,
    config::LOCK_FILE,
    library::Kind,
    plugin::{self, Finder},
};
use std::path::PathBuf;

/// Arguments of `plugin why-not`.
#[derive(clap::Args)]
pub struct WhyNot {
    /// Name, or path of a library, as a config gives it; paths start here
    plugin: String,
    /// What a config would use it as; any by default
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Further directories to look for plugins in
    #[arg(long, value_name = "DIR")]
    plugin_path: Vec<PathBuf>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    /// Directory of the run config, where ldalign.lock may lie
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

#[derive(serde::Serialize)]
struct Line<'a> {
    step: &'a str,
    ok: bool,
    said: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

impl WhyNot {
    /// Prints each step; an error at the end if one was refused.
    pub fn run(&self) -> Result<()> {
        let lock = self.dir.join(LOCK_FILE);
        let finder = Finder { lock: lock.is_file().then_some(lock), ..Finder::new(&self.plugin_path) };
        let steps = plugin::why_not(&finder, &self.plugin, self.kind);
        let lines: Vec<Line<'_>> = steps
            .iter()
            .map(|step| match &step.outcome {
                Ok(said) => Line { step: step.name, ok: true, said: said.clone(), hint: None },
                Err(e) => Line { step: step.name, ok: false, said: format!("{e:#}"), hint: e.hint_text() },
            })
            .collect();
        if self.json {
            print_json(&lines)?;
        } else {
            let paint = Paint::stdout();
            for Line { step, ok, said, hint } in &lines {
                let mark = if *ok { "ok".into() } else { paint.style(Style::Bad, "no") };
                print(&format!("{mark}  {step:<11} {said}"))?;
                for hint in hint.iter().flat_map(|hint| hint.lines()) {
                    print(&format!("    {:<11} {}", "", paint.style(Style::Note, hint)))?;
                }
            }
        }
        match lines.iter().filter(|line| !line.ok).count() {
            0 if self.json => Ok(()),
            0 => print("\nnothing here would refuse it; what it does when it runs, `ldalign plugin check` tells"),
            1 => Err(Error::new(Code::PluginRefused, format!("{} would be refused for the reason above", self.plugin))),
            n => Err(Error::new(
                Code::PluginRefused,
                format!("{} would be refused for the {n} reasons above", self.plugin),
            )),
        }
    }
}

//! The report of a run: one HTML file with inline SVG, for a person to look at. No script, nothing fetched.
//!
//! [`run`] reads the directory, [`watch`] judges, [`sections`] and [`rounds`] say it, [`html`] and [`plot`] draw it.

pub(crate) mod html;
pub(crate) mod plot;
mod rounds;
mod run;
mod sections;
mod watch;

use crate::{Result, files};
use html::Page;
use run::Run;
use std::path::{Path, PathBuf};

/// Reads a run directory, finished or not, and writes `report.html` into it; returns that path.
///
/// The same run gives the same bytes. Fails where `run_dir` is no directory or a file in it cannot be read from disk;
/// missing parts and unreadable lines are said in the report instead.
pub fn write(run_dir: &Path) -> Result<PathBuf> {
    let run = Run::read(run_dir)?;
    let mut page = Page::new("LD-Align run");
    sections::header(&mut page, "LD-Align run", &run);
    sections::results(&mut page, &run);
    watch::section(&mut page, &run);
    sections::samples(&mut page, &run);
    rounds::section(&mut page, &run);
    sections::what_was_run(&mut page, &run);
    let path = run_dir.join("report.html");
    files::write(&path, page.finish().as_bytes())?;
    Ok(path)
}

#[cfg(test)]
mod tests;

//! The report of a run: one HTML file with inline SVG, for a person to look at. No script, nothing fetched.
//!
//! [`run`] and [`scores`] read the directory, [`watch`] judges, [`sections`], [`rounds`], [`choices`], [`latents`],
//! [`timing`] and [`validation`] say it on a [`page`](crate::page), [`tensorboard`] as scalars.

mod choices;
mod latents;
mod rounds;
mod run;
mod scores;
mod sections;
mod tensorboard;
mod tfevents;
mod timing;
mod validation;
mod watch;

use crate::{Result, files, page::Page, rundir::Layout};
use run::Run;
use std::path::{Path, PathBuf};

/// Reads a run directory, finished or not, and writes `report.html` and TensorBoard's files into it; returns the page's
/// path.
///
/// The same run gives the same bytes. Fails where `run_dir` is no directory or a file in it cannot be read from disk;
/// missing parts and unreadable lines are said in the report instead.
pub fn write(run_dir: &Path) -> Result<PathBuf> {
    // A run whose manifest is damaged is known by its rounds.
    if !Layout::new(run_dir).round(1).path().exists() {
        let writes = |name: &str| ["report.html", "tensorboard"].contains(&name);
        files::Claim { directory: run_dir, mark: "manifest.json", writes: &writes, reads: &[] }.check()?;
    }
    let run = Run::read(run_dir)?;
    let mut page = Page::new("LD-Align run");
    sections::header(&mut page, "LD-Align run", &run);
    sections::results(&mut page, &run);
    watch::section(&mut page, &run);
    sections::samples(&mut page, &run);
    rounds::section(&mut page, &run);
    if let Some((found, html)) = &run.validation {
        validation::section(&mut page, found, html.strip_prefix(run_dir).unwrap_or(html));
    }
    timing::section(&mut page, &run);
    sections::what_was_run(&mut page, &run);
    let path = Layout::new(run_dir).report();
    files::write(&path, page.finish().as_bytes())?;
    tensorboard::write(run_dir, &run)?;
    Ok(path)
}

/// [`write()`], and says where the page is: what follows a round of a run.
pub fn refresh(run_dir: &Path) -> Result<()> {
    // Not among the message's parts: those are not evaluated where it is not shown.
    let page = write(run_dir)?;
    tracing::info!("report: {}", page.display());
    Ok(())
}

#[cfg(test)]
mod tests;

//! The report of a run: one HTML file with inline SVG, for a person to look at. No script, nothing fetched.
//!
//! [`run`] and [`scores`] read the directory, [`watch`] judges, [`sections`], [`rounds`], [`latents`], [`timing`] and [`validation`] say it, [`html`] and
//! [`plot`] draw it.

pub(crate) mod html;
mod latents;
pub(crate) mod plot;
mod rounds;
mod run;
mod scores;
mod sections;
mod tensorboard;
mod tfevents;
mod timing;
mod validation;
mod watch;

use crate::{Result, files};
use html::Page;
use run::Run;
use std::path::{Path, PathBuf};

/// Reads a run directory, finished or not, and writes `report.html` and TensorBoard's files into it; returns the page's path.
///
/// The same run gives the same bytes. Fails where `run_dir` is no directory or a file in it cannot be read from disk;
/// missing parts and unreadable lines are said in the report instead.
pub fn write(run_dir: &Path) -> Result<PathBuf> {
    let run = Run::read(run_dir)?;
    let mut page = Page::new("LD-Align run");
    sections::header(&mut page, "LD-Align run", &run);
    sections::results(&mut page, &run);
    details(&mut page, &run, run_dir);
    let path = run_dir.join("report.html");
    files::write(&path, page.finish().as_bytes())?;
    tensorboard::write(run_dir, &run)?;
    Ok(path)
}

/// One way of training that is compared with others.
pub struct Arm {
    /// Short name for tables and legends.
    pub name: String,
    /// What it does, in a sentence.
    pub note: String,
    /// Its run directory, of which the `eval-N.json` files are read.
    pub dir: PathBuf,
}

/// Writes a page that compares arms which started from one model on the same data; the last arm's run follows in full.
/// Returns the page's table as plain text.
///
/// Fails as [`write()`] does, for any arm.
pub fn comparison(title: &str, lead: &str, arms: &[Arm], path: &Path) -> Result<String> {
    let runs = arms.iter().map(|arm| Run::read(&arm.dir)).collect::<Result<Vec<_>>>()?;
    let mut page = Page::new(title);
    page.raw(&format!("<header><h1>{}</h1></header>", html::esc(title)));
    page.paragraph(lead);
    sections::arms(&mut page, arms, &runs);
    if let (Some(arm), Some(run)) = (arms.last(), runs.last()) {
        page.heading(2, &format!("{} in detail", arm.name));
        details(&mut page, run, files::parent(path));
    }
    files::write(path, page.finish().as_bytes())?;
    Ok(sections::arms_text(arms, &runs))
}

/// All of a run that a comparison leaves out, on a page that will lie in `dir`.
fn details(page: &mut Page, run: &Run, dir: &Path) {
    watch::section(page, run);
    sections::samples(page, run);
    rounds::section(page, run);
    if let Some((found, html)) = &run.validation {
        validation::section(page, found, html.strip_prefix(dir).unwrap_or(html));
    }
    timing::section(page, run);
    sections::what_was_run(page, run);
}

#[cfg(test)]
mod tests;

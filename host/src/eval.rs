//! Measures of a model on files of their own, beside a run's held-out rows: [`choices`] picks answers by likelihood,
//! [`mt_bench`] answers conversations, [`judge`] has another model grade those.
//!
//! Each writes into an output directory, a line as soon as it has one, and goes on there when it is started again.

pub mod choices;
pub mod judge;
pub mod mt_bench;

use crate::{
    Code, Error, Result,
    files::{self, Journal},
    model::{self, ModelConfig, Policy},
    ops::Precision,
    rundir::{self, HashedModel},
    text::TextCodec,
};
use serde::{Serialize, de::DeserializeOwned};
use std::path::Path;

/// A model to measure, loaded when it is needed.
pub struct Subject<'a> {
    /// Model or adapter directory.
    pub model: &'a Path,
    /// `cpu` or `cuda:N`.
    pub device: &'a str,
    /// Of products.
    pub precision: Precision,
}

impl Subject<'_> {
    fn load(&self) -> Result<(Policy, TextCodec)> {
        let codec = model::codec(self.model)?;
        crate::pipeline::check_vocabulary(&codec, &ModelConfig::of(self.model)?)?;
        Ok((Policy::load_as(self.model, &crate::pipeline::device(self.device)?, self.precision)?, codec))
    }

    /// What decides its answers.
    fn source(&self) -> Result<HashedModel> {
        HashedModel::of(self.model)
    }
}

/// Makes `out`, or sees that `name` was begun there from the same things: `what` says from which, without places.
fn claim(out: &Path, name: &str, what: &impl Serialize) -> Result<()> {
    files::make_dir(out)?;
    let path = out.join(format!("{name}.manifest.json"));
    let new =
        serde_json::to_value(what).map_err(|e| Error::new(Code::EvalManifest, "cannot be written").caused_by(e))?;
    if !path.exists() {
        return files::write_json(&path, &new);
    }
    let old: serde_json::Value = files::read_json(&path)?;
    let mut changes = vec![];
    rundir::differences("", &old, &new, &mut changes);
    if !changes.is_empty() {
        let what = format!("{} was begun from something else: {}", out.display(), changes.join("; "));
        return Err(Error::new(Code::EvalChanged, what).hint("undo the change to go on there, or choose another --out"));
    }
    Ok(())
}

/// Opens the journal at `path` and hands what is in it to `take`.
fn journal<T: DeserializeOwned>(path: &Path, mut take: impl FnMut(T)) -> Result<Journal> {
    Journal::open(path, |line| {
        let value = serde_json::from_str(line).map_err(|e| {
            Error::new(Code::RunDamaged, format!("{} cannot be read", path.display())).hint("delete it").caused_by(e)
        })?;
        take(value);
        Ok(())
    })
}

//! Measures of a model on files of their own, beside a run's held-out rows: [`choices`] picks answers by likelihood,
//! [`mt_bench`] answers conversations, [`judge`] has another model grade those.
//!
//! Each writes into an output directory and holds it. A line is kept in a sealed journal as soon as it is had, by which
//! work goes on when it is started again; what is finished has a record, by which damage is seen.

pub mod choices;
pub mod judge;
pub mod mt_bench;

use crate::{
    Code, Error, Result,
    config::Quantize,
    files::{self, Claim, Sealed},
    model::{self, Kept, ModelConfig, Policy},
    ops::{Compute, Precision},
    rundir::{self, HashedModel, Record},
    text::TextCodec,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{
    fs::File,
    path::{Path, PathBuf},
};

/// A model to measure, loaded when it is needed.
pub struct Subject<'a> {
    /// Model or adapter directory.
    pub model: &'a Path,
    /// `cpu` or `cuda:N`.
    pub device: &'a str,
    /// Of products.
    pub precision: Precision,
    /// What its matrices are made into.
    pub quantize: Option<Quantize>,
}

impl Subject<'_> {
    fn load(&self) -> Result<(Policy, TextCodec)> {
        let codec = model::codec(self.model)?;
        crate::pipeline::check_vocabulary(&codec, &ModelConfig::of(self.model)?)?;
        let compute = Compute::new(&crate::pipeline::device(self.device)?, self.precision);
        let kept = self.quantize.map_or(Kept::Frozen, |Quantize::Nf4| Kept::Nf4);
        Ok((Policy::load_kept(self.model, &compute, kept)?, codec))
    }

    /// How it computes, beside what its files say.
    fn arithmetic(&self) -> String {
        let quantize = self.quantize.map_or(String::new(), |quantize| format!(" on {quantize:?}"));
        format!("{:?}{quantize}", self.precision)
    }

    /// Directories that are read.
    fn reads(&self) -> Vec<PathBuf> {
        model::places(self.model)
    }

    /// What decides its answers.
    fn source(&self) -> Result<HashedModel> {
        HashedModel::of(self.model)
    }
}

/// Where a measure's files lie, held by this process.
struct Place<'a> {
    out: &'a Path,
    name: &'a str,
    _lock: File,
}

impl<'a> Place<'a> {
    /// Makes `out`, or sees that `name` was begun there from the same things: `what` says from which, without places.
    /// `writes` are the names of what the measure writes in it, beside its journal and records.
    fn open(out: &'a Path, name: &'a str, what: &Value, writes: &[&str], reads: &[PathBuf]) -> Result<Self> {
        let mark = format!("{name}.manifest.json");
        let journal = format!("{name}.partial.jsonl");
        let record = format!("done/{name}.json");
        let writes = |name: &str| [&mark, &journal, &record].contains(&&name.to_owned()) || writes.contains(&name);
        Claim { directory: out, mark: &mark, writes: &writes, reads }.check()?;
        files::make_dir(out)?;
        let place = Self { out, name, _lock: files::hold_directory(out)? };
        files::sweep(out, &["done", "model_answer", "model_judgment"])?;
        let mut new = what.clone();
        new["ldalign"] = env!("CARGO_PKG_VERSION").into();
        let path = out.join(&mark);
        if !path.exists() {
            files::write_json(&path, &new)?;
            return Ok(place);
        }
        let changes = rundir::differences(&files::read_json(&path)?, &new);
        if !changes.is_empty() {
            let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
            let what = format!("{} was begun from something else: {}", out.display(), changes.join("; "));
            return Err(
                Error::new(Code::EvalChanged, what).hint("undo the change to go on there, or choose another --out")
            );
        }
        Ok(place)
    }

    /// Whether its work is finished, and all of it is what was written.
    fn is_finished(&self) -> Result<bool> {
        let whole = self.record().is_whole()?;
        if whole {
            // Left where the process was stopped after the record.
            files::remove_file(&self.journal_path())?;
        }
        Ok(whole)
    }

    fn record(&self) -> Record {
        Record::new(self.out, self.name)
    }

    /// Opens the journal of its unfinished work and hands every line to `take`.
    fn journal<T: DeserializeOwned>(&self, mut take: impl FnMut(T)) -> Result<Sealed> {
        let path = self.journal_path();
        Sealed::open(&path, |_, line| {
            let value = serde_json::from_str(line).map_err(|e| {
                Error::new(Code::RunDamaged, format!("{} cannot be read", path.display()))
                    .hint("delete it")
                    .caused_by(e)
            })?;
            take(value);
            Ok(())
        })
    }

    /// Records what finished work has made, and removes its journal.
    fn finish(&self, outputs: &[PathBuf]) -> Result<()> {
        self.record().write(outputs)?;
        files::remove_file(&self.journal_path())
    }

    fn journal_path(&self) -> PathBuf {
        self.out.join(format!("{}.partial.jsonl", self.name))
    }
}

//! `eval`: the figures of the config's `eval` section for any model; multiple choice, and MT-Bench with or without a
//! judge.

mod files;

use super::{ConfigArgs, on_pool, print, print_json};
use files::FileArgs;
use ldalign::{
    Code, Error, Result,
    config::{GenerateConfig, RunConfig},
    eval::Subject,
    model::{self, Kept},
    ops::Precision,
    pipeline,
};
use std::path::{Path, PathBuf};

/// Arguments of `eval`.
#[derive(clap::Args)]
pub struct Eval {
    /// YAML file of a run: its model, device, precision, sampling and seed; relative paths in it start at its directory
    #[arg(required_unless_present = "model")]
    config: Option<PathBuf>,
    /// Sets a key of the config, as in seed=1; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "config")]
    set: Vec<String>,
    /// cpu or cuda:N, whatever the config says
    #[arg(long)]
    device: Option<String>,
    /// Model or adapter directory, or GGUF file, to measure, in place of the config's model
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Prints JSON, of held-out rows with sample responses
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    files: FileArgs,
}

impl Eval {
    /// Evaluates and prints.
    pub fn run(&self) -> Result<()> {
        let config = self.config.as_ref().map(|path| {
            ConfigArgs { config: path.clone(), set: self.set.clone(), device: self.device.clone(), locked: false }
                .load()
        });
        let config = config.transpose()?;
        if !self.files.any() {
            return self.held_out(config.as_ref());
        }
        let (device, precision, quantize, seed, batch_size) = match &config {
            Some(c) => (c.device.clone(), c.precision(), c.quantize, c.seed, c.generate.batch_size),
            None => {
                let device = self.device.clone().unwrap_or_else(|| "cpu".into());
                (device, Precision::F32, None, 0, GenerateConfig::default().batch_size)
            }
        };
        let subject = Subject { model: self.model(config.as_ref())?, device: &device, precision, quantize };
        self.files.run(&subject, seed, batch_size, self.json)
    }

    fn model<'a>(&'a self, config: Option<&'a RunConfig>) -> Result<&'a Path> {
        let named = self.model.as_deref().or(config.map(|c| c.model.as_path()));
        named.ok_or_else(|| Error::new(Code::ConfigModel, "no model is named").hint("give a config or --model DIR"))
    }

    /// The figures of the config's `eval` section.
    fn held_out(&self, config: Option<&RunConfig>) -> Result<()> {
        let none = "there is no config to say on which rows to measure";
        let config = config.ok_or_else(|| {
            Error::new(Code::ConfigEval, none)
                .hint("give a config with an `eval` section, or --choices or --mt-bench FILE")
        })?;
        let model = self.model(Some(config))?;
        let eval = config.eval.as_ref().ok_or_else(|| {
            Error::new(Code::ConfigEval, "the config has no `eval` section")
                .hint("add eval: {data: {path: held-out.jsonl}}")
        })?;
        let codec = model::codec(model)?;
        let policy = pipeline::load(config, model, &pipeline::device(&config.device)?, Kept::Frozen)?;
        let (figures, _) =
            on_pool(|| pipeline::evaluate(&policy, &codec, eval, &config.generate, config.seed, "eval"))?;
        if self.json {
            return print_json(&figures);
        }
        print(&format!(
            "rows              {}\ngreedy accuracy   {:.4}\nsampled accuracy  {:.4}\nNLL per token     {:.4}",
            figures.rows, figures.greedy_accuracy, figures.sampled_accuracy, figures.nll
        ))
    }
}

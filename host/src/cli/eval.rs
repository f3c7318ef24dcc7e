//! `eval`: the figures of the config's `eval` section for any model.

use super::{ConfigArgs, on_pool, print, print_json};
use ldalign::{Error, Result, model::Policy, pipeline, text::TextCodec};
use std::path::PathBuf;

/// Arguments of `eval`.
#[derive(clap::Args)]
pub struct Eval {
    #[command(flatten)]
    config: ConfigArgs,
    /// Model or adapter directory to measure, in place of the config's model
    #[arg(long)]
    model: Option<PathBuf>,
    /// Prints JSON, with sample responses
    #[arg(long)]
    json: bool,
}

impl Eval {
    /// Evaluates and prints.
    pub fn run(&self) -> Result<()> {
        let config = self.config.load()?;
        let model = self.model.as_ref().unwrap_or(&config.model);
        let eval = config.eval.as_ref().ok_or_else(|| {
            Error::new("config/eval", "the config has no `eval` section")
                .hint("add eval: {data: {path: held-out.jsonl}}")
        })?;
        let codec = TextCodec::load(model)?;
        let policy = Policy::load_as(model, &pipeline::device(&config.device)?, config.precision())?;
        let figures = on_pool(|| pipeline::evaluate(&policy, &codec, eval, &config.generate, config.seed, "eval"))?;
        if self.json {
            return print_json(&figures);
        }
        print(&format!(
            "rows              {}\ngreedy accuracy   {:.4}\nsampled accuracy  {:.4}\nNLL per token     {:.4}",
            figures.rows, figures.greedy_accuracy, figures.sampled_accuracy, figures.nll
        ))
    }
}

//! `bench`: rates and memory of a model on this machine.

use super::{on_pool, print, print_json};
use ldalign::{
    Result,
    bench::{self, Options, Stage},
    config::Quantize,
};
use std::path::PathBuf;

/// Arguments of `bench`.
#[derive(clap::Args)]
pub struct Bench {
    /// Model directory, or GGUF file
    #[arg(long, value_name = "PATH")]
    model: PathBuf,
    /// Preference pairs to train on: rows of prompt, chosen, rejected; made-up tokens otherwise
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Trains adapters of this rank on all linear modules, not the model
    #[arg(long, value_name = "R")]
    lora: Option<usize>,
    /// Rounds the operands of products to bf16
    #[arg(long)]
    bf16: bool,
    /// Makes the matrices of linear modules into 4 bits, under adapters
    #[arg(long, value_enum, requires = "lora")]
    quantize: Option<Quantize>,
    /// Pairs of an optimizer step
    #[arg(long, default_value_t = 4)]
    batch: usize,
    /// Tokens of prompt and response together
    #[arg(long, default_value_t = 512)]
    max_length: usize,
    /// Optimizer steps; the first is left out of the rates
    #[arg(long, default_value_t = 6)]
    steps: u64,
    /// Some of limits,ops,train,reference,generate,lengths; all by default
    #[arg(long, value_delimiter = ',', default_values_t = Stage::ALL, hide_default_value = true)]
    stages: Vec<Stage>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

impl Bench {
    /// Measures and prints.
    pub fn run(self) -> Result<()> {
        let Self { model, data, lora, bf16, quantize, batch, max_length, steps, stages, json } = self;
        let options = Options { model, data, lora, bf16, quantize, batch, max_length, steps, stages };
        let report = on_pool(|| bench::run(&options))?;
        if json { print_json(&report) } else { print(&report.to_string()) }
    }
}

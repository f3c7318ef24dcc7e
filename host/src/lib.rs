//! LD-Align: alignment of language models by latent distance, from supervised fine-tuning data alone.
//!
//! The model answers the prompts of its data, a latent space tells how far each answer lies from the one in the data,
//! and DPO trains on the pairs, each weighted by its distance ([arXiv 2404.06390](https://arxiv.org/abs/2404.06390)).
//! This crate is the program `ldalign` as a library: what its commands do, functions do here. Whoever writes an
//! encoder, a distance or a schedule needs the crate `ldalign-sdk`, not this one.
//!
//! # From a config to an aligned model
//!
//! A config file names model, data and plugins; [`config`] documents each key. [`pipeline::run`] takes it through all
//! rounds and leaves every intermediate result in a run directory. Started again, it goes on where it was interrupted,
//! and ends in the same bits.
//!
//! ```no_run
//! use ldalign::{Result, config::RunConfig, pipeline, report};
//! use std::path::Path;
//!
//! fn main() -> Result<()> {
//!     // Every fault of the file at once, each with its key, what was expected and a hint. The second argument changes
//!     // single keys, as `--set` does.
//!     let config = RunConfig::load(Path::new("run.yaml"), &["train.learning_rate=2e-5".to_owned()])?;
//!     let rounds = config.rounds;
//!
//!     // Generate, pairs, score and train in every round; behind each, the report is written again.
//!     let run = pipeline::run(config, None, &report::refresh)?;
//!
//!     println!("model:  {}", run.join(format!("round-{rounds}/model")).display());
//!     println!("report: {}", run.join("report.html").display());
//!     Ok(())
//! }
//! ```
//!
//! # The same by hand: rows, ids, responses
//!
//! Each stage is made of parts that can be used alone. These run on the tiny model and the data of
//! examples/clean-golden:
//!
//! ```
//! use ldalign::{
//!     config::{DataConfig, GenerateConfig},
//!     data::Dataset,
//!     generate::{Request, generate_one},
//!     model::Policy,
//!     pipeline,
//!     text::TextCodec,
//! };
//! use std::path::Path;
//!
//! # fn main() -> ldalign::Result<()> {
//! let example = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/clean-golden"));
//!
//! // A row is a conversation and the response that the data has to it.
//! let data = Dataset::open(&[DataConfig::of(&example.join("golden.jsonl"))])?;
//! let row = data.row(0)?;
//! assert_eq!(row.prompt.messages[0].text(), "Which vowels has loper?");
//! assert_eq!(row.chosen.text(), "oe");
//!
//! // The model's own template and tokenizer make ids of it. The response ends with an end token, the prompt with
//! // whatever makes the model answer.
//! let model = example.join("model");
//! let codec = TextCodec::load(&model)?;
//! let turn = codec.encode_turn(&row.prompt, &row.chosen)?;
//! assert!(codec.end_ids().contains(&turn.response[turn.response.len() - 1]));
//! assert_eq!(codec.decode(&turn.response)?, "oe");
//!
//! // The model answers the same prompt, here with its likeliest tokens. Seed and key alone decide what is sampled.
//! let policy = Policy::load(&model, &pipeline::device("cpu")?)?;
//! let greedy = GenerateConfig { max_new_tokens: 24, temperature: 0.0, ..Default::default() };
//! let request = Request { prompt: turn.prompt, key: 0, sample: 0 };
//! let answer = generate_one(&policy, &request, &greedy, codec.end_ids(), 1, |_token| Ok(()))?;
//! println!("{:?} instead of {:?}", codec.decode(&answer.ids)?, row.chosen.text());
//! # assert!((1..=24).contains(&answer.ids.len()));
//! # Ok(())
//! # }
//! ```
//!
//! # Faults
//!
//! Nothing panics on what a user wrote. There is one [`Error`]: a stable [`Code`], a sentence that says where, and
//! often a hint.
//!
//! ```
//! use ldalign::{Code, config::RunConfig};
//!
//! # let dir = tempfile::tempdir().expect("a directory can be made");
//! # let file = dir.path().join("run.yaml");
//! std::fs::write(&file, "model: nowhere\nrouns: 2\n").expect("the file can be written");
//! let error = RunConfig::load(&file, &[]).expect_err("no such model, no such key, no data");
//! assert_eq!(error.code(), Code::ConfigInvalid);
//! for fault in ["nowhere", "rouns", "data"] {
//!     assert!(error.to_string().contains(fault), "{error}");
//! }
//! ```
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `parquet` | training rows from Parquet files |
//! | `hub` | models and data from the Hugging Face Hub, where a config names them |
//! | `judge` | grades by a model behind an OpenAI-compatible API |
//! | `cuda` | NVIDIA GPUs; needs NVIDIA's toolkit, and has never run on one |
//! | `flash-attn` | FlashAttention-2 on them |
//!
//! # Memory
//!
//! The program `ldalign` installs [`memory::Allocator`], which keeps large tensors in an address range of their own, so
//! that memory held is about what is used. The library leaves that choice to whoever links it.

pub mod bench;
pub mod checker;
pub mod collective;
pub mod compare;
pub mod config;
pub mod data;
pub mod diagnose;
pub mod error;
pub mod estimate;
pub mod eval;
pub mod files;
mod foreign;
pub mod generate;
pub mod gguf;
pub mod hub;
pub mod import;
pub mod interrupt;
mod keys;
pub mod latents;
pub mod library;
pub mod machine;
pub mod memory;
pub mod model;
pub mod ops;
pub mod page;
pub mod pairs;
pub mod pipeline;
pub mod plugin;
pub mod progress;
pub mod quickstart;
pub mod report;
pub mod rundir;
pub mod share;
mod stats;
pub mod tensors;
pub mod terminal;
pub mod text;
pub mod train;
pub mod validate;

pub use error::{Code, Error, Result};

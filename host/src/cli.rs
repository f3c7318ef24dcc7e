//! The command line: what can be asked for, where output goes, and what a failure looks like.
//!
//! stdout carries data, stderr everything else. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

mod bench;
mod chat;
mod check;
mod compare;
mod completions;
mod env;
mod eval;
mod import;
mod init;
mod man;
mod merge;
mod paint;
mod plugin;
mod quickstart;
mod report;
mod run;
mod schema;
mod sft;
mod validate;

use clap::{Args, Parser, Subcommand};
use ldalign::{
    Code, Error, Result,
    config::{RunConfig, gpu},
    plugin::{expect_exit, guard_exit},
    terminal::{Printable, printable},
};
use paint::{Paint, Style};
use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

/// Aligns language models without preference labels: the model's own responses, weighted by how far they are from
/// golden ones, are the losers of DPO.
#[derive(Parser)]
#[command(name = "ldalign", version)]
struct Cli {
    /// Says more on stderr; LDALIGN_LOG=FILTER chooses finer.
    #[arg(long, short, global = true)]
    verbose: bool,
    /// Says on stderr what is wrong, and nothing else
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes a config to begin with
    Init(init::Init),
    /// Runs all rounds of a config; started again, it goes on
    Run(run::Run),
    /// Validates a config with its data and plugins, shows rows as tokens, estimates memory; trains nothing
    Check(check::Check),
    /// Trains the model on the golden responses alone
    Sft(ConfigArgs),
    /// Like run, up to the first round's responses that are not there yet
    Generate(ConfigArgs),
    /// Like run, up to the first latents, distances, pairs and weights that are not there yet
    #[command(visible_alias = "encode")]
    Score(ConfigArgs),
    /// Like run, up to the end of the first round that is not trained yet
    Train(ConfigArgs),
    /// Measures a model: on the config's held-out rows, by multiple choice, on MT-Bench
    Eval(eval::Eval),
    /// Measures on annotated rows whether nearer to the golden response means better
    Validate(validate::Validate),
    /// Trains in several ways with several seeds and says what their differences are worth; started again, it goes on
    Compare(compare::Compare),
    /// Talks with a model
    Chat(chat::Chat),
    /// Turns a GGUF file into a model directory
    Import(import::Import),
    /// Adds an adapter into its model's weights
    Merge(merge::Merge),
    /// Writes the report of a run directory
    Report(report::Report),
    /// Aligns a tiny embedded model in a minute or two and compares it with SPIN and more SFT
    Quickstart(quickstart::Quickstart),
    /// Measures what a model makes of this machine, beside the machine's limits
    Bench(bench::Bench),
    /// Makes, checks and shares plugins
    #[command(subcommand)]
    Plugin(plugin::Plugin),
    /// Prints what a config may say as a JSON schema, for editors
    Schema(schema::Schema),
    /// Prints what a bug report needs
    Env(env::Env),
    /// Prints what a shell completes commands by
    Completions(completions::Completions),
    /// Writes the manual pages into a directory
    Man(man::Man),
}

/// A config file and changes to it.
#[derive(Args)]
struct ConfigArgs {
    /// YAML file; relative paths in it start at its directory
    config: PathBuf,
    /// Sets a key of the config, as in train.beta=0.2; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// cpu or cuda:N, whatever the config says
    #[arg(long)]
    device: Option<String>,
    /// Uses no plugins but those that came with the program and those that the lock file pins
    #[arg(long)]
    locked: bool,
}

impl ConfigArgs {
    /// The checked config, with what it names on the Hub downloaded, and its number of threads put to use.
    fn load(&self) -> Result<RunConfig> {
        let mut set = self.set.clone();
        if let Some(name) = &self.device {
            gpu(name).map_err(|e| e.at("--device"))?;
            set.push(format!("device={name}"));
        }
        if self.locked {
            set.push("locked=true".into());
        }
        let mut config = RunConfig::load(&self.config, &set)?;
        use_threads(config.threads)?;
        for (key, commit) in config.fetch()? {
            tracing::info!("{key}: commit {commit}");
        }
        Ok(config)
    }
}

/// Makes the pool of this many threads; 0 for one per core.
fn use_threads(threads: usize) -> Result<()> {
    if threads == 0 {
        return Ok(());
    }
    let made = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    made.map_err(|e| Error::new(Code::ConfigThreads, format!("cannot start {threads} threads")).caused_by(e))
}

/// Does heavy work on a thread of the pool: handing parts of it to the others then costs no sleep and wake of this one.
fn on_pool<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| work())
}

/// Parses the arguments, does what they ask, prints the error if there is one.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    log(cli.verbose, cli.quiet);
    guard_exit();
    let done = match cli.command {
        Command::Init(args) => args.run(),
        Command::Run(args) => args.run(),
        Command::Generate(args) => run::until(&args, run::Stage::Generate),
        Command::Score(args) => run::until(&args, run::Stage::Pairs),
        Command::Train(args) => run::until(&args, run::Stage::Train),
        Command::Check(args) => args.run(),
        Command::Sft(args) => sft::run(&args),
        Command::Eval(args) => args.run(),
        Command::Validate(args) => args.run(),
        Command::Compare(args) => args.run(),
        Command::Chat(args) => args.run(),
        Command::Import(args) => args.run(),
        Command::Merge(args) => args.run(),
        Command::Report(args) => args.run(),
        Command::Quickstart(args) => args.run(),
        Command::Bench(args) => args.run(),
        Command::Plugin(verb) => verb.run(),
        Command::Schema(args) => args.run(),
        Command::Env(args) => args.run(),
        Command::Completions(args) => args.run(),
        Command::Man(args) => args.run(),
    };
    expect_exit();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            complain(&e);
            ExitCode::from(if e.code() == Code::RunInterrupted { 130 } else { 1 })
        }
    }
}

fn log(verbose: bool, quiet: bool) {
    use tracing_subscriber::EnvFilter;
    let default = match (verbose, quiet) {
        (true, _) => "ldalign=debug",
        (_, true) => "ldalign=warn",
        _ => "ldalign=info",
    };
    if quiet {
        ldalign::progress::quiet();
    }
    let filter = EnvFilter::try_from_env("LDALIGN_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let ansi = Paint::stderr().is_on();
    tracing_subscriber::fmt()
        .with_writer(move || Printable::new(io::stderr(), ansi))
        .with_env_filter(filter)
        .with_ansi(ansi)
        .with_target(verbose)
        .without_time()
        // Said on stderr too, where it would panic once nobody reads that.
        .log_internal_errors(false)
        .init();
}

fn complain(e: &Error) {
    let paint = Paint::stderr();
    ldalign::progress::say(format_args!("{} {e:#}", paint.style(Style::Bad, &format!("error[{}]:", e.code()))));
    if let Some(hint) = e.hint_text() {
        for line in hint.lines() {
            ldalign::progress::say(format_args!("{} {line}", paint.style(Style::Note, "hint:")));
        }
    }
}

/// Writes a line of data to stdout.
fn print(text: &str) -> Result<()> {
    write(&format!("{text}\n"))
}

/// Writes data to stdout. A reader that has gone away, as `head` does, ends the program quietly.
fn write(text: &str) -> Result<()> {
    let text = printable(text, Paint::stdout().is_on());
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
            expect_exit();
            std::process::exit(0)
        }
        Err(e) => Err(Error::new(Code::CliOutput, "cannot write to stdout").caused_by(e)),
        Ok(()) => Ok(()),
    }
}

/// Writes a value to stdout as indented JSON.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print(
        &serde_json::to_string_pretty(value)
            .map_err(|e| Error::new(Code::CliOutput, "cannot write JSON").caused_by(e))?,
    )
}

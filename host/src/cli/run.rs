//! `run`, and `generate`, `score` and `train`, which stop after their stage.

use super::{ConfigArgs, on_pool, print};
use ldalign::{
    Code, Error, Result,
    config::RunConfig,
    data::Dataset,
    pipeline, report,
    rundir::{Layout, RunDir},
    validate::{self, Standing},
};

pub use ldalign::rundir::Stage;

/// Arguments of `run`.
#[derive(clap::Args)]
pub struct Run {
    #[command(flatten)]
    config: ConfigArgs,
    /// Validates the distance first, by the config's `validate` section (with a checker, on the samples of the first
    /// round), and refuses a rule that this speaks against
    #[arg(long)]
    validate_first: bool,
}

impl Run {
    /// Runs all rounds; prints the run directory.
    pub fn run(&self) -> Result<()> {
        let config = self.config.load()?;
        if self.validate_first {
            RunDir::claim(&config, &Layout::is_of_run)?;
            let layout = Layout::new(&config.output_dir);
            let judges_samples = config.validate.as_ref().is_some_and(|v| v.checker.is_some());
            if judges_samples && !layout.round(1).generations().exists() {
                on_pool(|| pipeline::run(config.clone(), Some(Stage::Generate), &report::refresh))?;
            }
            let output = layout.validation();
            let validation = on_pool(|| validate::validate(&config, &output))?;
            tracing::info!("validation: {}\n{}", output.join("validate.html").display(), validation.text());
            if let Some(standing) = standing(&config)?.filter(|standing| !standing.permits()) {
                return Err(refusal(&config, &standing));
            }
        }
        rounds(config, None)
    }
}

/// Runs the config's rounds up to a stage; prints the run directory.
pub fn until(args: &ConfigArgs, stage: Stage) -> Result<()> {
    rounds(args.load()?, Some(stage))
}

fn rounds(config: RunConfig, until: Option<Stage>) -> Result<()> {
    RunDir::claim(&config, &Layout::is_of_run)?;
    if let Some(standing) = standing(&config)?.filter(|standing| !standing.permits()) {
        tracing::warn!("the rule {} chooses by distance. {standing}", config.pairs.rule.name());
    }
    let dir = on_pool(|| pipeline::run(config, until, &report::refresh))?;
    print(&dir.display().to_string())
}

fn standing(config: &RunConfig) -> Result<Option<Standing>> {
    if !validate::chooses(config) {
        return Ok(None);
    }
    let [encoder, distance, _] = pipeline::plugins(config)?;
    let has_rejected = Dataset::open(&config.data)?.has_rejected();
    validate::standing(config, [encoder.record(), distance.record()], has_rejected)
}

fn refusal(config: &RunConfig, standing: &Standing) -> Error {
    let message = format!(
        "the rule {} chooses by distance, and its validation does not permit that: {standing}",
        config.pairs.rule.name()
    );
    Error::new(Code::ValidateRule, message).hint("try other encoders and distances in the `validate` section, or pairs: golden-over-own with generate.samples: 1; run without --validate-first to do it all the same")
}

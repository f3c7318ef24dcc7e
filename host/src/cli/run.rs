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
        let config = claimed(&self.config)?;
        if self.validate_first {
            let layout = Layout::new(&config.output_dir);
            let judges_samples = config.validate.as_ref().is_some_and(|v| v.data.is_none());
            if judges_samples && !layout.round(1).generations().exists() {
                on_pool(|| pipeline::run(config.clone(), Some(Stage::Generate), &report::refresh))?;
            }
            let output = layout.validation();
            let validation = on_pool(|| validate::validate(&config, &output))?;
            tracing::info!("validation: {}\n{}", output.join("validate.html").display(), validation.text());
        }
        rounds(config, None, self.validate_first)
    }
}

/// Runs the config's rounds up to a stage; prints the run directory.
pub fn until(args: &ConfigArgs, stage: Stage) -> Result<()> {
    rounds(claimed(args)?, Some(stage), false)
}

/// The config of a run that may write where it says.
fn claimed(args: &ConfigArgs) -> Result<RunConfig> {
    let config = args.load()?;
    RunDir::claim(&config, &Layout::is_of_run)?;
    Ok(config)
}

/// Where its validation does not permit the rule, the run is refused if `strict`, and warned of otherwise.
fn rounds(config: RunConfig, until: Option<Stage>, strict: bool) -> Result<()> {
    if let Some(standing) = standing(&config)?.filter(|standing| !standing.permits()) {
        if strict {
            return Err(refusal(&config, &standing));
        }
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

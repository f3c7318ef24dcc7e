//! Work that a finished run beside this one has done already: arms of a comparison with one seed measure the same start
//! and, with as many samples a prompt, sample the same responses in their first round.

use crate::{
    Result,
    config::{GenerateConfig, RunConfig},
    files::Journal,
    rundir::{Layout, Made, RoundLayout, RunDir, Stage},
};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Copies what the starting model came to on held-out rows from a run that has measured just that; whether there is
/// one.
pub fn evaluation(dir: &RunDir, config: &RunConfig, beside: &[RunConfig]) -> Result<bool> {
    let inputs = |of: &RunConfig| {
        let sampling = of.eval.as_ref().and_then(|eval| eval.generate.clone()).unwrap_or_else(|| of.generate.clone());
        json!([start(of), of.eval, alone(sampling)])
    };
    for other in beside.iter().filter(|other| inputs(other) == inputs(config)) {
        let theirs = Layout::new(&other.output_dir);
        if theirs.is_evaluated(0)? {
            tracing::info!("the start is measured already: {}", theirs.eval(0).path().display());
            let outcomes: Vec<_> = theirs.outcomes(0).lines()?.collect::<Result<_>>()?;
            dir.write_evaluation(0, &theirs.eval(0).read()?, &outcomes)?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Copies the responses of the first round from a run that has sampled just these, with the time that it took: what a
/// run costs does not depend on others. None where there is no such run.
pub fn generations(dir: &RoundLayout, config: &RunConfig, beside: &[RunConfig]) -> Result<Option<Vec<PathBuf>>> {
    let inputs = |of: &RunConfig| json!([start(of), of.data, of.samples(), alone(of.generate.clone())]);
    for other in beside.iter().filter(|other| inputs(other) == inputs(config)) {
        let theirs = Layout::new(&other.output_dir);
        if theirs.record(1, Stage::Generate).made()? == Made::Whole {
            let theirs = theirs.round(1);
            tracing::info!("round 1 is sampled already: {}", theirs.generations().path().display());
            dir.generations().write(theirs.generations().lines()?)?;
            let mut timing = Journal::open(dir.timing().path())?;
            for line in theirs.timing().lines()? {
                let line = line?;
                if line.stage == Stage::Generate.to_string() {
                    timing.push(&line)?;
                }
            }
            timing.sync()?;
            return Ok(Some(vec![dir.generations().into_path()]));
        }
    }
    Ok(None)
}

/// What the starting model and its arithmetic depend on.
fn start(config: &RunConfig) -> Value {
    json!([config.model, config.seed, config.device, config.bf16, config.threads, config.train.lora, config.quantize])
}

/// How a response is sampled, however many a prompt has: a sample does not depend on others of its prompt.
fn alone(sampling: GenerateConfig) -> GenerateConfig {
    GenerateConfig { samples: None, ..sampling }
}

//! A run's own samples as judged rows: whether a sample says what the golden response says, by a checker, stands for a
//! judgement. Without a checker nobody judges.

use super::rows::{Annotated, Response, Row};
use crate::{
    Code, Error, Result,
    checker::{Check, Checker},
    config::RunConfig,
    data::Dataset,
    rundir::{HashedPath, Layout, Stage},
};

/// Training rows looked at, from the first on: as many judged ones are plenty, and are held in memory.
const MOST_ROWS: usize = 1000;

/// The samples of the run's first round to its first training rows, judged where there is a checker.
///
/// # Errors
/// Where the data brings its rejected responses, so that a run samples none; where none were sampled yet, or what was
/// is damaged; where no row has samples of both kinds, or different ones.
pub fn read(config: &RunConfig, checker: Option<&Checker>) -> Result<Annotated> {
    let data = Dataset::open(&config.data)?;
    if data.has_rejected() {
        let path = config.data[0].path.display();
        let message = format!("{path} brings its rejected responses: a run samples none to judge");
        return Err(Error::new(Code::ConfigValidate, message).hint("give judged rows: validate: {data: {path: ...}}"));
    }
    let layout = Layout::new(&config.output_dir);
    let file = layout.round(1).generations();
    if !layout.is_done(1, Stage::Generate)? {
        let message = format!("there are no samples to judge: {} is not written yet", file.path().display());
        return Err(Error::new(Code::ValidateSamples, message).hint(
            "sample them with `ldalign generate` and the same config, or let `ldalign run --validate-first` do it",
        ));
    }
    let check = checker.map(Check::new).transpose()?;
    let mut rows: Vec<(usize, Row)> = Vec::new();
    for line in file.lines()? {
        let line = line?;
        // Lines are in the rows' order.
        if line.index >= MOST_ROWS.min(data.len()) {
            break;
        }
        if rows.last().is_none_or(|(index, _)| *index != line.index) {
            let row = data.row(line.index)?;
            let place = data.place(&row);
            let judged = Row { place, limits: row.limits, prompt: row.prompt, golden: row.chosen, responses: vec![] };
            rows.push((line.index, judged));
        }
        let (_, row) = rows.last_mut().expect("one was pushed");
        // A sample without text is no response that could be encoded.
        if !line.text.trim().is_empty() {
            let right = |check: &Check| check.is_right(&line.text, row.golden.text());
            let label = f64::from(u8::from(check.as_ref().is_some_and(right)));
            row.responses.push(Response { text: line.text, label });
        }
    }
    let (rows, source) = (rows.into_iter().map(|(_, row)| row).collect(), HashedPath::of(file.path())?);
    if check.is_some() { Annotated::of(rows, source) } else { Annotated::unjudged(rows, source) }
}

//! Whether nearer means better: distances to the golden response held against judgements of people or of a checker.
//!
//! [`rows`] reads the judgements, or [`own`] has a checker judge a run's samples; [`samples`] tokenizes them,
//! [`latents`] encodes them once, [`statistics`] measures, [`verdict`] judges for a rule that chooses among
//! samples, and [`split`] says what needs no judgements. [`table`] and [`page`] say it, [`ahead`] to a run that is to
//! come. Two distances that need no latents stand in the
//! same table: the difference in length, and chance.

mod ahead;
mod latents;
mod own;
mod page;
mod rows;
mod samples;
mod split;
mod statistics;
pub(crate) mod table;
mod verdict;

pub use ahead::{Found, Standing, chooses, standing};
pub use split::{Commonest, Split};
pub use statistics::{Figure, Measures};
pub use verdict::{GAINS, HARMS, Verdict};

use crate::{
    Code, Error, Result,
    checker::Checker,
    config::{PluginChoice, RunConfig},
    data::BudgetReport,
    files::{self, Claim},
    interrupt,
    latents::{Held, Measure, Pairs, PolicyServices},
    library::Kind,
    model::{self, ModelConfig},
    plugin::{Finder, Plugin, PluginRecord},
    rundir::{self, HashedModel, HashedPath},
};
use latents::{Encoded, Encodings};
use rows::Annotated;
use samples::Samples;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// What `validate.json` says.
#[derive(Debug, Clone, Serialize)]
pub struct Validation {
    /// Version of the host.
    pub ldalign: String,
    /// The model whose tokenizer and hidden states were used.
    pub model: HashedModel,
    /// The judged rows, or the samples that the checker judged.
    pub data: HashedPath,
    /// What judged the run's own samples; None where rows with judgements were given, or nobody judged.
    pub checker: Option<Checker>,
    /// Encoders tried.
    pub encoders: Vec<PluginRecord>,
    /// Distances tried.
    pub distances: Vec<PluginRecord>,
    /// Prompts measured on.
    pub prompts: usize,
    /// Those of them none of whose responses equals the golden one.
    pub prompts_apart: usize,
    /// Responses measured on.
    pub responses: usize,
    /// Whether anybody judged; if not, figures that need it have no value.
    pub judged: bool,
    /// Rows left out because all their responses have one label or, where nobody judged, one text.
    pub one_label: usize,
    /// What the length limits have cost.
    pub fitted: BudgetReport,
    /// Seed of the resamples, and of all else that is random.
    pub seed: u64,
    /// Resamples behind each interval.
    pub draws: u64,
    /// Probability that an interval covers.
    pub level: f64,
    /// What the fits of the encoders reported, by the encoder's name in `lines`; only of those that report something.
    pub fits: BTreeMap<String, BTreeMap<String, f64>>,
    /// Every encoder with every distance, then the baselines.
    pub lines: Vec<Line>,
    /// How far every two of the lines agree, chance aside: see [`split::agreement`].
    pub agreement: Vec<Vec<Option<f64>>>,
}

/// A way of measuring distance and what it is worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The encoder with its options; None for a baseline.
    pub encoder: Option<String>,
    /// The distance with its options, or the baseline.
    pub distance: String,
    /// What it is worth.
    #[serde(flatten)]
    pub measures: Measures,
    /// What that says of choosing by it, for those who read the file; None of chance.
    #[serde(default, skip_deserializing)]
    pub verdict: Option<Verdict>,
    /// How it splits a prompt's responses; None of chance.
    #[serde(default)]
    pub split: Option<Split>,
}

/// The name of the line of random distances.
const CHANCE: &str = "random";

impl Line {
    /// Whether it is what random distances come to.
    fn is_chance(&self) -> bool {
        self.encoder.is_none() && self.distance == CHANCE
    }

    fn name(&self) -> String {
        let of = self.encoder.as_ref().map(|encoder| format!("{encoder}, ")).unwrap_or_default();
        format!("{of}{}", self.distance)
    }
}

impl Validation {
    /// The figures as a table for a terminal.
    pub fn text(&self) -> String {
        table::text(self)
    }
}

/// Measures the encoders and distances of the config's `validate` section on its rows. Writes `validate.json`,
/// `validate.html` and the latents into `output`; the same inputs and seed give the same bytes.
///
/// # Errors
/// Where the config has no such section; what reading rows, loading plugins or calling them can fail with.
pub fn validate(config: &RunConfig, output: &Path) -> Result<Validation> {
    let missing = || {
        Error::new(Code::ConfigValidate, "the config has no `validate` section with `data`, `checker` or `unjudged`").hint(
            "add validate: {checker: last-number} to judge the run's own samples by their golden responses, or validate: {data: {path: annotated.jsonl}}, whose rows have prompt, golden, and better and worse or labelled responses",
        )
    };
    let settings = config.validate.as_ref().ok_or_else(missing)?;
    let mark = "validate.json";
    // Latents come before the mark, and are named by a hash, as their records are.
    let writes = |name: &str| [mark, "validate.html", "done/validate.json"].contains(&name);
    Claim { directory: output, mark, writes: &writes, reads: &rundir::reads(config) }.check()?;
    let annotated = match (&settings.data, &settings.checker) {
        (Some(data), _) => Annotated::read(data)?,
        (None, checker) => own::read(config, checker.as_ref())?,
    };
    let finder = Finder::of(config);
    let load = |kind, chosen: &[PluginChoice], default: &PluginChoice| -> Result<Vec<Plugin>> {
        let chosen = if chosen.is_empty() { std::slice::from_ref(default) } else { chosen };
        chosen.iter().map(|choice| finder.load(kind, choice)).collect()
    };
    let encoders = load(Kind::Encoder, &settings.encoders, &config.encoder)?;
    let distances = load(Kind::Distance, &settings.distances, &config.distance)?;
    let codec = model::codec(&config.model)?;
    let samples = Samples::new(&annotated, &codec, &ModelConfig::of(&config.model)?)?;
    let model = HashedModel::of(&config.model)?;

    files::make_dir(output)?;
    let _lock = files::hold_directory(output)?;
    files::sweep(output, &["done", "latents"])?;
    let (truth, seed) = (&samples.truth, config.seed);
    let mut encodings = Encodings::new(config, &model.sha256, &codec, &samples, output);
    let (mut fits, mut lines, mut all) = (BTreeMap::new(), Vec::new(), Vec::new());
    for encoder in &encoders {
        let encoded = encodings.by(encoder)?;
        for distance in &distances {
            interrupt::check()?;
            let services = PolicyServices::new(None, codec.end_ids(), seed, distance.record());
            let values = distances_of(distance, services, &encoded, &samples.corpus)
                .map_err(|e| e.at(format!("latents of {}", name(encoder.record()))))?;
            let measures = Measures::of(truth, &values, seed);
            let (encoder, split) = (Some(name(encoder.record())), Some(Split::of(&samples, &values, seed)));
            lines.push(Line { encoder, distance: name(distance.record()), measures, verdict: None, split });
            all.push(values);
        }
        if !encoded.fit.is_empty() {
            fits.insert(name(encoder.record()), encoded.fit);
        }
    }
    let by_length = Measures::of(truth, &truth.length_differences, seed);
    let split = Some(Split::of(&samples, &truth.length_differences, seed));
    all.push(truth.length_differences.clone());
    for (baseline, measures, split) in
        [("length difference", by_length, split), (CHANCE, Measures::by_chance(truth, seed), None)]
    {
        lines.push(Line { encoder: None, distance: baseline.into(), measures, verdict: None, split });
    }
    for line in lines.iter_mut().filter(|line| truth.judged && !line.is_chance()) {
        line.verdict = Some(Verdict::of(&line.measures.accuracy));
    }

    let records = |plugins: &[Plugin]| plugins.iter().map(|p| p.record().clone()).collect();
    let validation = Validation {
        ldalign: env!("CARGO_PKG_VERSION").into(),
        model,
        data: annotated.source,
        checker: settings.checker.clone(),
        encoders: records(&encoders),
        distances: records(&distances),
        prompts: truth.prompts.len(),
        prompts_apart: truth.apart.iter().filter(|apart| **apart).count(),
        responses: truth.labels.len(),
        judged: truth.judged,
        one_label: annotated.one_label,
        fitted: samples.fitted,
        seed,
        draws: statistics::DRAWS,
        level: statistics::LEVEL,
        fits,
        agreement: split::agreement(truth, &all),
        lines,
    };
    let file = output.join(mark);
    // Whatever happens meanwhile, a record is never one of other figures.
    files::remove_file(ahead::record(output).path())?;
    files::write_json(&file, &validation)?;
    files::write(&output.join("validate.html"), page::html(&validation).as_bytes())?;
    ahead::record(output).write(&[file])?;
    Ok(validation)
}

/// The distance of each response from the golden one, after a fit on these pairs.
fn distances_of(plugin: &Plugin, services: PolicyServices, encoded: &Encoded, corpus: &Held) -> Result<Vec<f64>> {
    let beside = &corpus.beside;
    let pairs = Pairs::new([&encoded.golden, &encoded.responses], beside.len(), |i| [beside[i], i]);
    let measure = Measure::fit(plugin, Arc::new(services), None, &pairs)?;
    let distances = measure.distances(&pairs)?;
    measure.close()?;
    Ok(distances.into_iter().map(f64::from).collect())
}

/// A plugin in a table: its id, and its options where it was given some.
fn name(record: &PluginRecord) -> String {
    let options = record.options.as_object().into_iter().flatten();
    let options: Vec<String> = options
        .map(|(key, value)| match value.as_str() {
            // Of a path the end says what it is.
            Some(text) => format!("{key}={}", text.rsplit('/').find(|part| !part.is_empty()).unwrap_or(text)),
            None => format!("{key}={value}"),
        })
        .collect();
    if options.is_empty() { record.id.clone() } else { format!("{} {}", record.id, options.join(" ")) }
}

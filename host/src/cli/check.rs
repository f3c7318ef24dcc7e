//! `check`: everything that can go wrong before training, found without training.

use super::{
    ConfigArgs,
    paint::{Paint, Style},
    print, print_json,
};
use ldalign::{
    Result,
    config::RunConfig,
    data::{BudgetReport, Dataset, Row},
    estimate::{Estimate, Longest},
    machine,
    model::{self, ModelDir},
    pipeline,
    plugin::PluginRecord,
    rundir::{Layout, RunDir},
    text::TextCodec,
    validate,
};
use serde::Serialize;

/// Arguments of `check`.
#[derive(clap::Args)]
pub struct Check {
    #[command(flatten)]
    config: ConfigArgs,
    /// Rows to show as tokens
    #[arg(long, default_value_t = 3)]
    rows: usize,
    /// Prints JSON, without the rows
    #[arg(long)]
    json: bool,
    /// Checks for another machine: what does not fit into this one's memory is no fault
    #[arg(long)]
    force: bool,
}

/// What was found.
#[derive(Serialize)]
struct Findings {
    /// The model's own responses to a prompt; None where the data brings them.
    samples: Option<usize>,
    /// What a validation beside the run says of a rule that chooses by distance; None of other rules.
    validation: Option<String>,
    plugins: Vec<PluginRecord>,
    fitted: BudgetReport,
    longest: Longest,
    memory: Estimate,
}

impl Check {
    /// Checks and prints.
    pub fn run(&self) -> Result<()> {
        let config = self.config.load()?;
        RunDir::claim(&config, &Layout::is_of_run)?;
        let plugins: Vec<PluginRecord> = pipeline::plugins(&config)?.map(|p| p.record().clone()).into();
        let source = ModelDir::open(&config.model)?;
        let model = source.config()?;
        let codec = model::codec(&config.model)?;
        let data = Dataset::open(&config.data)?;
        if let Some(eval) = &config.eval {
            let held_out = Dataset::open(&eval.data).and_then(|data| pipeline::inspect_held_out(&data, &codec));
            held_out.map_err(|e| e.at("eval.data"))?;
        }
        let show = if self.json { 0 } else { self.rows };
        let (fitted, longest) =
            pipeline::inspect(&config, &model, &data, &codec, |index, row, prompt, responses| match index < show {
                true => print(&tokens_of(&data, row, prompt, responses, &codec)),
                false => Ok(()),
            })?;
        let generate = (!data.has_rejected()).then_some(&config.generate);
        let quantize = config.quantize.or(source.quantize());
        let memory =
            Estimate::new(&model, &source.footprint(quantize)?, config.precision(), &config.train, generate, longest)?;
        let standing = validate::standing(&config, [&plugins[0], &plugins[1]], data.has_rejected())?;
        if let Some(standing) = standing.as_ref().filter(|standing| !standing.permits()) {
            tracing::warn!("the rule {} chooses by distance. {standing}", config.pairs.rule.name());
        }
        let validation = standing.map(|standing| standing.to_string());
        let samples = (!data.has_rejected()).then(|| config.samples());
        source.verify(config.train.lora.as_ref(), quantize)?;
        let findings = Findings { samples, validation, plugins, fitted, longest, memory };
        match self.json {
            true => print_json(&findings)?,
            false => print(&findings.text(&config))?,
        }
        // Of a GPU's memory nothing is estimated.
        match self.force || config.device != "cpu" {
            true => Ok(()),
            false => findings.memory.fits(machine::memory()),
        }
    }
}

impl Findings {
    fn text(&self, config: &RunConfig) -> String {
        let Self { fitted, longest, memory, .. } = self;
        let mut lines = vec![
            format!("model    {}, {:.1} M parameters", config.model.display(), memory.parameters as f64 / 1e6),
            format!("data     {} rows {fitted}", fitted.rows),
            format!("longest  {} tokens of prompt, {} of a row with its responses", longest.prompt, longest.row),
            format!("train    {:.1} M parameters", memory.trained as f64 / 1e6),
            format!("memory   {memory}"),
        ];
        if let Some(samples) = self.samples {
            let rule = config.pairs.rule;
            lines.push(format!("pairs    {samples} samples a prompt; {}: {}", rule.name(), rule.formula()));
        }
        lines.extend(self.validation.iter().map(|standing| format!("distance {standing}")));
        lines.extend(self.plugins.iter().map(|p| format!("plugin   {p}, {}", p.origin)));
        lines.join("\n")
    }
}

/// A row for people: what is context, what is learnt, where it ends.
fn tokens_of(data: &Dataset, row: &Row, prompt: &[u32], responses: &[Vec<u32>], codec: &TextCodec) -> String {
    let paint = Paint::stdout();
    let place = if data.hashes().count() > 1 { data.place(row) } else { format!("line {}", row.line) };
    let mut text = paint.style(Style::Strong, &format!("{place}, turn {}", row.turn));
    text += &format!("\n  prompt    {}", render(prompt, codec, paint, Style::Context));
    let kinds = [("chosen", Style::Chosen as fn(bool) -> Style), ("rejected", Style::Rejected)];
    for ((name, style), ids) in kinds.into_iter().zip(responses) {
        text += &format!("\n  {name:<8}  {}", render(ids, codec, paint, style));
        let ends = ids.last().is_some_and(|id| codec.end_ids().contains(id));
        text += &format!("\n            {} tokens trained on{}", ids.len(), if ends { "" } else { "; no end token" });
    }
    text
}

/// Tokens one by one: shaded in turn where there is colour, else in brackets, {} around the token that ends a response.
fn render(ids: &[u32], codec: &TextCodec, paint: Paint, style: fn(bool) -> Style) -> String {
    let is_response = style(false) != Style::Context(false);
    let token = |(i, id): (usize, &u32)| {
        let text: String = codec.token_text(*id).chars().flat_map(visible).collect();
        let ends = is_response && i + 1 == ids.len() && codec.end_ids().contains(id);
        match (paint.is_on(), ends) {
            (true, true) => paint.style(Style::End, &text),
            (true, false) => paint.style(style(i % 2 == 1), &text),
            (false, true) => format!("{{{text}}}"),
            (false, false) => format!("[{text}]"),
        }
    };
    ids.iter().enumerate().map(token).collect()
}

/// A character as it can stand in one line of a terminal.
fn visible(c: char) -> Vec<char> {
    match c {
        '\n' => vec!['↵'],
        c if c.is_control() => c.escape_default().collect(),
        c => vec![c],
    }
}

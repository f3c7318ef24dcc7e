//! `check`: everything that can go wrong before training, found without training.

use super::{
    ConfigArgs,
    paint::{Paint, Style},
    print, print_json,
};
use ldalign::{
    Error, Result,
    config::RunConfig,
    data::{Budget, BudgetReport, Dataset, Row},
    estimate::{Estimate, Longest},
    interrupt,
    model::ModelConfig,
    plugin::{Finder, Kind, PluginRecord},
    progress::Progress,
    text::TextCodec,
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
}

/// What was found.
#[derive(Serialize)]
struct Findings {
    plugins: Vec<PluginRecord>,
    fitted: BudgetReport,
    longest: Longest,
    memory: Estimate,
    notes: Vec<String>,
}

impl Check {
    /// Checks and prints.
    pub fn run(&self) -> Result<()> {
        let config = self.config.load()?;
        let finder = Finder::new(&config.plugin_path);
        let choices =
            [(Kind::Encoder, &config.encoder), (Kind::Distance, &config.distance), (Kind::Schedule, &config.schedule)];
        let plugins = choices
            .into_iter()
            .map(|(kind, choice)| Ok(finder.load(kind, choice)?.record().clone()))
            .collect::<Result<Vec<_>>>()?;
        let model = ModelConfig::of(&config.model)?;
        let codec = TextCodec::load(&config.model)?;
        let data = Dataset::open(&config.data)?;
        if let Some(eval) = &config.eval {
            Dataset::open(&eval.data).map_err(|e| e.at("eval.data"))?;
        }
        let show = if self.json { 0 } else { self.rows };
        let (fitted, longest) = lengths(&config, &data, &codec, show)?;
        let memory = Estimate::new(&config, &model, longest, !data.has_rejected())?;
        let mut notes = Vec::new();
        if config.data.max_length > model.max_positions {
            notes.push(format!(
                "data.max_length is {}, and the model was made for {} tokens",
                config.data.max_length, model.max_positions
            ));
        }
        if codec.vocab_size() > model.vocab_size {
            let message = format!("the tokenizer has {} tokens, the model {}", codec.vocab_size(), model.vocab_size);
            return Err(Error::new("model/vocabulary", message).hint("tokenizer and weights are not of one model"));
        }
        let findings = Findings { plugins, fitted, longest, memory, notes };
        match self.json {
            true => print_json(&findings)?,
            false => print(&findings.text(&config))?,
        }
        fitted.check()
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
        lines.extend(self.plugins.iter().map(|p| format!("plugin   {p}")));
        lines.extend(self.notes.iter().map(|n| format!("note     {n}")));
        lines.join("\n")
    }
}

/// Tokenises all rows, shows the first `show`, and finds the longest.
fn lengths(config: &RunConfig, data: &Dataset, codec: &TextCodec, show: usize) -> Result<(BudgetReport, Longest)> {
    let mut budget = config.data.budget();
    let mut longest = Longest::default();
    let mut progress = Progress::new("tokens", 0, data.len() as u64);
    for index in 0..data.len() {
        interrupt::check()?;
        let row = data.row(index)?;
        let place = format!("{}, line {}", config.data.path.display(), row.line);
        let fitted = fit(&row, codec, &mut budget).map_err(|e| e.at(place))?;
        progress.advance(1, "");
        let Some(Fitted { prompt, responses }) = fitted else { continue };
        // A response that is yet to be generated may fill what is left.
        let room = config.data.max_length.saturating_sub(prompt.len()).min(config.generate.max_new_tokens);
        let tokens = responses.iter().map(Vec::len).sum::<usize>() + if row.rejected.is_none() { room } else { 0 };
        longest.prompt = longest.prompt.max(prompt.len());
        if prompt.len() + tokens > longest.row {
            (longest.row, longest.responses) = (prompt.len() + tokens, tokens);
        }
        if index < show {
            print(&tokens_of(&row, &prompt, &responses, codec))?;
        }
    }
    progress.finish(&budget.report().to_string());
    Ok((*budget.report(), longest))
}

/// Token ids as they will be trained on.
struct Fitted {
    prompt: Vec<u32>,
    /// Chosen, and rejected where there is one.
    responses: Vec<Vec<u32>>,
}

/// None where the row is dropped.
fn fit(row: &Row, codec: &TextCodec, budget: &mut Budget) -> Result<Option<Fitted>> {
    let golden = codec.encode_turn(&row.history, &row.chosen)?;
    let fitted = match &row.rejected {
        None => budget.fit(golden.prompt, [golden.response]).map(|(p, r)| (p, r.to_vec())),
        Some(text) => {
            let rejected = codec.encode_turn(&row.history, text)?.response;
            budget.fit(golden.prompt, [golden.response, rejected]).map(|(p, r)| (p, r.to_vec()))
        }
    };
    Ok(fitted.map(|(prompt, responses)| Fitted { prompt, responses }))
}

/// A row for people: what is context, what is learnt, where it ends.
fn tokens_of(row: &Row, prompt: &[u32], responses: &[Vec<u32>], codec: &TextCodec) -> String {
    let paint = Paint::stdout();
    let mut text = paint.style(Style::Strong, &format!("line {}, turn {}", row.line, row.turn));
    text += &format!("\n  prompt    {}", render(prompt, codec, paint, Style::Context));
    let kinds: [(&str, Shade); 2] = [("chosen", Style::Chosen), ("rejected", Style::Rejected)];
    for ((name, style), ids) in kinds.into_iter().zip(responses) {
        text += &format!("\n  {name:<8}  {}", render(ids, codec, paint, style));
        let ends = ids.last().is_some_and(|id| codec.end_ids().contains(id));
        text += &format!("\n            {} tokens trained on{}", ids.len(), if ends { "" } else { "; no end token" });
    }
    text
}

/// The style of every other token.
type Shade = fn(bool) -> Style;

/// Tokens one by one: shaded in turn where there is colour, else in brackets, {} around the token that ends a response.
fn render(ids: &[u32], codec: &TextCodec, paint: Paint, style: Shade) -> String {
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

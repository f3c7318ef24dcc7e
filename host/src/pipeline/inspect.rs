//! One look at every row before anything is trained: what would fail after hours fails at once.

use crate::{
    Code, Error, Result,
    config::RunConfig,
    data::{BudgetReport, Budgets, Dataset, Row},
    estimate::Longest,
    interrupt,
    model::ModelConfig,
    progress::Progress,
    text::TextCodec,
};

/// Tokenises all rows; `each` sees them as they will be trained on (prompt, responses). Returns what was cut and the
/// longest.
///
/// Fails where the template, the length limits or the vocabulary do not fit the rows or the model.
pub fn inspect(
    config: &RunConfig,
    model: &ModelConfig,
    data: &Dataset,
    codec: &TextCodec,
    mut each: impl FnMut(usize, &Row, &[u32], &[Vec<u32>]) -> Result<()>,
) -> Result<(BudgetReport, Longest)> {
    check_vocabulary(codec, model)?;
    if data.has_weights() && config.train.is_sft() {
        let message = "the rows bring weights, and loss_type: sft has no pairs to weigh";
        return Err(Error::new(Code::DataRow, message)
            .hint("`ldalign sft` weighs rows; or leave the weights out: data.ignore_fields: [weight]"));
    }
    let mut budgets = Budgets::of(data);
    let mut longest = Longest::default();
    let mut progress = Progress::new("rows", 0, data.len() as u64);
    for index in 0..data.len() {
        interrupt::check()?;
        let row = data.row(index)?;
        let kept = encode(&row, codec, &mut budgets).map_err(|e| e.at(data.place(&row)))?;
        progress.advance(1, "");
        let Some((prompt, responses)) = kept else { continue };
        // A response that is yet to be generated may be as long as allowed, and is cut to the row's room afterwards.
        let sampled = if row.rejected.is_none() { config.generate.max_new_tokens } else { 0 };
        let room = row.limits.max_length.saturating_sub(prompt.len()).min(sampled);
        // Rules that choose among the model's own responses train on two of them.
        let own = if config.pairs.rule.trains_golden() { 0 } else { 2 * room };
        let tokens = (responses.iter().map(Vec::len).sum::<usize>() + room).max(own);
        let sequence = prompt.len() + responses.iter().map(Vec::len).max().unwrap_or(0).max(sampled);
        if sequence > model.max_positions {
            let message = format!(
                "{}: {} prompt tokens and a response make up to {sequence}, the model takes {}",
                data.place(&row),
                prompt.len(),
                model.max_positions
            );
            return Err(Error::new(Code::DataLength, message)
                .hint("lower data.max_length, data.max_prompt_length or generate.max_new_tokens"));
        }
        longest.prompt = longest.prompt.max(prompt.len());
        if prompt.len() + tokens > longest.row {
            (longest.row, longest.responses) = (prompt.len() + tokens, tokens);
        }
        each(index, &row, &prompt, &responses)?;
    }
    let report = budgets.report();
    progress.finish(&report.to_string());
    budgets.check()?;
    Ok((report, longest))
}

/// Tokenises held-out rows. Fails where the template or the length limits do not fit them.
pub fn inspect_held_out(data: &Dataset, codec: &TextCodec) -> Result<()> {
    let mut budgets = Budgets::of(data);
    for index in 0..data.len() {
        interrupt::check()?;
        let row = data.row(index)?;
        let turn = codec.encode_turn(&row.prompt, &row.chosen).map_err(|e| e.at(data.place(&row)))?;
        budgets.fit(&row, turn.prompt, [turn.response]);
    }
    budgets.check()
}

/// Fails where the tokenizer has tokens that the model does not know, and would not refuse the texts that have them.
pub fn check_vocabulary(codec: &TextCodec, model: &ModelConfig) -> Result<()> {
    if codec.knows_model() || codec.vocab_size() <= model.vocab_size {
        return Ok(());
    }
    let message = format!("the tokenizer has {} tokens, the model {}", codec.vocab_size(), model.vocab_size);
    Err(Error::new(Code::ModelVocabulary, message).hint("tokenizer and weights are not of one model"))
}

/// Ids of a prompt and of its responses.
type Fitted = (Vec<u32>, Vec<Vec<u32>>);

/// Prompt and responses (golden, and the rejected one if the row has it) within the length limits; None where they do
/// not fit.
fn encode(row: &Row, codec: &TextCodec, budgets: &mut Budgets) -> Result<Option<Fitted>> {
    let golden = codec.encode_turn(&row.prompt, &row.chosen)?;
    Ok(match &row.rejected {
        None => budgets.fit(row, golden.prompt, [golden.response]).map(|(p, r)| (p, r.into())),
        Some(text) => {
            let rejected = codec.encode_turn(&row.prompt, text)?.response;
            budgets.fit(row, golden.prompt, [golden.response, rejected]).map(|(p, r)| (p, r.into()))
        }
    })
}

//! Annotated rows as an encoder sees them.

use super::{
    rows::{Annotated, Row},
    statistics::Truth,
};
use crate::{
    Code, Error, Result,
    data::{Budget, BudgetReport},
    files,
    latents::{Held, prompt_text},
    model::ModelConfig,
    pipeline::check_vocabulary,
    plugin::OwnedSample,
    text::{Message, TextCodec},
};
use serde_json::json;

/// The samples of all rows that fit the length limits.
pub struct Samples {
    /// Each row's golden response, and the responses beside it.
    pub corpus: Held,
    /// Labels and lengths.
    pub truth: Truth,
    /// What the length limits have cost.
    pub fitted: BudgetReport,
}

impl Samples {
    /// Tokenizes rows as training would.
    ///
    /// # Errors
    /// Where tokenizer or lengths do not fit the model, or too many rows do not fit the limits.
    pub fn new(annotated: &Annotated, codec: &TextCodec, model: &ModelConfig) -> Result<Self> {
        check_vocabulary(codec, model)?;
        let mut budget = Budget::default();
        let truth = Truth {
            prompts: vec![],
            judged: annotated.judged,
            labels: vec![],
            length_differences: vec![],
            apart: vec![],
        };
        let mut all = Self { corpus: Held::default(), truth, fitted: BudgetReport::default() };
        for row in &annotated.rows {
            let (prompt, ids) = encode(row, codec).map_err(|e| e.at(&row.place))?;
            let Some((prompt, ids)) = budget.fit(row.limits, prompt, ids) else { continue };
            let longest = prompt.len() + ids.iter().map(Vec::len).max().unwrap_or(0);
            if longest > model.max_positions {
                let message = format!("{}: {longest} tokens, the model takes {}", row.place, model.max_positions);
                return Err(
                    Error::new(Code::DataLength, message).hint("lower max_length of the section that names these rows")
                );
            }
            all.push(row, &prompt, &ids, codec)?;
        }
        all.fitted = *budget.report();
        all.fitted.check()?;
        Ok(all)
    }

    fn push(&mut self, row: &Row, prompt_ids: &[u32], ids: &[Vec<u32>], codec: &TextCodec) -> Result<()> {
        let prompt = prompt_text(&row.prompt.messages);
        let sample = |ids: &Vec<u32>| {
            let (prompt, prompt_ids, response_ids) = (prompt.clone(), prompt_ids.to_vec(), ids.clone());
            Ok::<_, Error>(OwnedSample { prompt, response: codec.decode(ids)?, prompt_ids, response_ids })
        };
        let Held { chosen, responses, beside } = &mut self.corpus;
        let first = responses.len();
        for (response, response_ids) in row.responses.iter().zip(&ids[1..]) {
            responses.push(sample(response_ids)?);
            beside.push(chosen.len());
            self.truth.labels.push(response.label);
            self.truth.length_differences.push(ids[0].len().abs_diff(response_ids.len()) as f64);
        }
        self.truth.prompts.push(first..responses.len());
        self.truth.apart.push(!ids[1..].contains(&ids[0]));
        chosen.push(sample(&ids[0])?);
        Ok(())
    }

    /// Corpus indices of each row's golden response, once.
    pub fn golden_indices(&self) -> impl ExactSizeIterator<Item = usize> {
        self.truth.prompts.iter().map(|responses| 2 * responses.start)
    }
    /// SHA-256 of all that an encoder is shown.
    pub fn sha256(&self) -> String {
        let line = |s: &OwnedSample| format!("{}\n", json!([s.prompt, s.response, s.prompt_ids, s.response_ids]));
        let of_rows = self.corpus.chosen.iter().zip(&self.truth.prompts);
        let text: String = of_rows
            .flat_map(|(golden, responses)| std::iter::once(golden).chain(&self.corpus.responses[responses.clone()]))
            .map(line)
            .collect();
        files::sha256(text.as_bytes())
    }
}

/// Ids of the prompt, and of the golden and then the other responses.
fn encode(row: &Row, codec: &TextCodec) -> Result<(Vec<u32>, Vec<Vec<u32>>)> {
    let golden = codec.encode_turn(&row.prompt, &row.golden)?;
    let mut ids = vec![golden.response];
    for response in &row.responses {
        ids.push(codec.encode_turn(&row.prompt, &Message::assistant(&response.text))?.response);
    }
    Ok((golden.prompt, ids))
}

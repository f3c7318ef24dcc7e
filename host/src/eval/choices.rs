//! Multiple choice by likelihood, as lm-evaluation-harness has it: a choice is scored by the log-probability of its
//! text after the question, nothing is generated.
//!
//! `acc` takes the choice whose summed log-probability is highest, `acc_norm` the highest per character; of equal ones
//! the first. Without the chat template the model reads the question as it stands, then a space and the choice, after
//! the tokens that the tokenizer puts before a text; with it, the choice is the reply to the question, without a space
//! and without an end token.

mod question;

pub use crate::stats::Proportion;
pub use question::Questions;

use super::{Place, Subject};
use crate::{
    Code, Error, Result, files, interrupt,
    model::{PASS_TOKENS, Pack, Policy},
    progress::Progress,
    rundir::LinesFile,
    text::{EncodedTurn, Message, TextCodec},
};
use question::Question;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{collections::BTreeMap, path::Path};

/// What [`measure`] found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Questions measured.
    pub rows: usize,
    /// Of the choice with the highest log-probability.
    pub acc: Proportion,
    /// Of the choice with the highest log-probability per character.
    pub acc_norm: Proportion,
    /// Questions whose beginning was cut, since they are longer than the model's positions.
    pub cut: usize,
}

/// A line of choices.jsonl.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswerLine {
    /// Line of the questions' file.
    pub line: u32,
    /// Index of the right choice.
    pub gold: usize,
    /// Index of the choice that `acc` and `acc_norm` take.
    pub picked: [usize; 2],
    /// Summed log-probability of each choice.
    pub logps: Vec<f64>,
    /// Whether the question's beginning was cut.
    pub cut: bool,
}

/// Answers every question and writes choices.jsonl, a line for each in their order, and choices.json into `out`.
///
/// # Errors
/// Where `out` was begun with another model, file or `chat`; where a choice has no tokens; what loading the model fails
/// with.
pub fn measure(subject: &Subject<'_>, questions: &Questions, chat: bool, out: &Path) -> Result<Figures> {
    let model = subject.source()?;
    let what =
        json!({"model": model.files, "questions": questions.sha256, "chat": chat, "precision": subject.arithmetic()});
    let place = Place::open(out, "choices", &what, &["choices.jsonl", "choices.json"], &subject.reads())?;
    let (each, all) = (LinesFile::new(out.join("choices.jsonl")), out.join("choices.json"));
    let done = place.is_finished()?;
    let lines = if done { each.lines()?.collect::<Result<_>>()? } else { answers(subject, questions, chat, &place)? };
    let right = |how: usize| Proportion::of(lines.iter().filter(|l| l.picked[how] == l.gold).count(), lines.len());
    let cut = lines.iter().filter(|l| l.cut).count();
    let figures = Figures { rows: lines.len(), acc: right(0), acc_norm: right(1), cut };
    if !done {
        each.write(lines.iter().map(Ok))?;
        files::write_json(&all, &json!({"of": what, "figures": figures}))?;
        place.finish(&[each.into_path(), all])?;
    }
    Ok(figures)
}

/// The answer to every question, those that are in the journal already included.
fn answers(subject: &Subject<'_>, questions: &Questions, chat: bool, place: &Place<'_>) -> Result<Vec<AnswerLine>> {
    let mut lines = BTreeMap::new();
    let mut journal = place.journal(|line: AnswerLine| drop(lines.insert(line.line, line)))?;
    let (policy, codec) = subject.load()?;
    let mut progress = Progress::new("choices", lines.len() as u64, questions.rows.len() as u64);
    for question in questions.rows.iter() {
        if lines.contains_key(&question.line) {
            continue;
        }
        interrupt::check()?;
        let line = answer(&policy, &codec, question, chat).map_err(|e| e.at(questions.place(question)))?;
        journal.push(&line)?;
        lines.insert(line.line, line);
        progress.advance(1, "");
    }
    progress.finish("");
    journal.sync()?;
    if lines.len() != questions.rows.len() {
        let what =
            format!("{} has answers to {} questions of {}", place.out.display(), lines.len(), questions.rows.len());
        return Err(Error::new(Code::RunDamaged, what).hint("choose another --out"));
    }
    Ok(lines.into_values().collect())
}

fn answer(policy: &Policy, codec: &TextCodec, question: &Question, chat: bool) -> Result<AnswerLine> {
    let turns = question.choices.iter().map(|choice| encode(codec, &question.text, choice, chat));
    let mut turns = turns.collect::<Result<Vec<_>>>()?;
    if let Some(at) = turns.iter().position(|t| t.response.is_empty()) {
        let what = format!("choice {at}, {:?}, has no tokens after the question", question.choices[at]);
        return Err(Error::new(Code::EvalChoice, what).hint("give it a text, or remove the row"));
    }
    // As in the harness, a question that is too long keeps its end.
    let room = policy.max_positions();
    let mut cut = false;
    for turn in &mut turns {
        let over = (turn.prompt.len() + turn.response.len()).saturating_sub(room);
        if over >= turn.prompt.len() {
            let what = format!("a choice has {} tokens, the model has room for {room}", turn.response.len());
            return Err(Error::new(Code::EvalChoice, what).hint("remove the row"));
        }
        turn.prompt.drain(..over);
        cut |= over > 0;
    }
    let logps = logps(policy, &turns)?;
    if let Some(at) = logps.iter().position(|l| !l.is_finite()) {
        let what = format!("the model gives choice {at} the log-probability {}", logps[at]);
        return Err(Error::new(Code::EvalNonFinite, what).hint("the model's weights are damaged, or overflow"));
    }
    let norm: Vec<f64> =
        logps.iter().zip(&question.choices).map(|(logp, text)| logp / text.chars().count() as f64).collect();
    Ok(AnswerLine { line: question.line, gold: question.gold, picked: [highest(&logps), highest(&norm)], logps, cut })
}

/// Question and choice as tokens.
fn encode(codec: &TextCodec, question: &str, choice: &str, chat: bool) -> Result<EncodedTurn> {
    if chat {
        return codec.encode_reply(&vec![Message::new("user", question)].into(), choice);
    }
    // White space at the question's end belongs to what follows: a token for words holds the space before them.
    let context = question.trim_end();
    codec.encode_plain(context, &format!("{} {choice}", &question[context.len()..]))
}

/// Summed log-probability of each response after its prompt.
fn logps(policy: &Policy, turns: &[EncodedTurn]) -> Result<Vec<f64>> {
    let mut sums = Vec::with_capacity(turns.len());
    let size = |t: &EncodedTurn| t.prompt.len() + t.response.len();
    for turns in crate::model::cut(turns, PASS_TOKENS, size) {
        let (mut pack, mut targets) = (Pack::default(), vec![]);
        for turn in turns {
            let prompt = pack.push_prompt(&turn.prompt);
            targets.extend(pack.push_completion(prompt, &turn.response));
        }
        let logps = policy.logps(&pack, &targets)?;
        let mut rest = &logps[..];
        for turn in turns {
            let (own, others) = rest.split_at(turn.response.len());
            sums.push(own.iter().map(|l| f64::from(*l)).sum());
            rest = others;
        }
    }
    Ok(sums)
}

/// Index of the highest value, the first of equal ones.
fn highest(values: &[f64]) -> usize {
    (0..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

#[cfg(test)]
mod tests;

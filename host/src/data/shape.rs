//! The shapes that rows come in, and each row as one conversation with the turns that are trained on.
//!
//! The first row decides a file's shape; all rows are held to it. Preference shapes are those of TRL's dataset formats.

use super::messages::{Text, chat, describe, error, message, messages, shared_text};
use crate::{
    Code, Error, Result,
    config::{DataConfig, Turns, suggest},
    text::Message,
};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A row as its file has it.
pub type Json = Map<String, Value>;

/// A shape's first two fields decide that it is meant; richer shapes come first.
const SHAPES: [(Shape, &[&str]); 5] = [
    (Shape::Pair("chosen", "rejected"), &["chosen", "rejected"]),
    (Shape::Pair("real", "generated"), &["real", "generated"]),
    (Shape::Messages, &["messages"]),
    (Shape::PromptCompletion, &["prompt", "completion"]),
    (Shape::Instruction, &["instruction", "output"]),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    Messages,
    PromptCompletion,
    Instruction,
    /// Chosen and rejected, with a `prompt` or with the prompt as what both begin with.
    Pair(&'static str, &'static str),
}

/// A row in the one form that everything after works with.
#[derive(Debug, PartialEq)]
pub struct Conversation {
    pub messages: Vec<Message>,
    /// Indices of the messages that are golden responses; each follows at least one message of a user.
    pub targets: Vec<usize>,
    pub rejected: Option<String>,
    pub weight: Option<f32>,
}

/// The kinds of values that tell rows of one shape from rows of another.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Text,
    List,
    Other,
}

/// How to read the rows of one file.
#[derive(Debug)]
pub struct Format {
    shape: Shape,
    /// The shape's fields in the first row.
    fields: Vec<(&'static str, Kind)>,
    names: BTreeMap<String, String>,
    turns: Turns,
    system: Option<String>,
}

impl Format {
    /// The format of the file whose first row this is.
    pub fn detect(row: &Json, config: &DataConfig) -> Result<Self> {
        let mut format = Self {
            shape: Shape::Messages,
            fields: Vec::new(),
            names: config.fields.clone(),
            turns: config.turns,
            system: config.system.clone(),
        };
        if let Some((ours, theirs)) = config.fields.iter().find(|(_, theirs)| !row.contains_key(*theirs)) {
            let near = suggest(theirs, row.keys().map(String::as_str));
            let near = near.map_or(String::new(), |n| format!("; did you mean `{n}`?"));
            let message = format!("there is no `{theirs}`, which data.fields names for {ours}{near}");
            return Err(error(message).hint(keys(row)));
        }
        let found = SHAPES.iter().find(|(_, needs)| needs.iter().all(|f| format.get(row, f).is_some()));
        format.shape = found.ok_or_else(|| no_shape(row))?.0;
        format.fields = format.signature(row);
        Ok(format)
    }

    pub fn has_rejected(&self) -> bool {
        matches!(self.shape, Shape::Pair(..))
    }
    pub fn has_weights(&self) -> bool {
        self.fields.iter().any(|(f, _)| *f == "weight")
    }

    /// A row as a conversation. Errors name the key; where the row is, the caller adds.
    pub fn parse(&self, row: &Json) -> Result<Conversation> {
        self.same_shape(row)?;
        let (mut messages, mut earliest, rejected) = match self.shape {
            Shape::Messages => match self.text(row, "messages")? {
                Text::Chat(list) => (list, 0, None),
                Text::Plain(_) => return Err(self.wrong(row, "messages", "a list of messages")),
            },
            Shape::PromptCompletion => {
                let history = chat("user", self.text(row, "prompt")?);
                let earliest = history.len();
                ([history, chat("assistant", self.text(row, "completion")?)].concat(), earliest, None)
            }
            Shape::Instruction => {
                let mut prompt = self.plain(row, "instruction")?;
                if self.get(row, "input").is_some() {
                    let input = self.plain(row, "input")?;
                    if !input.is_empty() {
                        prompt = format!("{prompt}\n\n{input}");
                    }
                }
                (vec![message("user", prompt), message("assistant", self.plain(row, "output")?)], 1, None)
            }
            Shape::Pair(chosen_field, rejected_field) => {
                let (mut messages, chosen, rejected) = self.pair(row, chosen_field, rejected_field)?;
                messages.push(message("assistant", chosen));
                let earliest = messages.len() - 1;
                (messages, earliest, Some(rejected))
            }
        };
        if let Some(system) = self.system.as_ref().filter(|_| messages.first().is_none_or(|m| m.role != "system")) {
            messages.insert(0, message("system", system.clone()));
            earliest += 1;
        }
        let targets = self.targets(&messages, earliest)?;
        Ok(Conversation { messages, targets, rejected, weight: self.weight(row)? })
    }

    /// The assistant turns from message `earliest` on that are trained on.
    fn targets(&self, messages: &[Message], earliest: usize) -> Result<Vec<usize>> {
        let mut turns: Vec<usize> = (earliest..messages.len()).filter(|&i| messages[i].role == "assistant").collect();
        if self.turns == Turns::Last {
            turns.drain(..turns.len().saturating_sub(1));
        }
        if turns.is_empty() {
            return Err(error("there is no message of role `assistant` to learn").hint("remove the row"));
        }
        for &i in &turns {
            if messages[i].content.trim().is_empty() {
                return Err(error("the golden response is empty").hint("remove the row"));
            }
            if !messages[..i].iter().any(|m| m.role != "system" && !m.content.trim().is_empty()) {
                return Err(error("there is no prompt before the response")
                    .hint("remove the row, or use data.turns: last if its first message is the assistant's"));
            }
        }
        Ok(turns)
    }

    /// History, chosen and rejected response, from the fields of these names.
    fn pair(
        &self,
        row: &Json,
        chosen_field: &'static str,
        rejected_field: &'static str,
    ) -> Result<(Vec<Message>, String, String)> {
        let prompt = self.get(row, "prompt").map(|_| self.text(row, "prompt")).transpose()?;
        let name = |f| self.name(f);
        match (prompt, self.text(row, chosen_field)?, self.text(row, rejected_field)?) {
            (Some(prompt), Text::Plain(chosen), Text::Plain(rejected)) => Ok((chat("user", prompt), chosen, rejected)),
            (None, Text::Plain(chosen), Text::Plain(rejected)) => {
                let at = shared_text(&chosen, &rejected);
                if at == 0 || chosen[at..].is_empty() || rejected[at..].is_empty() {
                    return Err(error(format!(
                        "`{}` and `{}` are not one prompt with two responses",
                        name(chosen_field),
                        name(rejected_field)
                    ))
                    .hint("without `prompt`, both begin with the same prompt and then differ"));
                }
                Ok((vec![message("user", chosen[..at].into())], chosen[at..].into(), rejected[at..].into()))
            }
            // Some data sets repeat the prompt of whole conversations as a string: the conversations say more.
            (prompt, Text::Chat(chosen), Text::Chat(rejected)) => {
                let bare = chosen.first().is_some_and(|m| m.role == "assistant");
                let (mut history, at) = match prompt {
                    Some(prompt) if bare => (chat("user", prompt), 0),
                    _ => (Vec::new(), chosen.iter().zip(&rejected).take_while(|(a, b)| a == b).count()),
                };
                // Equal responses are still responses.
                let at = at.min(chosen.len() - 1).min(rejected.len() - 1);
                let response = |list: &[Message], field| match &list[at..] {
                    [one] if one.role == "assistant" => Ok(one.content.clone()),
                    _ => Err(error(format!(
                        "`{}`: expected one message of the assistant after the shared prompt",
                        name(field)
                    ))
                    .hint("cut both conversations after the first response that differs")),
                };
                let texts = (response(&chosen, chosen_field)?, response(&rejected, rejected_field)?);
                history.extend_from_slice(&chosen[..at]);
                Ok((history, texts.0, texts.1))
            }
            _ => Err(error(format!(
                "`{}` and `{}` are not both strings or both lists of messages",
                name(chosen_field),
                name(rejected_field)
            ))
            .hint("write both in the same form")),
        }
    }

    fn weight(&self, row: &Json) -> Result<Option<f32>> {
        let Some(value) = self.get(row, "weight") else { return Ok(None) };
        let weight = value.as_f64().map(|w| w as f32).filter(|w| w.is_finite() && *w >= 0.0);
        weight.map(Some).ok_or_else(|| self.wrong(row, "weight", "a number of at least 0"))
    }

    /// The fields of this format that a row has, and their kinds.
    fn signature(&self, row: &Json) -> Vec<(&'static str, Kind)> {
        let needs = SHAPES.iter().find(|(shape, _)| *shape == self.shape).map_or(&[][..], |(_, needs)| *needs);
        let optional = if self.has_rejected() { &["prompt", "weight"][..] } else { &["weight"][..] };
        let kind = |v: &Value| match v {
            Value::String(_) => Kind::Text,
            Value::Array(_) => Kind::List,
            _ => Kind::Other,
        };
        needs.iter().chain(optional).filter_map(|f| Some((*f, kind(self.get(row, f)?)))).collect()
    }

    fn same_shape(&self, row: &Json) -> Result<()> {
        let here = self.signature(row);
        let differs = |message: String| {
            Err(Error::new(Code::DataShape, message)
                .hint("all rows of a file have the shape of its first row: split the file"))
        };
        for (field, kind) in &self.fields {
            match here.iter().find(|(f, _)| f == field) {
                None => return differs(format!("there is no `{}`, which the first row has", self.name(field))),
                // A kind that no shape has is an error of its own, with the expected kind.
                Some((_, k)) if k != kind && *k != Kind::Other => {
                    let words = |k| if k == Kind::Text { "a string" } else { "a list" };
                    return differs(format!(
                        "`{}` is {}, in the first row {}",
                        self.name(field),
                        words(*k),
                        words(*kind)
                    ));
                }
                _ => {}
            }
        }
        match here.iter().find(|(f, _)| !self.fields.iter().any(|(g, _)| f == g)) {
            Some((field, _)) => differs(format!("there is `{}`, which the first row has not", self.name(field))),
            None => Ok(()),
        }
    }

    /// The file's name of a field.
    fn name<'a>(&'a self, field: &'a str) -> &'a str {
        self.names.get(field).map_or(field, String::as_str)
    }

    /// A field's value; null, which Parquet gives for missing ones, is none.
    fn get<'a>(&self, row: &'a Json, field: &str) -> Option<&'a Value> {
        row.get(self.name(field)).filter(|v| !v.is_null())
    }

    fn wrong(&self, row: &Json, field: &str, expected: &str) -> Error {
        let found = self.get(row, field).map_or("nothing".into(), describe);
        error(format!("`{}`: expected {expected}, found {found}", self.name(field))).hint("correct or remove the row")
    }

    fn plain(&self, row: &Json, field: &str) -> Result<String> {
        self.get(row, field)
            .and_then(Value::as_str)
            .map(str::to_owned)
            .ok_or_else(|| self.wrong(row, field, "a string"))
    }

    fn text(&self, row: &Json, field: &str) -> Result<Text> {
        match self.get(row, field) {
            Some(Value::String(text)) => Ok(Text::Plain(text.clone())),
            Some(Value::Array(items)) => messages(items, self.name(field)).map(Text::Chat),
            _ => Err(self.wrong(row, field, "a string or a list of messages")),
        }
    }
}

/// What a row has, for messages.
pub fn keys(row: &Json) -> String {
    format!("the row has {}", row.keys().map(String::as_str).collect::<Vec<_>>().join(", "))
}

fn no_shape(row: &Json) -> Error {
    let e = error(format!("no known shape; {}", keys(row)));
    if row.contains_key("question") && row.contains_key("answer") {
        return e.hint("set data.fields: {prompt: question, completion: answer}");
    }
    e.hint(
        "shapes: messages; prompt and completion; instruction, input and output; chosen and rejected; real and generated. \
         Other names are mapped by data.fields",
    )
}

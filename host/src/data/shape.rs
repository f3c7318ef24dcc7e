//! The shapes that rows come in, and each row as one conversation with the turns that are trained on.
//!
//! The first row decides a file's shape; all rows are held to it. Preference shapes are those of TRL's dataset formats,
//! and what Axolotl's and LLaMA-Factory's have in the place of `prompt`.

mod pair;

use super::{
    fields::{Fields, Json, Names, keys},
    messages::{Text, chat, check_trained, error, is_system},
};
use crate::{
    Code, Error, Result,
    config::{DataConfig, Turns},
    text::Message,
};
use serde_json::{Map, Value};

/// A shape's first two fields decide that it is meant; richer shapes come first.
const SHAPES: [(Shape, &[&str]); 5] = [
    (Shape::Pair("chosen", "rejected"), &["chosen", "rejected"]),
    (Shape::Pair("real", "generated"), &["real", "generated"]),
    (Shape::Messages, &["messages"]),
    (Shape::PromptCompletion, &["prompt", "completion"]),
    (Shape::Instruction, &["instruction", "output"]),
];

/// Variables of a chat template that are the program's own.
const RESERVED: [&str; 5] = ["messages", "tools", "documents", "add_generation_prompt", "continue_final_message"];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    Messages,
    PromptCompletion,
    Instruction,
    /// Chosen and rejected, with a prompt or with the prompt as what both begin with.
    Pair(&'static str, &'static str),
}

/// A row in the one form that everything after works with.
#[derive(Debug, PartialEq)]
pub struct Conversation {
    pub messages: Vec<Message>,
    /// Variables of the chat template beside the messages.
    pub variables: Map<String, Value>,
    /// Indices of the messages that are golden responses; each follows at least one message of a user.
    pub targets: Vec<usize>,
    pub rejected: Option<Message>,
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
    names: Names,
    turns: Turns,
    system: Option<String>,
}

impl Format {
    /// The format of the file whose first row this is.
    pub fn detect(row: &Json, config: &DataConfig) -> Result<Self> {
        let mut names = Names::new(row, config)?;
        let shape_of = |names: &Names| {
            let has = |f: &&str| Fields::new(names, row).find(f).is_some();
            SHAPES.iter().find(|(_, needs)| needs.iter().all(has)).map(|(shape, _)| *shape)
        };
        // Another name for `messages` counts where nothing else is there, above all nothing that the config names; a
        // pair may have it in the place of its prompt.
        let named = shape_of(&names);
        if named.is_none_or(|shape| matches!(shape, Shape::Pair(..))) {
            names.or("messages", "conversations", row);
        }
        let shape = named.or_else(|| shape_of(&names)).ok_or_else(|| no_shape(row))?;
        let has = |f: &&str| Fields::new(&names, row).find(f).is_some();
        if matches!(shape, Shape::Pair(..)) && !["prompt", "instruction", "messages"].iter().any(has) {
            names.or("prompt", "question", row);
        }
        let mut format = Self { shape, fields: vec![], names, turns: config.turns, system: config.system.clone() };
        format.fields = format.signature(&Fields::new(&format.names, row));
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
        let row = &Fields::new(&self.names, row);
        self.same_shape(row)?;
        let (mut messages, earliest, mut rejected) = match self.shape {
            Shape::Messages => match row.text("messages")? {
                Text::Chat(list) => (list, 0, None),
                Text::Plain(_) => return Err(row.wrong("messages", "a list of messages")),
            },
            Shape::PromptCompletion => {
                let history = prompt(row, row.text("prompt")?)?;
                let earliest = history.len();
                ([history, chat("assistant", row.text("completion")?)].concat(), earliest, None)
            }
            Shape::Instruction => {
                let mut history = prompt(row, Text::Plain(instruction(row)?))?;
                let earliest = history.len();
                history.push(Message::assistant(row.plain("output")?));
                (history, earliest, None)
            }
            Shape::Pair(chosen, rejected) => {
                let (mut messages, chosen, rejected) = pair::read(row, chosen, rejected)?;
                messages.push(chosen);
                let earliest = messages.len() - 1;
                (messages, earliest, Some(rejected))
            }
        };
        let own = messages.first().filter(|m| is_system(m)).map(|m| m.text().to_owned());
        let system = match (system(row)?, &own) {
            (Some((name, system)), Some(own)) if system != *own => {
                return Err(error(format!("`{name}` is not the system message that the conversation has"))
                    .hint("correct the row"));
            }
            (system, _) => system.map(|(_, system)| system).or_else(|| self.system.clone()),
        };
        let mut targets = self.targets(&messages, earliest)?;
        check_trained(&mut messages, |i| targets.contains(&i))?;
        check_trained(rejected.as_mut_slice(), |_| true)?;
        if let Some(system) = system.filter(|_| own.is_none()) {
            messages.insert(0, Message::new("system", system));
            targets.iter_mut().for_each(|target| *target += 1);
        }
        let (variables, weight) = (variables(row)?, weight(row)?);
        row.refuse_others(&messages, rejected.as_ref())?;
        Ok(Conversation { messages, variables, targets, rejected, weight })
    }

    /// The assistant turns from message `earliest` on that are trained on.
    fn targets(&self, messages: &[Message], earliest: usize) -> Result<Vec<usize>> {
        let mut turns: Vec<usize> = (earliest..messages.len()).filter(|&i| messages[i].role == "assistant").collect();
        if self.turns == Turns::Last {
            turns.drain(..turns.len().saturating_sub(1));
        }
        if turns.is_empty() {
            let e = error("there is no message of role `assistant` to learn");
            return Err(match messages.iter().find(|m| ["gpt", "model", "bot", "chatbot", "ai"].contains(&&*m.role)) {
                Some(other) => e.hint(format!("the row has role `{}`: write `assistant` and `user`", other.role)),
                None => e.hint("remove the row"),
            });
        }
        for &i in &turns {
            if messages[i].is_empty() {
                return Err(error("the golden response is empty").hint("remove the row"));
            }
            if !messages[..i].iter().any(|m| !is_system(m) && !m.is_empty()) {
                return Err(error("there is no prompt before the response")
                    .hint("remove the row, or use data.turns: last if its first message is the assistant's"));
            }
        }
        Ok(turns)
    }

    /// The fields of this format that a row has, and their kinds.
    fn signature(&self, row: &Fields) -> Vec<(&'static str, Kind)> {
        let needs = SHAPES.iter().find(|(shape, _)| *shape == self.shape).map_or(&[][..], |(_, needs)| *needs);
        let optional = if self.has_rejected() { &["prompt", "weight"][..] } else { &["weight"][..] };
        let kind = |v: &Value| match v {
            Value::String(_) => Kind::Text,
            Value::Array(_) => Kind::List,
            _ => Kind::Other,
        };
        needs.iter().chain(optional).filter_map(|f| Some((*f, kind(row.find(f)?)))).collect()
    }

    fn same_shape(&self, row: &Fields) -> Result<()> {
        let here = self.signature(row);
        let differs = |message: String| {
            Err(Error::new(Code::DataShape, message)
                .hint("all rows of a file have the shape of its first row: split the file"))
        };
        for (field, kind) in &self.fields {
            match here.iter().find(|(f, _)| f == field) {
                None => return differs(format!("there is no `{}`, which the first row has", row.name(field))),
                // A kind that no shape has is an error of its own, with the expected kind.
                Some((_, k)) if k != kind && *k != Kind::Other => {
                    let words = |k| if k == Kind::Text { "a string" } else { "a list" };
                    return differs(format!(
                        "`{}` is {}, in the first row {}",
                        row.name(field),
                        words(*k),
                        words(*kind)
                    ));
                }
                _ => {}
            }
        }
        match here.iter().find(|(f, _)| !self.fields.iter().any(|(g, _)| f == g)) {
            Some((field, _)) => differs(format!("there is `{}`, which the first row has not", row.name(field))),
            None => Ok(()),
        }
    }
}

/// What the system says in a field of its own, and the name that it has there.
fn system<'a>(row: &Fields<'a>) -> Result<Option<(&'a str, String)>> {
    let [one, other] = ["system", "system_prompt"];
    match (row.optional(one)?, row.optional(other)?) {
        (Some(system), Some(prompt)) if system != prompt => {
            let names = [one, other].map(|field| row.name(field));
            Err(error(format!("`{}` and `{}` are two system messages", names[0], names[1])).hint("remove one of them"))
        }
        (Some(system), _) => Ok(Some((row.name(one), system))),
        (None, prompt) => Ok(prompt.map(|prompt| (row.name(other), prompt))),
    }
}

/// Alpaca's instruction, with the input below it.
fn instruction(row: &Fields) -> Result<String> {
    let instruction = row.plain("instruction")?;
    Ok(match row.optional("input")? {
        Some(input) => format!("{instruction}\n\n{input}"),
        None => instruction,
    })
}

/// The messages of a prompt; before a text, those of `history`, a list of texts and the replies to them.
fn prompt(row: &Fields, text: Text) -> Result<Vec<Message>> {
    let Text::Plain(text) = text else { return Ok(chat("user", text)) };
    let wrong = || row.wrong("history", "a list of [text, reply]");
    let mut messages = vec![];
    match row.get("history") {
        None => {}
        Some(Value::Array(turns)) => {
            for turn in turns {
                let [Value::String(said), Value::String(reply)] = turn.as_array().ok_or_else(wrong)?.as_slice() else {
                    return Err(wrong());
                };
                messages.extend([Message::new("user", said), Message::assistant(reply)]);
            }
        }
        Some(_) => return Err(wrong()),
    }
    messages.push(Message::new("user", text));
    Ok(messages)
}

/// What the chat template sees beside the messages, as TRL gives it: no tools where their list is empty.
fn variables(row: &Fields) -> Result<Map<String, Value>> {
    let mut variables = Map::new();
    let map = "a map of variables for the chat template";
    match row.json("chat_template_kwargs", map)? {
        None => {}
        Some(Value::Object(kwargs)) => {
            if let Some(name) = kwargs.keys().find(|name| RESERVED.contains(&name.as_str())) {
                let place = row.name("chat_template_kwargs");
                return Err(error(format!("`{place}.{name}` is set by the program")).hint("remove it from the rows"));
            }
            variables.extend(kwargs.into_iter().filter(|(name, value)| !value.is_null() && !row.ignores(name)));
        }
        Some(_) => return Err(row.wrong("chat_template_kwargs", map)),
    }
    let list = "a list of JSON schemas";
    match row.json("tools", list)? {
        None => {}
        Some(Value::Array(tools)) if tools.is_empty() => {}
        Some(Value::Array(tools)) if tools.iter().all(Value::is_object) => {
            variables.insert("tools".into(), Value::Array(tools));
        }
        Some(_) => return Err(row.wrong("tools", list)),
    }
    Ok(variables)
}

fn weight(row: &Fields) -> Result<Option<f32>> {
    let Some(value) = row.get("weight") else { return Ok(None) };
    let weight = value.as_f64().map(|w| w as f32).filter(|w| w.is_finite() && *w >= 0.0);
    weight.map(Some).ok_or_else(|| row.wrong("weight", "a number of at least 0"))
}

fn no_shape(row: &Json) -> Error {
    let e = error(format!("no known shape; {}", keys(row)));
    if row.contains_key("question") && row.contains_key("answer") {
        return e.hint("set data.fields: {prompt: question, completion: answer}");
    }
    if row.contains_key("text") {
        return e.hint("a text alone does not say where the response begins: split it into prompt and completion");
    }
    e.hint(
        "shapes: messages; prompt and completion; instruction, input and output; chosen and rejected; real and generated. \
         Other names are mapped by data.fields",
    )
}

//! Chat templates: which text is the model's, and what it sees, as `transformers` has it.

use super::{
    Message, Prompt, TextFiles,
    jinja::{Fault, Reads, Template},
    message::REASONING,
    special::SpecialTokens,
};
use crate::{Code, Error, Result};
use serde_json::{Map, Value as Json};
use std::path::Path;

/// A parsed chat template.
pub(super) struct ChatTemplate {
    template: Template,
    /// The text that was parsed.
    pub source: String,
    /// The file that has it, for messages.
    file: Option<String>,
    /// What it reads.
    pub reads: Reads,
    /// What it puts between a user's text and the response to it.
    pub tail: Option<String>,
}

impl ChatTemplate {
    /// Reads chat_template.jinja, else `chat_template` of tokenizer_config.json: a string, or a list of named ones of
    /// which `default` is taken.
    pub fn load(model: &TextFiles, special: &SpecialTokens) -> Result<Option<Self>> {
        if let Some(bytes) = model.find("chat_template.jinja")? {
            let file = model.path("chat_template.jinja");
            let fail = |e| Error::new(Code::TextTemplate, format!("{} is not UTF-8", file.display())).caused_by(e);
            return Self::of(&String::from_utf8(bytes).map_err(fail)?, special, &file).map(Some);
        }
        let file = model.path("tokenizer_config.json");
        let config = model.object("tokenizer_config.json")?.unwrap_or_default();
        let source = match config.get("chat_template") {
            None | Some(serde_json::Value::Null) => return Self::refuse_unread(model.place()).map(|()| None),
            Some(serde_json::Value::String(source)) => Some(source.as_str()),
            Some(list) => named(list, "default"),
        };
        let source = source.ok_or_else(|| {
            let message = "chat_template is neither a string nor a list of {name, template} with one named `default`";
            Error::new(Code::TextTemplate, message).at(file.display())
        })?;
        Self::of(source, special, &file).map(Some)
    }

    /// Fails where templates lie about that nothing reads, and no other is there.
    fn refuse_unread(model_dir: &Path) -> Result<()> {
        match ["additional_chat_templates", "chat_template.json"].iter().find(|name| model_dir.join(name).exists()) {
            Some(name) => {
                let what = format!("{} has {name}, which is not read, and no other chat template", model_dir.display());
                Err(Error::new(Code::TextTemplate, what).hint(
                    "copy the template that you mean to chat_template.jinja there, or remove it where the model has none",
                ))
            }
            None => Ok(()),
        }
    }

    /// Parses the template that a file has.
    fn of(source: &str, special: &SpecialTokens, file: &Path) -> Result<Self> {
        let template = Self::new(source, special).map_err(|e| e.at(file.display()))?;
        Ok(Self { file: Some(file.display().to_string()), ..template })
    }

    /// Parses a template.
    pub fn new(source: &str, special: &SpecialTokens) -> Result<Self> {
        let template = Template::parse(source).map_err(|e| template_error("cannot be read", e))?;
        let reads = template.reads();
        let mut template = Self { template, source: source.to_owned(), file: None, reads, tail: None };
        template.tail = template.find_tail(special);
        Ok(template)
    }

    /// What ends a rendered prompt, without white space at its ends; None where it is too short to tell one by it, or
    /// where the template takes no message of a user alone.
    fn find_tail(&self, special: &SpecialTokens) -> Option<String> {
        const TEXT: &str = "What is 1 + 1?";
        let prompt = self.render(&vec![Message::new("user", TEXT)].into(), None, special).ok()?;
        let tail = prompt.rsplit_once(TEXT)?.1.trim();
        (tail.len() > 3).then(|| tail.to_owned())
    }

    /// Renders a prompt and the response to it, or the beginning of the assistant's turn where there is none.
    pub fn render(&self, prompt: &Prompt, response: Option<&Message>, special: &SpecialTokens) -> Result<String> {
        let messages: Json = prompt.messages.iter().chain(response).map(seen).collect();
        let mut variables: Map<String, Json> =
            special.named.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect();
        variables.insert("tools".into(), Json::Null);
        variables.extend(prompt.variables.clone());
        let own =
            [("messages", messages), ("documents", Json::Null), ("add_generation_prompt", response.is_none().into())];
        variables.extend(own.map(|(name, value)| (name.to_owned(), value)));
        self.template.render(variables).map_err(|e| {
            let e = template_error("cannot render the conversation", e).hint(
                "change the conversation as it asks, or give the model another template: it is chat_template.jinja, or \
                 chat_template in tokenizer_config.json",
            );
            if let Some(file) = &self.file { e.at(file) } else { e }
        })
    }
}

/// A message as transformers shows it to templates: reasoning under all its names.
fn seen(message: &Message) -> Json {
    let mut seen = message.clone();
    if let Some(reasoning) = REASONING.iter().find_map(|name| message.more.get(*name)) {
        seen.more.entry("thinking").or_insert_with(|| reasoning.clone());
        seen.more.insert("reasoning_content".into(), reasoning.clone());
    }
    serde_json::to_value(seen).unwrap_or_default()
}

fn named<'a>(list: &'a serde_json::Value, name: &str) -> Option<&'a str> {
    list.as_array()?.iter().find(|entry| entry["name"] == name)?["template"].as_str()
}

fn template_error(what: &str, fault: Fault) -> Error {
    let line = fault.line.map_or(String::new(), |line| format!(" (line {line})"));
    Error::new(Code::TextTemplate, format!("the chat template {what}{line}: {}", fault.message))
        .hint("the template is chat_template.jinja, or chat_template in tokenizer_config.json")
}

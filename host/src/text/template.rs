//! Chat templates: Jinja as `transformers` runs it.

use super::{
    Message, Prompt,
    message::REASONING,
    special::{SpecialTokens, read_object},
};
use crate::{Code, Error, Result, files};
use minijinja::{Environment, ErrorKind, Value, value::Kwargs};
use serde_json::{Map, Value as Json};
use std::{collections::BTreeSet, path::Path};

/// The name under which the environment holds the template.
const NAME: &str = "chat template";

/// A compiled chat template.
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
    /// The text that was compiled.
    pub source: String,
    /// All names in it.
    names: BTreeSet<String>,
    /// What it puts between a user's text and the response to it.
    pub tail: Option<String>,
}

impl ChatTemplate {
    /// Reads chat_template.jinja, else `chat_template` of tokenizer_config.json: a string, or a list of named ones of
    /// which `default` is taken.
    pub fn load(model_dir: &Path, special: &SpecialTokens) -> Result<Option<Self>> {
        let file = model_dir.join("chat_template.jinja");
        if file.exists() {
            return Self::new(&files::read_text(&file)?, special).map(Some).map_err(|e| e.at(file.display()));
        }
        let file = model_dir.join("tokenizer_config.json");
        let config = read_object(&file)?.unwrap_or_default();
        let source = match config.get("chat_template") {
            None | Some(serde_json::Value::Null) => return Ok(None),
            Some(serde_json::Value::String(source)) => Some(source.as_str()),
            Some(list) => named(list, "default"),
        };
        let source = source.ok_or_else(|| {
            let message = "chat_template is neither a string nor a list of {name, template} with one named `default`";
            Error::new(Code::TextTemplate, message).at(file.display())
        })?;
        Self::new(source, special).map(Some).map_err(|e| e.at(file.display()))
    }

    /// Compiles a template.
    pub fn new(source: &str, special: &SpecialTokens) -> Result<Self> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        let source = without_generation_blocks(&source.replace("\r\n", "\n"));
        environment.add_template_owned(NAME, source.clone()).map_err(|e| template_error("cannot be compiled", &e))?;
        let names = source.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned).collect();
        let mut template = Self { environment, source, names, tail: None };
        template.tail = template.find_tail(special);
        Ok(template)
    }

    /// Whether the template reads a variable or a key of messages.
    pub fn reads(&self, name: &str) -> bool {
        self.names.contains(name)
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
        let mut variables: Map<String, Json> = special.named.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect();
        variables.insert("tools".into(), Json::Null);
        variables.extend(prompt.variables.clone());
        let own = [("messages", messages), ("documents", Json::Null), ("add_generation_prompt", response.is_none().into())];
        variables.extend(own.map(|(name, value)| (name.to_owned(), value)));
        let fail = |e| template_error("cannot render the conversation", &e);
        let template = self.environment.get_template(NAME).map_err(fail)?;
        template.render(Value::from_serialize(&variables)).map_err(fail)
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

fn template_error(what: &str, e: &minijinja::Error) -> Error {
    let line = e.line().map_or(String::new(), |line| format!(" (line {line})"));
    let detail = e.detail().map_or_else(|| e.kind().to_string(), str::to_owned);
    Error::new(Code::TextTemplate, format!("the chat template {what}{line}: {detail}"))
        .hint("the template is chat_template.jinja, or chat_template in tokenizer_config.json")
}

/// Reads `{% generation %}`, with which trainers of other tools mark responses, as a block that is always rendered.
fn without_generation_blocks(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        let inner = tag[2..].trim_start_matches(['-', '+']);
        let word_at = tag.len() - inner.trim_start().len();
        let word_len = tag[word_at..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(tag.len() - word_at);
        let word = &tag[word_at..][..word_len];
        out.extend([before, &tag[..word_at]]);
        out.push_str(match word {
            "generation" => "if true",
            "endgeneration" => "endif",
            other => other,
        });
        rest = &tag[word_at + word_len..];
    }
    out + rest
}

/// Python's `json.dumps(value, ensure_ascii=False, indent=...)`: `", "` and `": "`, nothing escaped for HTML.
fn to_json(value: Value, options: Kwargs) -> Result<Value, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    if options.get::<Option<bool>>("ensure_ascii")? == Some(true) {
        return Err(minijinja::Error::new(ErrorKind::InvalidOperation, "tojson: ensure_ascii=true is not supported"));
    }
    options.assert_all_used()?;
    let mut out = Vec::new();
    let written = match indent {
        Some(width) => {
            let indent = " ".repeat(width);
            let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
            serde::Serialize::serialize(&value, &mut serde_json::Serializer::with_formatter(&mut out, formatter))
        }
        None => serde::Serialize::serialize(&value, &mut serde_json::Serializer::with_formatter(&mut out, OneLine)),
    };
    let fail = |e: String| minijinja::Error::new(ErrorKind::BadSerialization, e);
    written.map_err(|e| fail(e.to_string()))?;
    String::from_utf8(out).map(Value::from_safe_string).map_err(|e| fail(e.to_string()))
}

/// JSON on one line, spaced as Python's.
struct OneLine;

impl serde_json::ser::Formatter for OneLine {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }
    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }
    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        out.write_all(b": ")
    }
}

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

/// The date 26 July 2024, 00:00, in C's format: prompts that named today would make a run differ from day to day.
///
/// It is the date that Llama's templates take where they have no clock.
fn strftime_now(format: &str) -> Result<String, minijinja::Error> {
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        out.push_str(match chars.next() {
            Some('Y') => "2024",
            Some('y') => "24",
            Some('m') => "07",
            Some('d' | 'e') => "26",
            Some('B') => "July",
            Some('b' | 'h') => "Jul",
            Some('A') => "Friday",
            Some('a') => "Fri",
            Some('j') => "208",
            Some('H' | 'M' | 'S') => "00",
            Some('I') => "12",
            Some('p') => "AM",
            Some('F') => "2024-07-26",
            Some('%') => "%",
            other => {
                let message = format!("strftime_now: %{} is not supported", other.unwrap_or(' '));
                return Err(minijinja::Error::new(ErrorKind::InvalidOperation, message));
            }
        });
    }
    Ok(out)
}

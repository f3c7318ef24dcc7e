//! What would be lost or doubled on the way from rows to tokens without a word: keys that a chat template does not
//! read, and texts that were rendered before.

use super::{Message, Prompt, message::REASONING, template::ChatTemplate};
use crate::{Code, Error, Result, keys::harmless_in_message};

/// Fails where the template does not read all of a prompt, or where one of its texts ends as a rendered prompt does.
pub fn check_prompt(template: Option<&ChatTemplate>, prompt: &Prompt) -> Result<()> {
    let unread = |key: &&String| template.is_none_or(|t| !t.reads.variables.contains(*key));
    if let Some(key) = prompt.variables.keys().find(unread) {
        return Err(refused(template, key));
    }
    for message in &prompt.messages {
        message.more.keys().try_for_each(|key| refuse_unread(template, key))?;
        // What a model said before may well end like that.
        let tail = template.and_then(|t| t.tail.as_deref()).filter(|_| message.role != "assistant");
        if let Some(tail) = tail.filter(|tail| message.text().trim_end().ends_with(tail)) {
            let what = format!("a message ends with {tail:?}, which the chat template adds: it was rendered before");
            return Err(Error::new(Code::TextRendered, what)
                .hint("give prompts as plain texts or lists of messages; the model's own template renders them"));
        }
    }
    Ok(())
}

/// Fails where the template does not read all of a response, or where its text has the token that is to end it.
pub fn check_response(
    template: Option<&ChatTemplate>,
    response: &Message,
    mut ends: impl Iterator<Item = String>,
) -> Result<()> {
    response.more.keys().try_for_each(|key| refuse_unread(template, key))?;
    let text = response.text().trim_end();
    match ends.find(|end| end.len() > 2 && text.ends_with(end.as_str())) {
        Some(end) => {
            let what = format!("the response has the end token `{end}`, which is added to it");
            Err(Error::new(Code::TextRendered, what).hint("remove it from the texts"))
        }
        None => Ok(()),
    }
}

/// Fails where the template does not read a key of messages that says something.
fn refuse_unread(template: Option<&ChatTemplate>, key: &str) -> Result<()> {
    let reads = |key: &str| template.is_some_and(|t| t.reads.keys.contains(key));
    let reasoning = REASONING.contains(&key) && REASONING[..2].iter().any(|alias| reads(alias));
    match reads(key) || reasoning || harmless_in_message(key) {
        true => Ok(()),
        false => Err(refused(template, key)),
    }
}

fn refused(template: Option<&ChatTemplate>, key: &str) -> Error {
    let message = match template {
        Some(_) => format!("the model's chat template does not read `{key}`, which the row has"),
        None => format!("the model has no chat template that could read `{key}`, which the row has"),
    };
    Error::new(Code::TextTemplate, message)
        .hint(format!("give the model a chat template that reads it, or leave it out: data.ignore_fields: [{key}]"))
}

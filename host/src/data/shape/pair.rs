//! Rows of a chosen and a rejected response, in every form in which their prompt is found.

use super::{instruction, prompt};
use crate::{
    Result,
    data::{
        fields::Fields,
        messages::{Text, error, shared_text},
    },
    text::Message,
};

/// History, chosen and rejected response, from the fields of these names.
pub fn read(
    row: &Fields,
    chosen_field: &'static str,
    rejected_field: &'static str,
) -> Result<(Vec<Message>, Message, Message)> {
    let name = |f| row.name(f);
    match (row.text(chosen_field)?, row.text(rejected_field)?) {
        (Text::Plain(chosen), Text::Plain(rejected)) => {
            let (history, at) = match stated(row, &Message::assistant(&*chosen))? {
                Some(history) => (history, 0),
                None => {
                    let at = shared_text(&chosen, &rejected);
                    if at == 0 || chosen[at..].is_empty() || rejected[at..].is_empty() {
                        return Err(error(format!(
                            "`{}` and `{}` are not one prompt with two responses",
                            name(chosen_field),
                            name(rejected_field)
                        ))
                        .hint("without `prompt`, both begin with the same prompt and then differ"));
                    }
                    (prompt(row, Text::Plain(chosen[..at].into()))?, at)
                }
            };
            Ok((history, Message::assistant(&chosen[at..]), Message::assistant(&rejected[at..])))
        }
        (Text::Chat(chosen), Text::Chat(rejected)) => {
            // Whole conversations say their prompt themselves, and another field can but repeat it.
            let bare = chosen.first().filter(|m| m.role == "assistant");
            let (mut history, at) = match bare.map_or(Ok(None), |response| stated(row, response))? {
                Some(history) => (history, 0),
                None => (Vec::new(), chosen.iter().zip(&rejected).take_while(|(a, b)| a == b).count()),
            };
            // Equal responses are still responses.
            let at = at.min(chosen.len() - 1).min(rejected.len() - 1);
            let response = |list: &[Message], field| match &list[at..] {
                [one] if one.role == "assistant" => Ok(one.clone()),
                _ => Err(error(format!(
                    "`{}`: expected one message of the assistant after the shared prompt",
                    name(field)
                ))
                .hint("cut both conversations after the first response that differs")),
            };
            let responses = (response(&chosen, chosen_field)?, response(&rejected, rejected_field)?);
            history.extend_from_slice(&chosen[..at]);
            Ok((history, responses.0, responses.1))
        }
        _ => Err(error(format!(
            "`{}` and `{}` are not both strings or both lists of messages",
            name(chosen_field),
            name(rejected_field)
        ))
        .hint("write both in the same form")),
    }
}

/// The prompt that a row has beside its two responses, of which this is the chosen one.
fn stated(row: &Fields, chosen: &Message) -> Result<Option<Vec<Message>>> {
    if row.find("prompt").is_some() {
        return prompt(row, row.text("prompt")?).map(Some);
    }
    if row.find("instruction").is_some() {
        return prompt(row, Text::Plain(instruction(row)?)).map(Some);
    }
    if row.find("messages").is_none() {
        return Ok(None);
    }
    let mut history = prompt(row, row.text("messages")?)?;
    // A whole conversation has the response too, which must not stand in its own prompt.
    if let Some(last) = history.pop_if(|last| last.role == "assistant")
        && last != *chosen
    {
        let name = row.name("messages");
        return Err(error(format!("`{name}` ends with a response that is not the chosen one"))
            .hint(format!("cut `{name}` after the last message of the user")));
    }
    Ok(Some(history))
}

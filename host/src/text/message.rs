//! What chat templates read: messages with all their keys, and the variables beside them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The names under which reasoning is found. transformers gives a template the first that is there as
/// `reasoning_content`, and as `thinking` where that is not there.
pub(super) const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool`, ...
    pub role: String,
    /// The turn's text; None where there is none at all, as beside calls of tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// All other keys, such as `tool_calls` and `reasoning_content`, for the chat template.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Message {
    /// A turn that is its text alone.
    pub fn new(role: &str, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: Some(content.into()), more: Map::new() }
    }

    /// A response that is its text alone.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new("assistant", content)
    }

    /// The turn's text, empty where there is none.
    pub fn text(&self) -> &str {
        self.content.as_deref().unwrap_or_default()
    }

    /// Whether there is neither text nor a call of a tool.
    pub fn is_empty(&self) -> bool {
        self.text().trim().is_empty() && !self.more.contains_key("tool_calls")
    }
}

/// What a response replies to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prompt {
    /// The conversation up to the response.
    pub messages: Vec<Message>,
    /// Other variables of the chat template: `tools`, and what a row's `chat_template_kwargs` has.
    pub variables: Map<String, Value>,
}

impl From<Vec<Message>> for Prompt {
    fn from(messages: Vec<Message>) -> Self {
        Self { messages, variables: Map::new() }
    }
}

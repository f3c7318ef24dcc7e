//! Names that configs and other files share.

/// Our names of fields, which `data.fields` can map to a file's.
pub const ROW_FIELDS: [&str; 15] = [
    "messages",
    "prompt",
    "completion",
    "instruction",
    "input",
    "output",
    "chosen",
    "rejected",
    "real",
    "generated",
    "weight",
    "system",
    "history",
    "tools",
    "chat_template_kwargs",
];

/// Our names of fields, which `validate.data.fields` can map to a file's.
pub const ANNOTATED_FIELDS: [&str; 7] = ["prompt", "golden", "better", "worse", "responses", "text", "label"];

/// What the short form of a section, a name alone, is in its long form: `encoder: x` is `encoder: {plugin: x}`.
pub fn long_key(section: &str) -> &'static str {
    if section == "pairs" { "rule" } else { "plugin" }
}

/// The lock file of installed plugins; one beside the config is found.
pub const LOCK_FILE: &str = "ldalign.lock";

//! Rows, and configs that people write.

use super::{folder, model, put, taken};
use crate::workspace_root;
use ldalign::{
    Result,
    compare::Plan,
    config::{DataConfig, RunConfig},
    data::Dataset,
    text::TextCodec,
};
use std::{fs, path::PathBuf};

/// Rows read of a file.
const ROWS: usize = 100;

fn dataset(bytes: &[u8]) -> Result<Dataset> {
    let file = folder("rows", |_| ()).join("rows.jsonl");
    put(&file, bytes);
    Dataset::open(&[DataConfig::of(&file)])
}

pub fn rows(bytes: &[u8]) -> bool {
    let read = || {
        let data = dataset(bytes)?;
        (0..data.len().min(ROWS)).try_for_each(|row| data.row(row).map(drop))
    };
    taken(read())
}

/// Rows as data of chat templates: whether one renders them all.
pub fn conversation(bytes: &[u8]) -> bool {
    let rendered = |name: &str| -> Result<()> {
        let data = dataset(bytes)?;
        let dir = model::model(&format!("template-{name}"), &model::talking(), &model::TEXT);
        if name != "own" {
            let template = workspace_root().join("tests/fixtures/templates").join(name);
            put(&dir.join("chat_template.jinja"), &fs::read(template).expect("a fixture can be read"));
        }
        let codec = TextCodec::load(&dir)?;
        (0..data.len().min(ROWS)).try_for_each(|row| {
            let row = data.row(row)?;
            codec.render_prompt(&row.prompt)?;
            // Tokens for its text the model need not have.
            taken(codec.encode_turn(&row.prompt, &row.chosen));
            Ok(())
        })
    };
    // Each of them, also where an earlier one took the rows.
    ["own", "features.jinja", "chatml.jinja", "llama2.jinja"]
        .iter()
        .fold(false, |any, name| taken(rendered(name)) | any)
}

/// The files that configs of the corpus name, and the config's own.
fn configs(bytes: &[u8]) -> PathBuf {
    let folder = folder("configs", |folder| {
        put(&folder.join("rows.jsonl"), b"{\"prompt\": \"a\", \"completion\": \"b\"}\n");
        put(&folder.join("base.yaml"), super::corpus::run_config().as_bytes());
        std::os::unix::fs::symlink(model::talking(), folder.join("model")).expect("a link can be made");
    });
    let file = folder.join("config.yaml");
    put(&file, bytes);
    file
}

pub fn run_config(bytes: &[u8]) -> bool {
    taken(RunConfig::load(&configs(bytes), &[]).and_then(|config| config.to_yaml()))
}

pub fn compare_config(bytes: &[u8]) -> bool {
    taken(Plan::load(&configs(bytes), &[]))
}

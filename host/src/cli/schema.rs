//! `schema`: what a config may say, for editors that complete and check YAML by a JSON schema, and for people.

use super::{print_json, write};
use ldalign::{
    Result,
    compare::CompareConfig,
    config::{RunConfig, markdown},
};

/// Arguments of `schema`.
#[derive(clap::Args)]
pub struct Schema {
    /// Of which kind of file
    #[arg(value_enum, default_value_t = File::Run)]
    file: File,
    /// Prints the reference of both kinds of files in Markdown
    #[arg(long, conflicts_with = "file")]
    markdown: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum File {
    /// The config of a run, of `sft`, of `validate`
    Run,
    /// The file of `compare`
    Compare,
}

impl Schema {
    /// Prints it.
    pub fn run(&self) -> Result<()> {
        if self.markdown {
            return write(&format!(
                "{INTRODUCTION}\n# The config of a run\n{}\n# The file of `compare`\n{}",
                markdown(&RunConfig::schema()),
                markdown(&CompareConfig::schema()),
            ));
        }
        print_json(&match self.file {
            File::Run => RunConfig::schema(),
            File::Compare => CompareConfig::schema(),
        })
    }
}

const INTRODUCTION: &str = "\
# Configuration

Every key that a config may have; one that is not here is an error, and so is a value out of its bounds. Relative paths start at the
config's directory. `--set train.beta=0.2` sets a key for one start, and `ldalign check` shows every fault at once. A run's own
`config.yaml` has every default spelled out. Options of plugins are each plugin's own: `ldalign plugin info NAME --options`.

Editors complete and check a config by `ldalign schema > run.schema.json` and, in its first line,
`# yaml-language-server: $schema=run.schema.json`.

This page is printed by `ldalign schema --markdown`.
";

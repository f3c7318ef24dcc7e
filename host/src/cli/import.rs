//! `import`: a GGUF file as a Hugging Face model directory.

use super::print;
use ldalign::{
    Result,
    import::{self, WeightType},
};
use std::path::PathBuf;

/// Arguments of `import`.
#[derive(clap::Args)]
pub struct Import {
    /// GGUF file
    input: PathBuf,
    /// Directory to write, which must be new or empty
    output: PathBuf,
    /// How weights are stored
    #[arg(long, value_enum, default_value_t = WeightType::F32)]
    weights: WeightType,
}

impl Import {
    /// Converts and says what it found.
    pub fn run(&self) -> Result<()> {
        let found = import::gguf(&self.input, &self.output, self.weights)?;
        let kinds: Vec<String> = found.kinds.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
        print(&format!(
            "{}: {}, {:.1} M parameters ({} tensors), {} tokens, {}",
            self.output.display(),
            found.model_type,
            found.parameters as f64 / 1e6,
            kinds.join(", "),
            found.vocab_size,
            if found.chat_template { "with a chat template" } else { "without a chat template" },
        ))
    }
}
